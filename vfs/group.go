package vfs

import (
	"context"
	"runtime"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/inflight"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
)

// Connections that a sync has answered tend to commit again soon. If the next sync starts before they do,
// they wait for that one and for one more. So the leader lets them come first, as long as that costs less than it gains:
// while they come, no longer than half a sync takes, and not at all after it has been in vain.
const (
	gatherTurns  = 200                    // times that other goroutines are let through while nobody comes
	gatherNap    = 100 * time.Microsecond // not worth it to sleep for less
	gatherMost   = 5 * time.Millisecond   // however slow the disk is
	gatherPauses = 64                     // syncs without gathering after some that were in vain, at most
)

// group is what the leader of a sync of the WAL knows of those who may join. database.mu guards it.
type group struct {
	inflight.Planner      // how many may join, and how many syncs run at a time
	gathering        bool // a leader lets others come first
	pause            int  // syncs without gathering to come
	pauses           int  // as many as that the last time
}

// nextSync hands out the sync of the file that is due, for the caller to do.
// +checklocks:db.mu
func (db *database) nextSync(file syncqueue.File) (syncqueue.Job, bool) {
	if !db.mayStart(file) {
		return syncqueue.Job{}, false
	}
	return db.queue.NextBeside(file, db.now())
}

// mayStart reports whether a sync of the file may be started: where others run, a handle must be left, and enough must wait.
// +checklocks:db.mu
func (db *database) mayStart(file syncqueue.File) bool {
	running := db.queue.Running(file)
	if running == 0 || file != syncqueue.WAL || running >= len(db.handles) {
		return running == 0
	}
	return db.rules.Off(rules.Frugal) || running < db.group.InFlight() && db.queue.Waiting(file) >= db.group.Group()
}

// complete reports whether a leader is to start the sync now.
// +checklocks:db.mu
func (db *database) complete() bool {
	return !db.group.gathering || db.queue.Waiting(syncqueue.WAL) >= db.group.Group()
}

// gather lets others join the sync that is due, with db.mu released meanwhile.
// +checklocks:db.mu
func (db *database) gather(ctx context.Context, w *waiter) {
	g := &db.group
	// Others than commits wait alone: they don't come again.
	if w.commit == 0 || g.gathering || db.queue.Waiting(syncqueue.WAL) >= g.Group() {
		return
	}
	if due, ok := db.queue.Due(syncqueue.WAL); !ok || due > db.now() {
		return
	}
	if g.pause > 0 {
		g.pause--
		return
	}
	g.gathering = true
	before := db.queue.Waiting(syncqueue.WAL)
	seen, start := before, db.now()
	for turns := 0; !db.gathered(w) && ctx.Err() == nil && db.now()-start < min(g.Took()/2, gatherMost); {
		nap := min(g.Took()/8, gatherMost)
		if turns++; turns < gatherTurns {
			db.unlocked(runtime.Gosched)
		} else if nap > gatherNap {
			db.unlocked(func() { w.sleep(nap) })
		}
		if n := db.queue.Waiting(syncqueue.WAL); n != seen {
			seen, turns = n, 0
		} else if turns >= gatherTurns {
			break // nobody comes
		}
	}
	g.gathering = false
	if w.done {
		// Those who came since that sync started have left the next one to this leader.
		db.promote(syncqueue.WAL)
	}
	if db.queue.Waiting(syncqueue.WAL) != before {
		g.pauses = 0 // some came, or so many that one of them has started the sync
		return
	}
	g.pauses = min(max(1, 2*g.pauses), gatherPauses)
	g.pause = g.pauses
}

// gathered reports whether there is nothing more to wait for.
// +checklocks:db.mu
func (db *database) gathered(w *waiter) bool {
	return w.done || db.queue.Waiting(syncqueue.WAL) >= db.group.Group()
}

// sleep sleeps until the waiter is woken, or for that long.
func (w *waiter) sleep(d time.Duration) {
	if w.timer == nil {
		w.timer = time.NewTimer(d)
	} else {
		w.timer.Reset(d)
	}
	select {
	case <-w.wake:
		w.timer.Stop()
	case <-w.timer.C:
	}
}
