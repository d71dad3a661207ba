package vfs

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/ckptplan"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

const (
	// backfillChunk is how much is written to the database file at once, where pages follow each other.
	backfillChunk = 256 << 10
	// finishTries is how often all is brought over while commits wait, where some slip in.
	finishTries = 4
	// lookTurns is how often a lock that is held is looked at before the goroutine sleeps.
	lookTurns = 200
	lookNap   = 50 * time.Microsecond
)

// The reasons not to checkpoint in the background.
var (
	errStopped   = errors.New("stopped")
	errUnsettled = errors.New("the WAL-index is being written or restored")
	errChecksums = errors.New("the database has checksums, which SQLite's VFS for them computes")
	errSectors   = errors.New("the pages of the database are smaller than the blocks that its VFS writes")
	errUnsynced  = errors.New("part of the WAL is to be written once more after a failed sync")
	errForeign   = errors.New("the WAL isn't what its index says")
	errNoHandle  = errors.New("the database isn't open for writing")
)

// backfiller brings frames of the WAL over to the database file, as SQLite's walCheckpoint does in passive mode,
// under the same locks, but through handles of the database's own.
// It needs no connection, and so none of what the application gives to those:
// extensions, hooks, an authorizer, keys, a schema that takes long to read.
//
// It isn't quite the same in two ways, both of which others may see as if checkpoints had failed halfway:
// the locks are released during the sync of the database file,
// and nBackfill is never published before that (H2), also where only part of the WAL was brought over.
//
// https://sqlite.org/src/file/src/wal.c
type backfiller struct {
	db      *database
	waiter  *waiter
	stopped func() bool

	index *walindex.Index // nil until needed
	buf   []byte
}

// close is called before SQLite closes the WAL, while nothing is under way.
func (b *backfiller) close() {
	if b.index != nil {
		b.index.Close()
		b.index = nil
	}
}

// do does a step.
func (b *backfiller) do(step ckptplan.Step, patience time.Duration) (out ckptplan.Outcome, err error) {
	out.Frames = -1
	if b.index == nil {
		if b.index, err = walindex.Open(b.db.indexPath()); err != nil {
			return out, err
		}
	}
	if step == ckptplan.Finish {
		return b.finish(patience)
	}
	h, err := b.header()
	if err != nil {
		return out, err
	}
	return b.round(h, b.syncWAL)
}

// header returns what the last commit has published.
func (b *backfiller) header() (h walindex.Header, err error) {
	ok := b.until(ckptplan.Patience, func() bool {
		var whole bool
		h, whole = b.index.Header()
		return whole
	})
	if b.stopped() {
		return h, errStopped
	}
	if !ok {
		return h, errUnsettled
	}
	return h, nil
}

// until looks until something is so, with that much patience.
func (b *backfiller) until(patience time.Duration, so func() bool) bool {
	start := time.Now()
	for turns := 0; !so(); turns++ {
		if b.stopped() || time.Since(start) > patience {
			return false
		}
		if turns < lookTurns {
			runtime.Gosched()
		} else {
			time.Sleep(lookNap)
		}
	}
	return true
}

// finish brings over all of the WAL, while commits of this process wait,
// and waits until no reader needs it any more: the next to write starts it over.
func (b *backfiller) finish(patience time.Duration) (out ckptplan.Outcome, err error) {
	start := time.Now()
	left := func() time.Duration { return patience - time.Since(start) }
	for try := 0; ; try++ {
		h, err := b.header()
		if err != nil {
			return out, err
		}
		// The commits that wait for this sync are readers: it comes first.
		if err := b.syncWAL(); err != nil {
			return out, err
		}
		synced := h
		var lookErr error
		quiet := b.until(left(), func() bool {
			busy, err := b.readBelow(synced.MaxFrame)
			lookErr = err
			return err != nil || !busy
		})
		if lookErr != nil {
			return out, lookErr
		}
		if h, err = b.header(); err != nil {
			return out, err
		}
		// H1: a WAL that was started over may have as many frames, and none of those is synced.
		same := h.Salt == synced.Salt && h.MaxFrame == synced.MaxFrame
		if !same && try < finishTries {
			continue // a commit that wasn't held
		}
		out, err = b.round(h, func() error {
			if same {
				return nil
			}
			return b.syncWAL()
		})
		done := out.Frames >= 0 && out.Left == 0
		if err != nil || !done && (!quiet || try >= finishTries) {
			return out, err
		}
		if done {
			break
		}
	}
	free := b.until(left(), func() bool {
		for i := 1; i < walindex.Readers; i++ {
			if held, err := b.index.Held(walindex.Read(i)); err != nil || held {
				return false
			}
		}
		return true
	})
	if !free {
		out.Left = 1
	}
	return out, nil
}

// readBelow reports whether somebody writes, or reads a state of the database from before that frame.
func (b *backfiller) readBelow(frame uint32) (bool, error) {
	if held, err := b.index.Held(walindex.Write); err != nil || held {
		return held, err
	}
	for i := 1; i < walindex.Readers; i++ {
		if b.index.ReadMark(i) < frame {
			if held, err := b.index.Held(walindex.Read(i)); err != nil || held {
				return held, err
			}
		}
	}
	return false, nil
}

// readersBlock reports whether a reader uses a state of the database from before anything that is left to be brought over.
// No sync is done for that.
func (b *backfiller) readersBlock() (bool, error) {
	done := b.index.Backfilled()
	for i := 1; i < walindex.Readers; i++ {
		if b.index.ReadMark(i) <= done {
			if held, err := b.index.Held(walindex.Read(i)); err != nil || held {
				return held, err
			}
		}
	}
	return false, nil
}

// round brings over what it may of the WAL that h describes.
func (b *backfiller) round(h walindex.Header, syncWAL func() error) (out ckptplan.Outcome, err error) {
	out.Frames = -1
	blocked, err := b.readersBlock()
	if err != nil {
		return out, err
	}
	if b.index.Backfilled() > h.MaxFrame {
		// Or the WAL has been started over since the header was read.
		if mended, err := b.mend(); err != nil || !mended {
			return out, err
		}
	}
	if b.index.Backfilled() < h.MaxFrame && !blocked {
		if err := b.db.lookForMarker(false); err != nil {
			return out, err
		}
		// H1: a real sync that starts after these frames were written, also where this process has written none.
		if err := syncWAL(); err != nil {
			return out, err
		}
		if done, err := b.bringOver(h); err != nil || !done {
			return out, err
		}
	}
	now, err := b.header()
	if err != nil {
		return out, err
	}
	if now.Salt != h.Salt {
		return out, nil // somebody has started it over
	}
	out.Frames = int(h.MaxFrame)
	out.Left = max(0, out.Frames-int(b.index.Backfilled()))
	return out, nil
}

// bringOver copies pages and publishes that. It returns false if somebody else keeps it from that.
//
// Of all processes that do it like this one, a single one does so at a time:
// during its sync another one would write over what it has copied, and with older pages if it has looked at the WAL before.
// What is published then would be neither durable nor right.
func (b *backfiller) bringOver(h walindex.Header) (bool, error) {
	if !b.db.rules.Off(rules.OneBackfill) {
		if ok, err := b.index.TryLock(walindex.Backfill); err != nil || !ok {
			return false, err
		}
		defer b.index.Unlock(walindex.Backfill)
	}
	from, upTo, err := b.backfill(h)
	if err != nil || upTo == 0 {
		return false, err
	}
	return true, b.publish(h, from, upTo)
}

// syncWAL makes the WAL durable.
func (b *backfiller) syncWAL() error {
	if b.db.rules.Off(rules.WALBeforeDB) {
		return nil
	}
	return b.db.syncForeign(context.Background(), b.waiter)
}

// backfill copies the pages of the frames after from to the database file. It returns up to which frame that has all of them now,
// which isn't durable yet, or 0 if there was nothing that it could do.
func (b *backfiller) backfill(h walindex.Header) (from, upTo uint32, err error) {
	if ok, err := b.index.TryLock(walindex.Checkpoint); err != nil || !ok {
		return 0, 0, err
	}
	defer b.index.Unlock(walindex.Checkpoint)
	from = b.index.Backfilled()
	upTo, err = b.safe(h.MaxFrame)
	if err != nil || upTo <= from {
		return from, from, err
	}
	// Those who read nothing but the database file.
	if ok, err := b.index.TryLock(walindex.Read(0)); err != nil || !ok {
		return 0, 0, err
	}
	defer b.index.Unlock(walindex.Read(0))
	// Since the header was read, the WAL may have been started over. From here on it isn't.
	live, err := b.header()
	if err != nil || live.Salt != h.Salt {
		return 0, 0, err
	}
	b.index.SetAttempted(upTo)
	b.db.countCheckpoint()

	return from, upTo, b.db.own.use(func(file sqlitevfs.File) error {
		if err := b.copy(file, h, from, upTo); err != nil {
			return err
		}
		if live, ok := b.index.Header(); ok && live.MaxFrame == upTo {
			return b.db.writeDB(0, func() error { return file.Truncate(int64(h.Pages) * int64(h.PageSize)) })
		}
		return nil
	})
}

// safe returns up to which frame the database file may be written: no reader uses an older state.
func (b *backfiller) safe(frame uint32) (uint32, error) {
	for i := 1; i < walindex.Readers; i++ {
		mark := b.index.ReadMark(i)
		if mark >= frame {
			continue
		}
		free, err := b.index.TryLock(walindex.Read(i))
		if err != nil {
			return 0, err
		}
		if !free {
			frame = mark
			continue
		}
		if i == 1 {
			b.index.SetReadMark(i, frame)
		} else {
			b.index.SetReadMark(i, walindex.NoMark)
		}
		if err := b.index.Unlock(walindex.Read(i)); err != nil {
			return 0, err
		}
	}
	return frame, nil
}

// publish makes the database file durable, and then says that the frames up to upTo needn't be read any more.
// Those after from were copied.
func (b *backfiller) publish(h walindex.Header, from, upTo uint32) error {
	if upTo <= from {
		return nil
	}
	if !b.db.rules.Off(rules.DBBeforeReuse) && !b.db.rules.Off(rules.Publish) {
		if err := b.db.syncOwnDB(b.waiter); err != nil {
			return err
		}
	}
	var ok bool
	var err error
	b.until(ckptplan.Patience, func() bool {
		ok, err = b.index.TryLock(walindex.Checkpoint)
		return ok || err != nil
	})
	if err != nil || !ok {
		return err // another checkpoint does the same
	}
	defer b.index.Unlock(walindex.Checkpoint)
	// H5: after another sync has failed, what the database file has is in doubt.
	if err := b.db.failed(); err != nil {
		return err
	}
	var may, told bool
	b.until(ckptplan.Patience, func() bool {
		may, told = mayPublish(b.index, h, from, upTo)
		return told
	})
	if !told {
		if b.stopped() {
			return errStopped
		}
		return errUnsettled
	}
	if may {
		b.index.SetBackfilled(upTo)
	}
	return nil
}

// indexPath returns where the WAL-index is that connections of this process use.
func (db *database) indexPath() string {
	if path, ok := db.own.indexPath(); ok {
		return path
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	return strings.TrimSuffix(db.walNames[0].name, "-wal") + "-shm"
}

// nextIndexPath is [database.indexPath] for when the WAL may not be open yet.
func (db *database) nextIndexPath() string {
	if path, ok := db.own.indexPath(); ok {
		return path
	}
	return strings.TrimSuffix(db.walPath, "-wal") + "-shm"
}

// walHandle returns the library's own handle of the WAL. The WAL is open.
func (db *database) walHandle() sqlitevfs.File {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.walSync
}

func (db *database) countCheckpoint() {
	db.mu.Lock()
	db.tally.checkpoints++
	db.mu.Unlock()
}

// writeDB writes n bytes to the database file, or changes its size.
func (db *database) writeDB(n int, write func() error) error {
	// H5: nothing is written after a failed sync.
	if err := db.failed(); err != nil {
		return err
	}
	// H2: from before the write until a sync that starts after it the file isn't durable.
	db.wrote(syncqueue.DB, 1)
	err := write()
	db.wrote(syncqueue.DB, max(1, n))
	return err
}

// syncOwnDB makes the database file durable through the library's own handle.
func (db *database) syncOwnDB(w *waiter) error {
	db.mu.Lock()
	// Another process may have written part of it.
	db.queue.Wrote(syncqueue.DB, 1)
	seq, flags := db.queue.Written(syncqueue.DB), db.flags
	db.mu.Unlock()
	return db.await(context.Background(), w, syncqueue.Request[*waiter]{
		File: syncqueue.DB, Seq: seq, Urgent: true,
	}, func() error {
		return db.own.use(func(file sqlitevfs.File) error { return file.Sync(flags) })
	})
}
