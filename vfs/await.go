package vfs

import (
	"context"

	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
)

// syncWAL makes the WAL durable up to seq and returns when it is.
//
// The first to come leads: it lets others join, and then does the sync in its own goroutine, which is faster than
// to hand it to another. Those that come meanwhile wait; when the sync ends,
// it has answered those that it covers, and one of the others leads the next.
// Who has a context that can be cancelled leads too, but hands the sync over to the syncer, since it can't be interrupted.
func (db *database) syncWAL(ctx context.Context, w *waiter, seq uint64) error {
	return db.await(ctx, w, syncqueue.Request[*waiter]{
		File: syncqueue.WAL, Seq: seq, Urgent: true,
	}, nil)
}

// await has the syncer do the request, due now, and waits for its answer.
// A sync of the database file is done by syncDB; that of the WAL is the same for all.
func (db *database) await(ctx context.Context, w *waiter, r syncqueue.Request[*waiter], syncDB func() error) error {
	err := db.syncer.await(ctx, w, r, syncDB)
	if err == error(ErrDurabilityUnknown) {
		return err
	}
	return db.result(err)
}

// result returns the error of a request.
func (db *database) result(err error) error {
	if err == nil {
		return nil
	}
	if failure := db.failed(); failure != nil {
		return failure
	}
	if wasNotTried(err) {
		return err
	}
	// Only while a test has switched H5 off.
	return &SyncError{Err: err, Database: db.name}
}

// commitNormal ends a commit at synchronous=NORMAL that has written the WAL up to seq:
// it returns at once unless a power cut would lose too much.
func (db *database) commitNormal(ctx context.Context, w *waiter, k knobs, seq uint64) error {
	db.mu.Lock()
	now := db.now()
	if answered, err := db.request(seq, k); answered {
		defer db.mu.Unlock()
		return db.result(err)
	}
	// Backpressure.
	stalled, began := false, now
	for {
		target := db.queue.Stall(seq, k.maxPending, now, k.maxDelay)
		if target == 0 {
			break
		}
		first := !stalled
		if first {
			stalled = true
			db.tally.stalls++
		}
		db.mu.Unlock()
		if first {
			db.tellStallBegan(StallPending)
		}
		err := db.await(ctx, w, syncqueue.Request[*waiter]{File: syncqueue.WAL, Seq: target}, nil)
		if err != nil {
			db.stallEnded(began)
			return err
		}
		db.mu.Lock()
		now = db.now()
	}
	db.queue.Acknowledged(seq, now)
	db.arm()
	db.mu.Unlock()
	if stalled {
		db.stallEnded(began)
	}
	return nil
}

// stallEnded counts the stall of a commit that began then.
func (db *database) stallEnded(began syncqueue.Time) {
	now := db.now()
	db.times.stall.observe(now-began, now)
	db.tellStallEnded(StallPending, now-began)
}

// request asks for a sync of the WAL that nobody waits for.
// Called with db.mu held.
func (db *database) request(seq uint64, k knobs) (answered bool, err error) {
	now := db.now()
	return db.queue.Request(syncqueue.Request[*waiter]{
		File: syncqueue.WAL,
		Seq:  seq,
		// The last quarter is for the scheduler: where goroutines use all processors,
		// one that is woken may wait for tens of milliseconds.
		Deadline: now + k.maxDelay - k.maxDelay/4,
		// At half of what may be lost, so that commits go on while the sync runs.
		Limit: k.maxPending / 2,
	}, now)
}
