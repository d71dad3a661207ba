package vfs

import (
	"errors"
	"log/slog"
	"syscall"
	"time"

	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// retryAfter is when a sync is tried again that couldn't be tried.
const retryAfter = 4 * minInterval

// notTried is an error met on the way to a sync: the sync itself wasn't tried, and so nothing is lost.
// It fails those who wait for it, and the next one tries again. A failed sync, a [*SyncError], is final (H5).
type notTried struct{ err error }

func (e *notTried) Error() string { return "asyncvfs: sync not tried: " + e.err.Error() }
func (e *notTried) Unwrap() error { return e.err }

// wasNotTried tells an error before a sync from one of it, of whichever base VFS:
// no fsync returns that there are no descriptors left.
// Whatever else it returns may stand for lost data: ENOMEM, EINTR and EACCES too, where the file is opened.
func wasNotTried(err error) bool {
	var e *notTried
	return errors.As(err, &e) || errors.Is(err, errNoHandle) ||
		errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// notTriedCode is what SQLite sees of a sync that wasn't tried.
func notTriedCode(err error) error {
	return sqlitevfs.SystemError(err, sqlite3.IOERR_DIR_FSYNC)
}

// undone answers those who waited for a sync that wasn't tried, and asks for it again.
// Called with db.mu held.
func (db *database) undone(job syncqueue.Job, err error) {
	e := &notTried{err}
	if was := (*notTried)(nil); errors.As(err, &was) {
		e = was
	}
	now := db.now()
	db.answer(db.queue.Undone(job, e, now))
	if job.File == syncqueue.WAL {
		// Commits at NORMAL wait for nobody, but their time runs.
		db.queue.Request(syncqueue.Request[*waiter]{
			File: job.File, Seq: job.Seq, Deadline: now + syncqueue.Time(retryAfter),
		}, now)
		db.arm()
	}
	db.unlocked(func() { db.warnNotTried(e) })
}

// warnNotTried logs it, once in a while.
func (db *database) warnNotTried(err error) {
	now := int64(db.now())
	last := db.warnedNotTried.Load()
	if last != 0 && now-last < int64(time.Second) || !db.warnedNotTried.CompareAndSwap(last, max(1, now)) {
		return
	}
	db.log().Warn("asyncvfs: a sync could not be tried; it will be tried again",
		slog.String("database", db.name), slog.Any("err", err))
}

// settleDelete makes durable that a WAL was deleted, where the delete couldn't (H4):
// nothing may be written that it would be replayed over if it came back.
func (db *database) settleDelete() error {
	name := db.deleted.Load()
	if name == nil {
		return nil
	}
	err := db.dir.sync(name.vfs, name.name)
	switch {
	case err == nil:
		db.deleted.CompareAndSwap(name, nil)
		return nil
	case wasNotTried(err):
		db.warnNotTried(err)
		return notTriedCode(err)
	}
	db.fail("dir", err)
	return db.failed()
}
