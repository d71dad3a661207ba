package vfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// After a failed sync the kernel takes the pages for written: a later sync succeeds without them,
// and what is read comes from the page cache. So when the database is opened anew,
// no sync can vouch for the part of the WAL that wasn't durable by then.
// It is written once more, byte for byte, before anything that depends on it is called durable.
// The part that was durable is left alone: a power cut could tear what is written.
//
// This must not meet a write by another process. Nobody writes where this process does while it has the write lock.
// A checkpoint hasn't: but whatever it reads from the WAL is committed, and stays as it is
// until the checkpoint has brought it over.

// refreshChunk is how much of the WAL is read and written at once.
const refreshChunk = 1 << 20

// unsynced is a WAL of which a sync failed. It outlives the [database] that it happened to.
type unsynced struct {
	file   string              // that a sync failed of
	id     identity            // of the database file
	header [walHeaderSize]byte // of the WAL, as it was
	upTo   atomic.Int64        // as far as the WAL is durable
	known  walExtent           // what was known of it
	doubt  bool                // which WAL it was couldn't be read: the next one to read the header finds out
	over   bool                // there is nothing left to write; guarded by registry.unsyncedMu
}

// walExtent says which part of the WAL is known to be durable, in this generation.
// Other processes restart the WAL too: its salts tell the generations apart.
type walExtent struct {
	salt    salt
	durable int64 // as far as it is
}

// rewritten is called before bytes at off are written that were counted before:
// a transaction was rolled back that had written them.
func (db *database) rewritten(off int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.extent.durable = min(db.extent.durable, off)
	for _, h := range db.handles {
		h.covers = min(h.covers, off)
	}
	db.walEnd.Store(min(db.walEnd.Load(), off))
}

// salt tells a generation of the WAL from others.
type salt [8]byte

// saltOf returns the salts in the WAL's header.
func saltOf(header [walHeaderSize]byte) salt { return salt(header[16:24]) }

// readWALHeader returns the WAL's header, or false if it is too short to have one.
func readWALHeader(wal io.ReaderAt) (header [walHeaderSize]byte, ok bool, err error) {
	n, err := wal.ReadAt(header[:], 0)
	switch {
	case n == len(header):
		return header, true, nil
	case err == io.EOF:
		return header, false, nil
	case err == nil:
		err = sqlite3.IOERR_SHORT_READ
	}
	return header, false, err
}

// enter is called with the write lock held, before a frame is written that has these salts.
// If they are new to this process, another one has restarted the WAL,
// and of what it holds now nothing is known to be durable.
func (db *database) enter(s salt) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if !db.isKnown(s) {
		db.extent = walExtent{salt: s}
		db.walEnd.Store(0)
	}
}

// isKnown reports whether what is known is of the generation that has these salts.
// Called with db.mu held.
func (db *database) isKnown(s salt) bool { return s == db.extent.salt || db.rules.Off(rules.Salts) }

// remember keeps, after a failed sync, how much of the WAL is durable.
// If it can't be told which WAL that is, nothing is. Other processes are told too.
func (db *database) remember(wal sqlitevfs.File, known walExtent, failure *SyncError) {
	if wal == nil {
		return
	}
	u := &unsynced{id: db.id, file: failure.File, known: known}
	header, ok, err := readWALHeader(wal)
	if err == nil && !ok || err != nil && db.rules.Off(rules.Doubt) {
		return // it is empty
	}
	u.header, u.doubt = header, err != nil
	if ok {
		u.is(header, db.rules)
	}
	defer db.mark(u, failure)
	registry.unsyncedMu.Lock()
	defer registry.unsyncedMu.Unlock()
	registry.unsynced = slices.DeleteFunc(registry.unsynced, func(v *unsynced) bool {
		if !v.over && !v.doubt && !u.doubt && v.id.same(u.id) && v.header == u.header {
			u.upTo.Store(max(u.upTo.Load(), v.upTo.Load()))
		}
		return v.over || v.id.same(u.id)
	})
	registry.unsynced = append(registry.unsynced, u)
}

// is takes note of the WAL's header. What is known is of the WAL that has its salts, whenever that is read:
// no generation has those of an earlier one.
func (u *unsynced) is(header [walHeaderSize]byte, off rules.Set) {
	u.header, u.doubt = header, false
	if saltOf(header) == u.known.salt || off.Off(rules.Salts) {
		u.upTo.Store(u.known.durable)
	}
}

// recall returns what is remembered of the WAL, by this process or by the marker of another, or nil.
// If that can't be told it returns an error, and the WAL isn't opened.
func (db *database) recall(wal sqlitevfs.File) (*unsynced, error) {
	own := db.recallOwn()
	if own == nil && !db.noMarker() {
		if m, _, err := db.readMarker(db.markerPath()); m == nil {
			return nil, err
		}
	}
	header, ok, err := readWALHeader(wal)
	if err != nil {
		if db.rules.Off(rules.Doubt) {
			return nil, nil
		}
		return nil, err
	}
	marked, err := db.recallMarker(header, ok)
	if err != nil {
		return nil, err
	}
	registry.unsyncedMu.Lock()
	defer registry.unsyncedMu.Unlock()
	if own != nil && own.doubt && ok {
		own.is(header, db.rules)
	}
	if own != nil && (!ok || header != own.header) {
		own.over = true // another process has restarted it
		own = nil
	}
	switch {
	case own == nil && marked != nil:
		registry.unsynced = append(registry.unsynced, marked)
		return marked, nil
	case own != nil && marked != nil:
		own.upTo.Store(min(own.upTo.Load(), marked.upTo.Load()))
	}
	return own, nil
}

// recallOwn returns what this process remembers, or nil.
func (db *database) recallOwn() *unsynced {
	registry.unsyncedMu.Lock()
	defer registry.unsyncedMu.Unlock()
	for _, u := range registry.unsynced {
		if !u.over && u.id.same(db.id) {
			return u
		}
	}
	return nil
}

// stillUnsynced reports whether the WAL is the one that a sync of failed.
// If another process has restarted it since, there is nothing left to write.
func (db *database) stillUnsynced(wal sqlitevfs.File, u *unsynced) (bool, error) {
	header, ok, err := readWALHeader(wal)
	if err != nil || ok && header == u.header {
		return err == nil, err
	}
	db.forget()
	db.resolved(0)
	return false, nil
}

// forget ends it: there is nothing left to write once more.
func (db *database) forget() {
	if u := db.unsynced.Swap(nil); u != nil {
		registry.unsyncedMu.Lock()
		u.over = true
		registry.unsyncedMu.Unlock()
	}
}

// refreshBefore is called with the write lock held, before this process's first write, at off:
// all before it is committed.
func (w *walFile) refreshBefore(off int64) error {
	db := w.db
	db.refreshMu.Lock()
	defer db.refreshMu.Unlock()
	u := db.unsynced.Load()
	if u == nil {
		return nil
	}
	if still, err := w.db.stillUnsynced(w.File, u); !still {
		return err
	}
	n, err := rewrite(w.File, u.upTo.Load(), off)
	w.uncounted.n += n
	w.uncounted.salt = saltOf(u.header)
	if err == nil {
		w.uncounted.end, w.uncounted.generation = max(w.uncounted.end, off), db.generation.Load()
		db.forget()
		// What is counted at the end of this commit.
		db.resolved(db.written(syncqueue.WAL) + uint64(max(1, w.uncounted.n)))
	}
	return err
}

// refreshCheckpointed is called before a checkpoint writes to the database file
// what it has read at off of the WAL. H1 goes for all of that commit, and those before it.
func (w *walFile) refreshCheckpointed(off int64) error {
	db := w.db
	db.refreshMu.Lock()
	defer db.refreshMu.Unlock()
	u := db.unsynced.Load()
	if u == nil || off < u.upTo.Load() {
		return nil
	}
	if still, err := w.db.stillUnsynced(w.File, u); !still {
		return err
	}
	end, err := commitEnd(w.File, off)
	if err != nil {
		return err
	}
	n, err := rewrite(w.File, u.upTo.Load(), end)
	db.wrote(syncqueue.WAL, n)
	if err != nil {
		return err
	}
	if err := db.syncWAL(context.Background(), w.main.waiter, db.written(syncqueue.WAL)); err != nil {
		return err
	}
	u.upTo.Store(end)
	if db.committedTo(u, end) {
		db.forget()
		db.resolved(0)
		db.settleMarker(math.MaxUint64)
	}
	db.mu.Lock()
	// A WAL isn't restarted while a checkpoint has work to do.
	db.extent.durable = max(db.extent.durable, end)
	db.walEnd.Store(max(db.walEnd.Load(), end))
	db.mu.Unlock()
	return nil
}

// committedTo reports whether nothing is committed behind end in the WAL.
func (db *database) committedTo(u *unsynced, end int64) bool {
	index, err := walindex.Open(db.indexPath())
	if err != nil {
		return false
	}
	defer index.Close()
	h, ok := index.Header()
	return ok && h.Salt == saltOf(u.header) && endOf(h) <= end
}

// endOf returns where the last frame ends.
func endOf(h walindex.Header) int64 {
	return walHeaderSize + int64(h.MaxFrame)*int64(frameHeaderSize+h.PageSize)
}

// rewrite writes a part of the WAL once more.
func rewrite(wal sqlitevfs.File, from, to int64) (written int, err error) {
	buf := make([]byte, min(refreshChunk, max(0, to-from)))
	for from < to {
		p := buf[:min(int64(len(buf)), to-from)]
		n, err := wal.ReadAt(p, from)
		if n < len(p) {
			if err == nil || err == io.EOF {
				err = sqlite3.IOERR_SHORT_READ
			}
			return written, err
		}
		written += n
		if _, err := wal.WriteAt(p, from); err != nil {
			return written, err
		}
		from += int64(n)
	}
	return written, nil
}

// commitEnd returns where the commit ends that the frame at off belongs to.
//
// https://sqlite.org/fileformat.html#the_write_ahead_log
func commitEnd(wal io.ReaderAt, off int64) (int64, error) {
	var header [walHeaderSize]byte
	if _, err := wal.ReadAt(header[:], 0); err != nil {
		return 0, err
	}
	pageSize := int64(headerPageSize(header))
	frameSize := frameHeaderSize + pageSize
	frame := walHeaderSize + (off-walHeaderSize)/frameSize*frameSize
	for {
		var header [frameHeaderSize]byte
		if _, err := wal.ReadAt(header[:], frame); err != nil {
			return 0, err
		}
		frame += frameSize
		// Of the size of the database, other than zero: this is the last frame of a transaction.
		if binary.BigEndian.Uint32(header[4:]) != 0 {
			return frame, nil
		}
	}
}

// refreshPatience is how long a wait for durability waits for the write lock at most.
const refreshPatience = 30 * time.Second

// errDoubt is the error of a wait for durability where what a failed sync has left can't be written once more.
var errDoubt = errors.New("asyncvfs: after a failed sync, a part of the WAL has to be written once more, which can't be done here: commit something, or checkpoint")

// refreshWAL refreshes the WAL, as far as it is committed, and has the write lock meanwhile.
func (db *database) refreshWAL(ctx context.Context) error {
	done, open := db.useWAL()
	defer done()
	if !open || db.failed() != nil {
		return nil
	}
	if err := db.lookForMarker(false); err != nil {
		return err
	}
	db.refreshMu.Lock()
	defer db.refreshMu.Unlock()
	u := db.unsynced.Load()
	if u == nil {
		return nil
	}
	index, err := walindex.Open(db.indexPath())
	if err != nil {
		return fmt.Errorf("%w (%w)", errDoubt, err)
	}
	defer index.Close()
	for start := time.Now(); ; time.Sleep(lookNap) {
		ok, err := index.TryLock(walindex.Write)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Since(start) > refreshPatience {
			return fmt.Errorf("%w (%w)", errDoubt, sqlite3.BUSY)
		}
	}
	defer index.Unlock(walindex.Write)
	wal := db.walHandle()
	if still, err := db.stillUnsynced(wal, u); !still {
		return err
	}
	end, err := wal.Size()
	if err != nil {
		return err
	}
	// Nobody has read the WAL yet where the index doesn't tell how much of it is committed.
	if h, ok := index.Header(); ok && h.Salt == saltOf(u.header) {
		end = min(end, endOf(h))
	}
	n, err := rewrite(wal, u.upTo.Load(), end)
	db.mu.Lock()
	db.wroteWAL(walBytes{n: n, end: end, generation: db.generation.Load(), salt: saltOf(u.header)})
	seq := db.queue.Written(syncqueue.WAL)
	db.mu.Unlock()
	if err == nil {
		db.forget()
		db.resolved(seq)
	}
	return err
}
