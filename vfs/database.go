package vfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// minInterval is the time since the last sync of the WAL
// after which a commit at NORMAL is synced at once.
// Commits that follow each other more closely are synced at their deadline, together.
const minInterval = 5 * time.Millisecond

// database is the state of one database file,
// shared by all the connections that this process has to it.
type database struct {
	vfs     *asyncVFS // that opened it first
	name    string    // full path
	walPath string    // full path of its WAL
	id      identity
	rules   rules.Set // switched off by a test

	leases map[*lease]struct{} // one for each connection; guarded by registry.mu

	// failure is the queue's (H5), to be read without mu; it changes while mu is held.
	failure atomic.Pointer[SyncError]
	mode    atomic.Uint32

	// walMu is held while the WAL is opened and closed, which does I/O. It is taken before mu.
	// walInUse counts those who have no handle of the WAL and need it to stay open;
	// it is added to while walMu is held.
	walMu    ioMutex
	walInUse sync.WaitGroup
	walRefs  int // handles of the WAL that SQLite has; guarded by walMu
	walID    identity
	stopped  chan struct{} // closed when the syncer has ended

	// unsynced is set while part of the WAL has to be written once more (see refresh.go).
	// refreshMu is held during I/O, guards how far it has been, and is taken before mu.
	unsynced   atomic.Pointer[unsynced]
	refreshMu  ioMutex
	generation atomic.Uint64 // of the WAL: the queue's, to be read without mu; it changes while mu is held
	walEnd     atomic.Int64  // of what is counted, and committed, of this generation; it changes while mu is held
	markers    markers

	syncer                      // its mutex guards what follows
	walNames []nameKey          // the names that the WAL was opened by; guarded by mu
	walSync  sqlitevfs.File     // the library's own handle of the WAL; guarded by mu
	flags    sqlitevfs.SyncFlag // for a sync of the WAL: the strictest that SQLite asked for; guarded by mu
	extent   walExtent          // guarded by mu
	newWAL   bool               // the WAL's directory entry may not be durable (H4); guarded by mu
	walSyncs rounds             // syncs of the WAL; guarded by mu
	syncs    []*dbSync          // that have ended, to be used again; guarded by mu
	tally    tally              // guarded by mu

	times times

	writers writerQueue
	own     ownFile
	dir     ownDir

	deleted        atomic.Pointer[nameKey] // a WAL whose removal isn't durable (H4)
	warnedNotTried atomic.Int64            // when that was logged
	coverage       coverage
	checkpointer   *checkpointer
	observed       observing
}

func newDatabase(v *asyncVFS, id identity, name *sqlitevfs.Filename) *database {
	db := &database{
		vfs:     v,
		name:    name.String(),
		walPath: name.WAL(),
		id:      id,
		rules:   rules.Disabled(v.VFS),
		flags:   sqlitevfs.SYNC_NORMAL,
		leases:  map[*lease]struct{}{},
		walMu:   make(ioMutex, 1),
		markers: markers{mu: make(ioMutex, 1)},

		refreshMu: make(ioMutex, 1),
		own:       ownFile{ioMu: make(ioMutex, 1)},
	}
	db.syncer.init(db, db.times.window.observe, db.rules)
	db.checkpointer = newCheckpointer(db)
	db.mode.Store(registry.mode.Load())
	return db
}

// ioMutex is a mutex that is held during I/O.
// Unlike with [sync.Mutex], time goes on in a synctest bubble while goroutines wait for it.
type ioMutex chan struct{}

func (m ioMutex) Lock()   { m <- struct{}{} }
func (m ioMutex) Unlock() { <-m }

// failed returns what a commit, a write to the database file or a restart of the WAL
// returns once a sync has failed (H5).
func (db *database) failed() error {
	if err := db.failure.Load(); err != nil {
		return err
	}
	return nil
}

// openWAL takes part in the WAL of that name, which file is a handle of.
// The first to come opens the syncer's own handle, before this process's first write,
// so that it sees every error of writing the file back. main is the connection's handle of the database.
func (db *database) openWAL(v *asyncVFS, name *sqlitevfs.Filename, main *dbFile, file sqlitevfs.File, flags sqlitevfs.OpenFlag) error {
	db.walMu.Lock()
	defer db.walMu.Unlock()

	id, err := v.identify(file, name.String())
	if err != nil {
		return err
	}
	key := nameKey{v, name.String()}
	if db.walRefs > 0 {
		if !db.walID.same(id) {
			return db.otherName(name)
		}
		db.walRefs++
		if !db.hasWAL(key) {
			db.mu.Lock()
			db.walNames = append(db.walNames, key)
			db.mu.Unlock()
		}
		return nil
	}

	own, err := db.openOwnWAL(v, name, main, flags)
	if err != nil {
		return err
	}
	db.walRefs = 1
	db.walID = id
	var durable int64
	var known salt
	u, err := db.recall(file)
	if err == nil && u != nil {
		err = db.distrust(distrustPatience)
	}
	if err != nil {
		own.Close()
		db.walRefs = 0
		return err
	}
	if u != nil && !db.rules.Off(rules.Refresh) {
		db.unsynced.Store(u)
		durable, known = u.upTo.Load(), saltOf(u.header)
	}
	db.stopped = make(chan struct{})
	handles := openSyncHandles(v, name, flags, own)

	db.mu.Lock()
	db.walSync, db.handles = own, handles
	db.walNames = []nameKey{key}
	// H4: whether this process made the file can't be told, so take it that it did.
	db.newWAL = true
	db.extent = walExtent{salt: known, durable: durable}
	db.walEnd.Store(durable)
	db.stop = false
	db.armed = never
	db.syncLeftover(own)
	db.mu.Unlock()
	go db.run(db.stopped)
	return nil
}

// checkWALName refuses a second hard link of a database whose WAL is open:
// it has a WAL of its own, and each of the two overwrites what the other has brought over.
//
// https://sqlite.org/howtocorrupt.html#_multiple_links_to_the_same_file
func (db *database) checkWALName(name *sqlitevfs.Filename) error {
	db.walMu.Lock()
	defer db.walMu.Unlock()
	if db.walRefs == 0 || db.walID.info == nil {
		return nil
	}
	// Where names aren't the operating system's, openWAL finds out.
	if info, err := os.Stat(name.String()); err != nil || !os.SameFile(info, db.id.info) {
		return nil
	}
	info, err := os.Stat(name.WAL())
	if err == nil && !os.SameFile(info, db.walID.info) || errors.Is(err, fs.ErrNotExist) {
		return db.otherName(name)
	}
	return nil
}

func (db *database) otherName(name *sqlitevfs.Filename) error {
	if name.Database() == db.name {
		return fmt.Errorf("asyncvfs: %s isn't the file any more that this process has open: it was removed or replaced; close all connections to %s and open it anew",
			name.WAL(), db.name)
	}
	return &ParameterError{"name", name.Database(),
		"the name that this process opened the database by: " + db.name}
}

// closeWAL ends a handle's part in the WAL. The last one makes all of it durable.
// main is the connection's handle of the database file.
func (db *database) closeWAL(main *dbFile) {
	db.walMu.Lock()
	defer db.walMu.Unlock()
	if db.walRefs--; db.walRefs > 0 {
		return
	}

	// It works only while a connection has the WAL open.
	resume := db.checkpointer.pause()
	defer resume()
	db.checkpointer.backfiller.close()

	// Closing the last connection is a promise of durability too.
	// Nobody can be told of an error, but it is logged,
	// and the WAL isn't deleted (see asyncVFS.Delete).
	if db.pending(syncqueue.WAL) {
		db.syncWAL(context.Background(), newWaiter(), db.written(syncqueue.WAL))
	}
	main.syncDB(false) // H2: the WAL may be deleted next
	db.syncClosing(main)

	// Those who use it wait for a sync that is under way, or that the syncer does.
	db.walInUse.Wait()
	db.mu.Lock()
	db.stop = true
	db.wakeSyncer()
	db.mu.Unlock()
	<-db.stopped

	// On Windows the WAL can't be deleted while a handle is open.
	db.mu.Lock()
	handles := db.handles
	db.walSync, db.handles = nil, nil
	db.mu.Unlock()
	for _, h := range handles {
		h.file.Close()
	}
}

// walShared reports whether several connections have the WAL open.
// They keep each other from having the database for themselves.
func (db *database) walShared() bool {
	db.walMu.Lock()
	defer db.walMu.Unlock()
	return db.walRefs > 1
}

// hasWAL reports whether the WAL was opened by that name, and may still be there.
func (db *database) hasWAL(name nameKey) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Contains(db.walNames, name)
}

// fail fails the database: a sync of its directory failed that no job was made for.
func (db *database) fail(file string, err error) {
	db.mu.Lock()
	failure := &SyncError{
		Err: err, Database: db.name, File: file,
		DurableCommits: db.tally.durable, Commits: db.tally.commits,
	}
	answers := db.queue.Fail(failure)
	db.publishFailure()
	db.answer(answers)
	extent, wal := db.extent, db.walSync
	db.mu.Unlock()
	db.remember(wal, extent, failure)
	go db.takeBack()
	db.report(SyncEvent{Database: db.name, File: file, Err: failure})
}

// publishFailure has those see it that look without mu.
// Called with mu held.
func (db *database) publishFailure() {
	db.failure.CompareAndSwap(nil, db.queue.Failed().(*SyncError))
}

// wrote counts bytes that were written.
func (db *database) wrote(file syncqueue.File, n int) {
	db.mu.Lock()
	db.queue.Wrote(file, n)
	db.mu.Unlock()
}

func (db *database) written(file syncqueue.File) uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.queue.Written(file)
}

func (db *database) pending(file syncqueue.File) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.queue.Pending(file) > 0
}

// commits counts bytes of WAL that weren't counted before and, if it is one, a commit.
// It returns the sequence that makes the commit durable, and the number of commits so far.
func (db *database) commits(w walBytes, commit bool) (seq, n uint64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.wroteWAL(w)
	if commit {
		db.tally.commits++
	}
	return db.queue.Written(syncqueue.WAL), db.tally.commits
}

// walBytes are bytes that were written to the WAL.
type walBytes struct {
	n          int
	end        int64  // of what of them is committed: what is taken back, others write over
	generation uint64 // that this belongs to
	salt       salt
}

// wroteWAL counts bytes of WAL.
// Called with db.mu held.
func (db *database) wroteWAL(w walBytes) {
	db.queue.Wrote(syncqueue.WAL, w.n)
	// By the end of its commit, another connection may have restarted the WAL.
	if w.generation == db.generation.Load() && db.isKnown(w.salt) {
		db.walEnd.Store(max(db.walEnd.Load(), w.end))
	}
}

// cancelled counts a commit that was cancelled while it waited.
func (db *database) cancelled() {
	db.mu.Lock()
	db.tally.cancelled++
	db.mu.Unlock()
}

// noteFlags keeps the strictest kind of sync that SQLite asked for.
//
// https://sqlite.org/pragma.html#pragma_fullfsync
func (db *database) noteFlags(flags sqlitevfs.SyncFlag) {
	db.mu.Lock()
	db.flags |= flags & sqlitevfs.SYNC_FULL
	db.mu.Unlock()
}

// restartWAL begins a new generation: all of the last one is in the database file.
// It returns false if that isn't durable.
func (db *database) restartWAL() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.rules.Off(rules.DBBeforeReuse) {
		db.queue.Synced(syncqueue.DB, db.queue.Written(syncqueue.DB), db.now())
	}
	if db.queue.Pending(syncqueue.DB) > 0 {
		return false
	}
	db.tally.durable = db.tally.commits
	db.forget()
	answers := db.queue.Restart(db.now())
	db.generation.Store(db.queue.Generation())
	db.extent = walExtent{}
	db.walEnd.Store(0)
	db.answer(answers)
	return true
}

// syncForeign makes the WAL durable with a sync that starts now,
// whether or not this process has written to it: another one may have.
// The caller keeps the WAL open.
func (db *database) syncForeign(ctx context.Context, w *waiter) error {
	db.mu.Lock()
	if !db.rules.Off(rules.ForeignWrites) {
		// A byte that nobody wrote stands for those that nobody counted.
		db.queue.Wrote(syncqueue.WAL, 1)
	}
	seq := db.queue.Written(syncqueue.WAL)
	db.mu.Unlock()
	return db.syncWAL(ctx, w, seq)
}

// useWAL keeps the WAL open until done is called, if it is open.
func (db *database) useWAL() (done func(), open bool) {
	db.walMu.Lock()
	defer db.walMu.Unlock()
	if db.walRefs == 0 {
		return func() {}, false
	}
	db.walInUse.Add(1)
	return db.walInUse.Done, true
}

// waitDurable returns once every commit made before is durable, by whichever process.
// asking is the connection's handle that asks, or nil.
func (db *database) waitDurable(ctx context.Context, asking *dbFile) error {
	if err := db.refreshWAL(ctx); err != nil {
		return err
	}
	return db.sync(ctx, asking)
}

// flush makes durable what this process has written.
func (db *database) flush(ctx context.Context) error {
	done, open := db.useWAL()
	defer done()
	if db.rollbackPending() {
		if err := db.syncRollback(ctx, nil, open); err != nil {
			return err
		}
	}
	if !open || !db.pending(syncqueue.WAL) {
		return db.failed()
	}
	if err := interrupted(ctx, db.syncWAL(ctx, newWaiter(), db.written(syncqueue.WAL))); err != nil {
		return err
	}
	return db.syncRestarted(ctx, nil)
}

// interrupted returns err, and the context's error where it waited for no commit of its own.
func interrupted(ctx context.Context, err error) error {
	if err == error(ErrDurabilityUnknown) {
		return ctx.Err()
	}
	return err
}

// setMode sets the mode. In sync mode it then flushes what is pending.
func (db *database) setMode(ctx context.Context, m Mode) error {
	db.mode.Store(uint32(m))
	if m == Sync {
		return db.flush(ctx)
	}
	return nil
}
