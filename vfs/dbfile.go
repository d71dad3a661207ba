package vfs

import (
	"context"
	"iter"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/shmguard"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// dbFile is a connection's handle of the database file.
// Only the goroutine that uses the connection uses it.
//
// While wal is nil the database isn't in WAL mode, or no transaction has looked yet:
// everything passes straight through.
type dbFile struct {
	sqlitevfs.File
	db     *database
	wal    *walFile      // the same connection's handle of the WAL
	conn   *sqlite3.Conn // nil if SQLite doesn't tell
	waiter *waiter
	turn   *turn
	shm    sqlitevfs.SharedMemory
	guard  shmguard.Guard
	knobs  knobs
	auto   autoCheckpoint
	busy   busyTimeout
	tokens tokens
	off    bool // PRAGMA synchronous=OFF
	full   bool // the last commit was at FULL

	fullfsync bool // PRAGMA fullfsync or checkpoint_fullfsync was set

	asking bool // a PRAGMA is for SQLite, and not for this VFS

	connected bool // it is a main database's, and connected was called
	committed bool // firstCommit was called
	wroteDB   bool // in a rollback-journal mode, by this transaction

	// exclusive is set while the connection has the database for itself, and the checkpointer is kept away:
	// it ends that.
	exclusive func()

	// lent is set while the library's own handle of the WAL is opened (see walHandle).
	lent sqlitevfs.File

	lease   *lease
	cleanup runtime.Cleanup
	closed  bool

	phase phase
	// takeBack is set from a failed sync at the end of a checkpoint until nBackfill is taken back.
	takeBack bool
}

func newDBFile(l *lease, k knobs) *dbFile {
	f := &dbFile{
		File:   l.file,
		db:     l.db,
		waiter: newWaiter(),
		turn:   newTurn(),
		shm:    vfsutil.WrapSharedMemory(l.file),
		knobs:  k,
		lease:  l,
	}
	f.cleanup = runtime.AddCleanup(f, func(l *lease) { go l.abandon() }, l)
	return f
}

// Close closes the handle. SQLite has closed that of the WAL before.
func (f *dbFile) Close() error {
	if f.closed {
		return f.File.Close()
	}
	f.closed = true
	f.cleanup.Stop()
	f.endExclusive()
	f.db.writers.committed()
	return f.lease.end()
}

// Lock makes way for a connection that needs the database for itself: the last one to be closed,
// or one that leaves WAL mode.
func (f *dbFile) Lock(level sqlitevfs.LockLevel) error {
	if level == sqlitevfs.LOCK_EXCLUSIVE && f.exclusive == nil && !f.db.walShared() {
		f.exclusive = f.db.checkpointer.pause()
	}
	err := f.File.Lock(level)
	if err != nil && level == sqlitevfs.LOCK_EXCLUSIVE {
		f.endExclusive()
	}
	return err
}

func (f *dbFile) endExclusive() {
	if f.exclusive != nil {
		f.exclusive()
		f.exclusive = nil
	}
}

// Unlock ends what Lock began.
func (f *dbFile) Unlock(level sqlitevfs.LockLevel) error {
	err := f.File.Unlock(level)
	f.endExclusive()
	return err
}

// WriteAt writes to the database file: in WAL mode, what a checkpoint brings over.
func (f *dbFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.writable(); err != nil {
		return 0, tag(err)
	}
	// H2: from before the write until a sync that starts after it the file isn't durable.
	f.db.wrote(syncqueue.DB, 1)
	n, err := f.File.WriteAt(p, off)
	f.db.wrote(syncqueue.DB, max(0, len(p)-1))
	f.countRollback()
	return n, fullDisk(err)
}

// Truncate counts as a write.
func (f *dbFile) Truncate(size int64) error {
	if err := f.writable(); err != nil {
		return tag(err)
	}
	f.db.wrote(syncqueue.DB, 1)
	err := f.File.Truncate(size)
	f.db.wrote(syncqueue.DB, 1)
	f.countRollback()
	if err == nil && f.wal != nil && f.phase.checkpointOff {
		// H2: the whole WAL has been brought over, and SQLite says so next,
		// to other processes too. At synchronous=OFF it asks for no sync before it does.
		err = f.syncDB(true)
		f.endCheckpoint(err)
		return tag(err)
	}
	if err != nil {
		f.endCheckpoint(err)
	}
	return err
}

// writable keeps bytes out of the database file that must not get there yet, or ever.
func (f *dbFile) writable() error {
	// H5: nothing is written after a failed sync.
	if err := f.db.failed(); err != nil {
		return err
	}
	// H1: the start of a checkpoint has made the WAL durable. If SQLite didn't tell of it, now.
	if f.wal != nil && !f.phase.checkpointing {
		f.startCheckpoint()
	}
	if f.wal == nil {
		return f.db.settleDelete()
	}
	if f.phase.checkpointErr == nil && f.db.unsynced.Load() != nil {
		f.phase.checkpointErr = f.wal.refreshCheckpointed(f.wal.read)
	}
	return f.phase.checkpointErr
}

// Sync makes the database file durable.
// In a checkpoint, SQLite says right after it that the WAL may be overwritten,
// and then any process may do that (H2).
func (f *dbFile) Sync(flags sqlitevfs.SyncFlag) error {
	if f.wal == nil {
		seq := f.db.written(syncqueue.DB)
		err := f.File.Sync(flags)
		if err == nil {
			f.db.mu.Lock()
			f.db.answer(f.db.queue.Synced(syncqueue.DB, seq, f.db.now()))
			f.db.mu.Unlock()
		} else {
			// SQLite takes this transaction back. What was committed before at OFF is another matter.
			f.db.doubtful(err, f.db.lazyPending())
		}
		return err
	}
	if f.db.rules.Off(rules.DBBeforeReuse) {
		return nil
	}
	f.db.noteFlags(flags)
	err := f.syncDB(true)
	f.endCheckpoint(err)
	return tag(err)
}

// syncDB makes the database file durable through this handle.
// Where this process has written nothing to it, it does so only if foreign is set.
func (f *dbFile) syncDB(foreign bool) error {
	db := f.db
	db.mu.Lock()
	if db.rules.Off(rules.DBBeforeReuse) || !foreign && db.queue.Pending(syncqueue.DB) == 0 {
		db.mu.Unlock()
		return nil
	}
	if foreign {
		// Another process may have written part of what this checkpoint ends.
		db.queue.Wrote(syncqueue.DB, 1)
	}
	seq, flags := db.queue.Written(syncqueue.DB), db.flags
	db.mu.Unlock()
	err := db.await(context.Background(), f.waiter, syncqueue.Request[*waiter]{
		File: syncqueue.DB, Seq: seq, Urgent: true,
	}, func() error { return f.File.Sync(flags) })
	if err != nil && f.phase.checkpointing {
		// The connection has the checkpoint lock.
		db.takeBackNow()
	}
	return err
}

// CheckpointStart comes after SQLite has asked for a sync of the WAL, which looked like a commit's.
func (f *dbFile) CheckpointStart() {
	f.startCheckpoint()
	vfsutil.WrapCheckpointStart(f.File)
}

// CheckpointDone comes before the database file is truncated and synced.
func (f *dbFile) CheckpointDone() {
	vfsutil.WrapCheckpointDone(f.File)
	if f.wal == nil {
		return
	}
	err := f.phase.checkpointErr
	if err == nil {
		err = f.db.failed()
	}
	if err != nil {
		f.endCheckpoint(err)
		return
	}
	f.syncPartial()
}

// endCheckpoint tells of the end of a checkpoint of SQLite's.
func (f *dbFile) endCheckpoint(err error) {
	if took, ok := f.phase.told(time.Now()); ok {
		f.db.tellCheckpointEnded(CheckpointEndedInfo{Frames: -1, Duration: took, Err: err})
	}
}

// startCheckpoint makes the WAL durable before the first of its pages goes into the database file.
func (f *dbFile) startCheckpoint() {
	if f.wal == nil {
		f.phase.checkpointErr = nil
		return
	}
	f.endCheckpoint(nil)
	f.phase.checkpoint(time.Now())
	f.db.tellCheckpointBegan(false)
	f.wal.count()
	f.db.mu.Lock()
	f.db.tally.checkpoints++
	f.db.mu.Unlock()
	if !f.db.rules.Off(rules.WALBeforeDB) {
		// H1: a real sync, also where this process has written nothing.
		// A WAL that was there at open, or that another process writes, counts as not durable.
		if f.phase.checkpointErr = f.db.lookForMarker(true); f.phase.checkpointErr != nil {
			return
		}
		f.phase.checkpointErr = f.db.syncForeign(context.Background(), f.waiter)
	}
}

// CommitPhaseTwo ends a commit. In WAL mode it is visible by now and the write lock is released.
func (f *dbFile) CommitPhaseTwo() error {
	woken := f.db.writers.committed()
	err := vfsutil.WrapCommitPhaseTwo(f.File)
	if err != nil && err != error(sqlite3.NOTFOUND) {
		return err
	}
	if f.wal == nil && f.wroteDB {
		if err := f.commitRollback(); err != nil {
			return tag(err)
		}
	}
	if f.wal == nil || !f.wal.wrote {
		return err
	}
	if !f.committed {
		f.firstCommit()
	}
	if err := f.wal.commit(); err != nil {
		f.settleOthers()
		return tag(err)
	}
	if woken && !f.full {
		letThrough()
	}
	return nil
}

// settleOthers takes up the commits of the connection's other databases.
// Each database of a transaction is made visible, and then SQLite calls CommitPhaseTwo for each,
// but no more once one of them has failed.
//
// It may be called within a transaction that goes on: a commit always writes a frame,
// which sets again what settle resets.
func (f *dbFile) settleOthers() {
	for other := range f.handles() {
		if other != f && other.wal != nil && other.wal.wrote {
			other.wal.settle()
		}
	}
}

// handles returns the connection's handles, of all the databases that are on this VFS.
func (f *dbFile) handles() iter.Seq[*dbFile] {
	return func(yield func(*dbFile) bool) {
		if f.conn == nil {
			yield(f)
			return
		}
		for i := 0; ; i++ {
			schema := f.conn.DBName(i)
			if schema == "" {
				return
			}
			if file, ok := fileOf(f.conn, schema); ok && !yield(file) {
				return
			}
		}
	}
}

// context returns the context of the statement that runs.
func (f *dbFile) context() context.Context {
	if f.conn != nil {
		return f.conn.GetInterrupt()
	}
	return context.Background()
}

// SetDB is told the connection that the handle belongs to.
//
// https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlpdb
func (f *dbFile) SetDB(db any) {
	f.conn, _ = db.(*sqlite3.Conn)
	if f, ok := f.File.(interface{ SetDB(any) }); ok {
		f.SetDB(db)
	}
}

// noteSynchronous follows PRAGMA synchronous, to tell OFF from NORMAL:
// at both SQLite asks for no sync at commit. SQLite obeys it when the statement is prepared,
// which is when the VFS is told, but not within a transaction.
//
// https://sqlite.org/pragma.html#pragma_synchronous
func (f *dbFile) noteSynchronous(value string) {
	if value == "" || f.conn != nil && isOpen(f.conn) && !f.conn.GetAutocommit() {
		return
	}
	f.off = isOff(value)
}

// isOff reads a level as SQLite does: what it doesn't know is NORMAL.
func isOff(value string) bool {
	if value != "" && '0' <= value[0] && value[0] <= '9' {
		base, digits := 10, "0123456789"
		if len(value) > 2 && (value[1] == 'x' || value[1] == 'X') {
			value, base, digits = value[2:], 16, "0123456789abcdefABCDEF"
		}
		value = value[:len(value)-len(strings.TrimLeft(value, digits))]
		n, err := strconv.ParseUint(value, base, 31)
		return err != nil || (n+1)&7 <= 1
	}
	switch strings.ToLower(value) {
	case "off", "no", "false":
		return true
	}
	return false
}
