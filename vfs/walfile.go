package vfs

import (
	"context"
	"encoding/binary"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// walHeaderSize is the size of the header that restarts the WAL.
//
// https://sqlite.org/fileformat.html#the_wal_header
const walHeaderSize = 32

// The sizes that a page may have.
const (
	minPageSize = 512
	maxPageSize = 65536
	// maxMerged is the greatest that is kept for a write together with the frame's header.
	maxMerged = 8192
)

// frameHeaderSize is the size of a frame's header, which is written by itself.
const frameHeaderSize = 24

// walFile is a connection's handle of the WAL.
// Only the goroutine that uses the connection uses it.
//
// SQLite writes the WAL only while it holds the write lock.
type walFile struct {
	sqlitevfs.File
	db   *database
	main *dbFile

	// uncounted are the bytes written that the queue doesn't know of yet.
	// Until it does, no sync is taken to cover them.
	uncounted walBytes
	// wrote is set from a write to the end of the commit.
	wrote bool
	// commitFrame is set from the write of a transaction's last frame to the end of the commit.
	// It is for the statistics, and says that commitEnd, where that frame ends, is known, in commitGeneration.
	commitFrame      bool
	commitEnd        int64
	commitGeneration uint64
	// looked is set once a marker was looked for before a write.
	looked bool
	// newHeader is set from the write of the WAL's header until it is durable (H3).
	newHeader bool
	// frames is how many this transaction has written, and committed is how many the last one has.
	frames, committed int
	// frame holds the header of a frame until its page comes, and then both are one write.
	// headerAt is where it belongs, and 0 while there is none.
	frame    []byte
	headerAt int64
	// end of what this transaction has written.
	end int64
	// salt of the last frame written.
	salt salt
	// size of a page, once known.
	size int
	// read is where the WAL was read last. In a checkpoint, what was read there is written next.
	read int64
}

// ReadAt reads the header or a part of a frame.
func (w *walFile) ReadAt(p []byte, off int64) (int, error) {
	w.read = off
	return w.File.ReadAt(p, off)
}

// pageSize returns the size of the database's pages, which doesn't change while it is in WAL mode.
func (w *walFile) pageSize() int {
	if w.size == 0 {
		var header [walHeaderSize]byte
		if _, err := w.File.ReadAt(header[:], 0); err != nil {
			return maxPageSize
		}
		w.size = headerPageSize(header)
	}
	return w.size
}

// headerPageSize reads the page size from the WAL's header.
func headerPageSize(header [walHeaderSize]byte) int {
	return max(minPageSize, int(binary.BigEndian.Uint32(header[8:])))
}

// Close ends the connection's part in the WAL.
func (w *walFile) Close() error {
	w.main.guard.Unused()
	w.count()
	w.main.wal = nil
	w.main.lease.wal = nil
	w.main.phase.walClosed()
	w.db.closeWAL(w.main)
	return w.File.Close()
}

// WriteAt writes the header, which restarts the WAL, or a part of a frame.
func (w *walFile) WriteAt(p []byte, off int64) (n int, err error) {
	defer func() {
		if err != nil {
			w.headerAt = 0 // the transaction has failed
		}
	}()
	// H5: after a failed sync no commit gets as far as to be seen by others.
	if err := w.db.failed(); err != nil {
		return 0, tag(err)
	}
	w.main.phase.walWritten()
	header := off == 0 && len(p) == walHeaderSize
	if !header && len(p) == frameHeaderSize && w.salt != salt(p[8:16]) {
		w.salt = salt(p[8:16])
		w.db.enter(w.salt)
	}
	if header {
		if err := w.restart(); err != nil {
			return 0, tag(err)
		}
		w.salt = salt(p[16:24])
		w.db.enter(w.salt)
	} else if w.newHeader {
		// At synchronous=OFF SQLite asks for no sync of the header.
		if err := w.syncHeader(); err != nil {
			return 0, tag(err)
		}
	}
	if !w.looked {
		// Another process's sync may have failed just when the WAL was opened.
		if err := w.db.lookForMarker(false); err != nil {
			return 0, tag(err)
		}
		w.looked = true
	}
	if !header && w.db.unsynced.Load() != nil {
		if err := w.refreshBefore(off); err != nil {
			return 0, tag(err)
		}
	}
	// Of the size of the database, other than zero: this is the last frame of a transaction.
	// https://sqlite.org/fileformat.html#wal_frame_header
	if len(p) == frameHeaderSize && !header && binary.BigEndian.Uint32(p[4:]) != 0 {
		w.commitFrame, w.commitEnd, w.commitGeneration = true, 0, w.db.generation.Load()
		if size := w.pageSize(); w.size != 0 { // it could be read
			w.commitEnd = off + frameHeaderSize + int64(size)
		}
	}
	if off < w.db.walEnd.Load() && !header {
		w.db.rewritten(off)
	}
	n, err = w.write(p, off)
	// A write that fails may have written something all the same.
	w.uncounted.n += len(p)
	w.wrote = true
	w.newHeader = w.newHeader || header
	if err != nil {
		w.main.settleOthers()
	}
	return n, fullDisk(err)
}

// write writes the header and the page of a new frame at once: SQLite writes the page right after the header.
// Where a transaction has changed pages that it had written before, SQLite writes their headers anew, without the page.
func (w *walFile) write(p []byte, off int64) (int, error) {
	isNew := off >= w.end
	if len(p) == frameHeaderSize {
		w.frames++
	}
	w.end = max(w.end, off+int64(len(p)))
	if w.headerAt != 0 && off == w.headerAt+frameHeaderSize {
		w.frame = append(w.frame, p...)
		n, err := w.File.WriteAt(w.frame, w.headerAt)
		w.headerAt = 0
		return max(0, n-frameHeaderSize), err
	}
	if err := w.flushHeader(); err != nil {
		return 0, err
	}
	if isNew && len(p) == frameHeaderSize && w.pageSize() <= maxMerged &&
		(off-walHeaderSize)%int64(frameHeaderSize+w.pageSize()) == 0 {
		w.frame = append(w.frame[:0], p...)
		w.headerAt = off
		return len(p), nil
	}
	return w.File.WriteAt(p, off)
}

// flushHeader writes a header whose page doesn't come next:
// where SQLite pads a commit to a sector, it asks for the sync as soon as that is full.
func (w *walFile) flushHeader() error {
	if w.headerAt == 0 {
		return nil
	}
	_, err := w.File.WriteAt(w.frame, w.headerAt)
	w.headerAt = 0
	return err
}

// restart begins a new generation, before its header is written.
func (w *walFile) restart() error {
	w.count()
	used := w.db.walEnd.Load()
	// H2: what the WAL holds now is durable in the database file before it is overwritten.
	for !w.db.restartWAL() {
		if err := w.main.syncDB(false); err != nil {
			return err
		}
	}
	// What this handle wrote before belongs to a transaction that was rolled back.
	w.main.phase.walRestarted()
	w.end = 0
	w.db.resolved(0)
	w.db.tellRestarted(used)
	return nil
}

// syncHeader makes the header of a restarted WAL durable before its first frame is written (H3).
// If the frames got to the disk without it, the old header would make recovery
// take what is left of the old frames for commits, and replay them over a newer database.
//
// https://sqlite.org/src/info/ff5be73dee
func (w *walFile) syncHeader() error {
	w.count()
	if !w.db.rules.Off(rules.HeaderBeforeFrames) {
		err := w.db.syncWAL(context.Background(), w.main.waiter, w.db.written(syncqueue.WAL))
		if err != nil {
			return err
		}
	}
	w.newHeader = false
	return nil
}

// Truncate is called by a TRUNCATE checkpoint, after which the WAL holds nothing,
// and for PRAGMA journal_size_limit.
func (w *walFile) Truncate(size int64) error {
	if err := w.db.failed(); err != nil {
		return tag(err)
	}
	// H2, as for a restart.
	if err := w.main.syncDB(false); err != nil {
		return tag(err)
	}
	w.uncounted.n++
	err := w.File.Truncate(size)
	if err == nil && size == 0 {
		w.db.forget()
	}
	return err
}

// Sync is called for the header of a restarted WAL, by a commit at FULL, and by a checkpoint.
// Only the first can be told from the others, and only it is done here:
// a commit waits in CommitPhaseTwo, after the write lock is released,
// and a checkpoint in CheckpointStart.
func (w *walFile) Sync(flags sqlitevfs.SyncFlag) error {
	if err := w.db.failed(); err != nil {
		return tag(err)
	}
	if err := w.flushHeader(); err != nil {
		return err
	}
	w.db.noteFlags(flags)
	w.main.off = false // it would not have asked
	if w.newHeader {
		return tag(w.syncHeader())
	}
	w.count()
	w.main.phase.walSync()
	return nil
}

// count tells the queue of the bytes written.
func (w *walFile) count() {
	w.headerAt = 0 // it would be that of a transaction that failed
	if w.uncounted.n > 0 {
		w.db.mu.Lock()
		w.db.wroteWAL(w.uncounted)
		w.db.mu.Unlock()
		w.uncounted = walBytes{}
	}
}

// commit ends a commit, which is visible and, so far, not durable.
func (w *walFile) commit() error {
	db, f := w.db, w.main
	seq, n, full := w.published()
	f.full = full
	f.noteCommit()

	if err := db.failed(); err != nil {
		return err
	}
	var err error
	switch {
	case full || Mode(db.mode.Load()) == Sync:
		f.waiter.commit = n
		start := db.now()
		err = db.syncWAL(f.context(), f.waiter, seq)
		end := db.now()
		db.times.commit.observe(end-start, end)
		db.tellCommit(end-start, err)
	case !f.off:
		err = db.commitNormal(f.context(), f.waiter, f.knobs, seq)
	}
	if err == error(ErrDurabilityUnknown) {
		db.cancelled()
	}
	return err
}

// settle ends a commit of which SQLite won't speak any more, as at NORMAL, but without a wait.
func (w *walFile) settle() {
	w.db.writers.committed()
	seq, _, _ := w.published()
	if !w.main.off {
		w.db.mu.Lock()
		w.db.request(seq, w.main.knobs)
		w.db.arm()
		w.db.mu.Unlock()
	}
}

// published counts what was written. It returns the sequence that makes the commit durable, its number, and whether it is at FULL.
func (w *walFile) published() (seq, n uint64, full bool) {
	if w.commitFrame {
		w.uncounted.end, w.uncounted.generation, w.uncounted.salt = w.commitEnd, w.commitGeneration, w.salt
	}
	seq, n = w.db.commits(w.uncounted, w.commitFrame)
	w.uncounted, w.wrote, w.commitFrame, w.end = walBytes{}, false, false, 0
	full = w.main.phase.commit()
	w.committed, w.frames = w.frames, 0
	w.main.tokens.commits++
	w.main.tokens.seq, w.main.tokens.noted = seq, false
	return seq, n, full
}
