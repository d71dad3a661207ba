package vfs

import (
	"context"
	"runtime"
	"time"

	"github.com/docusnap/asyncvfs/internal/syncqueue"
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
	expected  int           // who may commit: those that the last sync answered, and those that waited at its end
	took      time.Duration // a sync takes, lately
	gathering bool          // a leader lets others come first
	pause     int           // syncs without gathering to come
	pauses    int           // as many as that the last time
}

// synced notes a sync that has ended.
func (g *group) synced(took time.Duration, answered, waiting int) {
	g.expected = answered + waiting
	// A disk that hangs once isn't a slow disk.
	took = min(took, 2*gatherMost, max(4*g.took, time.Millisecond))
	if g.took == 0 {
		g.took = took
	}
	g.took += (took - g.took) / 8
}

// complete reports whether a leader is to start the sync now.
// +checklocks:db.mu
func (db *database) complete() bool {
	return !db.group.gathering || db.queue.Waiting(syncqueue.WAL) >= db.group.expected
}

// gather lets others join the sync that is due, with db.mu released meanwhile.
// +checklocks:db.mu
func (db *database) gather(ctx context.Context, w *waiter) {
	g := &db.group
	// Others than commits wait alone: they don't come again.
	if w.commit == 0 || g.gathering || db.queue.Waiting(syncqueue.WAL) >= g.expected {
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
	for turns := 0; !db.gathered(w) && ctx.Err() == nil && db.now()-start < min(g.took/2, gatherMost); {
		nap := g.took / 8
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
	return w.done || db.queue.Waiting(syncqueue.WAL) >= db.group.expected
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
