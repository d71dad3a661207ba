package vfs

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// What a wait for durability has to sync beside the WAL.
//
// In WAL mode a commit is in the WAL, or the WAL was started over since then, and it is in the database file.
// This process starts it over only once that is durable (H2), but another one at synchronous=OFF doesn't ask.
// The WAL's header tells: a new one means that what came before it is in the database file,
// and one sync of that, which starts after the header was read, covers it.
//
// In the rollback-journal modes a commit is in the database file, and made by the end of the journal:
// below EXTRA that isn't durable when it is deleted, below FULL not when it is truncated,
// and at OFF nothing is. So the database file comes first, then the journal, if there is one, then the directory.
// A journal that is there belongs to a transaction that goes on, or is over and was truncated or has its header cleared:
// a sync does no harm to the first.

// FileSyncer is implemented by a base VFS that keeps files elsewhere than the operating system.
// SyncFile makes a file's content durable. It returns an error of [io/fs.ErrNotExist] if there is no such file.
//
// For a base VFS without it, a rollback journal of that name is synced with the operating system, if it is there.
type FileSyncer interface {
	SyncFile(name string) error
}

// coverage is what is known to be durable beside what the queue knows.
type coverage struct {
	// writes to the database file in a rollback-journal mode, and how many of them are durable.
	writes, durable atomic.Uint64
	// lazy is how many there were by the last commit at OFF, which nobody has synced for SQLite.
	lazy atomic.Uint64
	// doubt is set once a sync has failed that made commits of a rollback-journal mode durable,
	// or one of the database file that SQLite asked for, and handles itself:
	// what others had written before is lost on a power cut, whatever it does.
	doubt atomic.Pointer[SyncError]
	// looked is set once it was looked for what was in doubt before the database was opened.
	looked atomic.Bool

	mu     sync.Mutex
	header [walHeaderSize]byte // all that was in the WAL before it had this header is durable in the database file; guarded by mu
	rounds rounds              // waits for all of it; guarded by mu
	tokens bool                // there is a [CommitToken]; guarded by mu
}

// rounds numbers something that is begun again and again, and ends in any order.
type rounds struct {
	begun uint64 // so many
	ended uint64 // the last begun of those that have ended well
}

func (r *rounds) begin() uint64 { r.begun++; return r.begun }
func (r *rounds) end(n uint64)  { r.ended = max(r.ended, n) }

// after reports whether one has ended well that began after so many others.
func (r *rounds) after(n uint64) bool { return r.ended > n }

// rollbackPending reports whether this process has made commits in a rollback-journal mode
// that may not be durable.
func (db *database) rollbackPending() bool {
	return db.coverage.writes.Load() != db.coverage.durable.Load()
}

// lazyPending reports whether some of them were made at OFF.
func (db *database) lazyPending() bool { return db.coverage.lazy.Load() > db.coverage.durable.Load() }

// sync makes all commits durable, by whichever process, in whichever journal mode, and the WAL is or isn't open.
// asking is the connection's handle that asks, or nil.
func (db *database) sync(ctx context.Context, asking *dbFile) error {
	db.coverage.mu.Lock()
	round := db.coverage.rounds.begin()
	db.coverage.mu.Unlock()
	done, open := db.useWAL()
	defer done()
	if !open || db.rollbackPending() {
		if !open {
			if err := db.failed(); err != nil {
				return err
			}
			// It isn't in WAL mode, unless nobody has read it yet, or a VFS on top keeps the WAL to itself.
			if exists, err := db.vfs.Access(db.walPath, sqlitevfs.ACCESS_EXISTS); exists || err != nil {
				return ErrWALNotOpen
			}
		}
		if err := db.syncRollback(ctx, asking, open); err != nil {
			return err
		}
	}
	if open {
		if !db.coverage.looked.Load() {
			// It may have been in another mode when it was open before.
			if err := db.lookForDoubt(); err != nil {
				return err
			}
		}
		if err := interrupted(ctx, db.syncForeign(ctx, newWaiter())); err != nil {
			return err
		}
		if err := db.syncRestarted(ctx, asking); err != nil {
			return err
		}
	}
	db.coverage.mu.Lock()
	db.coverage.rounds.end(round)
	db.coverage.mu.Unlock()
	return nil
}

// syncClosing makes all of it durable that tokens may stand for, before the WAL is closed.
func (db *database) syncClosing(main *dbFile) {
	db.coverage.mu.Lock()
	tokens, round := db.coverage.tokens, db.coverage.rounds.begin()
	db.coverage.mu.Unlock()
	if !tokens || db.syncForeign(context.Background(), newWaiter()) != nil || db.syncRestarted(context.Background(), main) != nil {
		return
	}
	db.coverage.mu.Lock()
	db.coverage.rounds.end(round)
	db.coverage.mu.Unlock()
}

// header returns the header of the WAL, which is zero if it has none. The WAL is open.
func (db *database) header() (header [walHeaderSize]byte) {
	if n, _ := db.walHandle().ReadAt(header[:], 0); n < len(header) {
		return [walHeaderSize]byte{}
	}
	return header
}

// syncRestarted makes durable what was in the WAL before it was started over.
func (db *database) syncRestarted(ctx context.Context, asking *dbFile) error {
	if db.rules.Off(rules.ForeignRestarts) {
		return nil
	}
	header := db.header()
	none := header == [walHeaderSize]byte{} // it was truncated: how often since then can't be told
	db.coverage.mu.Lock()
	covered := !none && header == db.coverage.header
	db.coverage.mu.Unlock()
	if covered {
		return nil
	}
	if err := db.syncDBFile(ctx, asking); err != nil {
		return err
	}
	db.coverage.mu.Lock()
	db.coverage.header = header
	db.coverage.mu.Unlock()
	return nil
}

// syncDBFile makes the database file durable through the library's own handle,
// or that of the connection that asks.
func (db *database) syncDBFile(ctx context.Context, asking *dbFile) error {
	if !db.own.isOpen() {
		if asking == nil || runtime.GOOS == "windows" {
			return ErrReadOnly
		}
		return asking.syncReadOnly()
	}
	return cancellable(ctx, func() error { return db.syncOwnDB(newWaiter()) })
}

// cancellable calls f, which can't be interrupted. If ctx is done it returns, and f goes on.
func cancellable(ctx context.Context, f func() error) error {
	if ctx.Done() == nil {
		return f()
	}
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// syncRollback makes all commits durable that were made in a rollback-journal mode, which it may have left for WAL mode since then.
func (db *database) syncRollback(ctx context.Context, asking *dbFile, inWAL bool) error {
	if err := db.lookForDoubt(); err != nil {
		return err
	}
	writes := db.coverage.writes.Load()
	own := db.own.isOpen()
	if !own {
		if err := db.syncDBFile(ctx, asking); err != nil {
			return err
		}
	}
	// Whoever waits may be gone when it fails: what is in doubt is noted all the same.
	err := cancellable(ctx, func() error {
		err := db.syncRollbackFiles(own)
		var failure *SyncError
		if errors.As(err, &failure) {
			// In WAL mode, what was committed before at a level other than OFF was made durable by SQLite.
			db.inDoubt(failure, !inWAL || db.lazyPending())
		}
		return err
	})
	if err != nil {
		return err
	}
	for {
		durable := db.coverage.durable.Load()
		if durable >= writes || db.coverage.durable.CompareAndSwap(durable, writes) {
			return nil
		}
	}
}

// syncRollbackFiles syncs the database file through the library's own handle, if own is set, then the journal, then their directory.
func (db *database) syncRollbackFiles(own bool) error {
	if own {
		if err := db.syncOwnDB(newWaiter()); err != nil {
			return err
		}
	}
	if err := db.syncJournal(); err != nil {
		return err
	}
	err := db.dir.sync(db.vfs, db.journalPath())
	if err == nil || wasNotTried(err) {
		return err
	}
	db.fail("dir", err)
	return db.failed()
}

func (db *database) journalPath() string { return db.name + "-journal" }

// syncJournal makes the journal durable as it is now.
func (db *database) syncJournal() error {
	if s, ok := db.vfs.VFS.(FileSyncer); ok {
		err := s.SyncFile(db.journalPath())
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		db.fail("journal", err)
		return db.failed()
	}
	f, err := os.OpenFile(db.journalPath(), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		db.fail("journal", err)
		return db.failed()
	}
	return nil
}

// syncReadOnly makes the database file durable through a connection's handle, where the library has none:
// no connection of this process may write.
func (f *dbFile) syncReadOnly() error {
	err := f.File.Sync(sqlitevfs.SYNC_NORMAL)
	if err == nil || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL) {
		return nil // where nothing can be written all is durable
	}
	return f.db.doubtful(err, true)
}

// doubtful notes that a sync of the database file by a connection's handle has failed.
func (db *database) doubtful(err error, stays bool) *SyncError {
	return db.inDoubt(&SyncError{Err: err, Database: db.name, File: syncqueue.DB.String()}, stays)
}

// countRollback counts a write to the database file that was made in a rollback-journal mode.
// It comes after the write: a sync that began before isn't taken to cover it.
func (f *dbFile) countRollback() {
	if f.wal == nil {
		f.db.coverage.writes.Add(1)
		f.wroteDB = true
	}
}

// commitRollback ends a commit in a rollback-journal mode: all locks are held still.
func (f *dbFile) commitRollback() error {
	f.wroteDB = false
	f.tokens.commits++
	if f.off {
		f.db.coverage.lazy.Store(f.db.coverage.writes.Load())
	}
	if Mode(f.db.mode.Load()) != Sync {
		return nil
	}
	ctx := f.context()
	err := f.db.syncRollback(ctx, f, false)
	if err != nil && err == ctx.Err() {
		f.db.cancelled()
		return ErrDurabilityUnknown
	}
	return err
}
