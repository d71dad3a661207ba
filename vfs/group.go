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

// group is what the leader of a sync of the WAL knows of those who may join. syncer.mu guards it.
type group struct {
	inflight.Planner      // how many may join, and how many syncs run at a time
	gathering        bool // a leader lets others come first
	pause            int  // syncs without gathering to come
	pauses           int  // as many as that the last time
}

// nextSync hands out the sync of the file that is due, for the caller to do.
// Called with mu held.
func (s *syncer) nextSync(file syncqueue.File) (syncqueue.Job, bool) {
	if !s.mayStart(file) {
		return syncqueue.Job{}, false
	}
	return s.queue.NextBeside(file, s.now())
}

// mayStart reports whether a sync of the file may be started: where others run, a handle must be left, and enough must wait.
// Called with mu held.
func (s *syncer) mayStart(file syncqueue.File) bool {
	running := s.queue.Running(file)
	if running == 0 || file != syncqueue.WAL || running >= len(s.handles) {
		return running == 0
	}
	return s.disabled.Off(rules.Frugal) || running < s.group.InFlight() && s.queue.Waiting(file) >= s.group.Group()
}

// complete reports whether a leader is to start the sync now.
// Called with mu held.
func (s *syncer) complete() bool {
	return !s.group.gathering || s.queue.Waiting(syncqueue.WAL) >= s.group.Group()
}

// gather lets others join the sync that is due, with s.mu released meanwhile.
// Called with mu held.
func (s *syncer) gather(ctx context.Context, w *waiter) {
	g := &s.group
	// Others than commits wait alone: they don't come again.
	if w.commit == 0 || g.gathering || s.queue.Waiting(syncqueue.WAL) >= g.Group() {
		return
	}
	if due, ok := s.queue.Due(syncqueue.WAL); !ok || due > s.now() {
		return
	}
	if g.pause > 0 {
		g.pause--
		return
	}
	g.gathering = true
	before := s.queue.Waiting(syncqueue.WAL)
	seen, start := before, s.now()
	for turns := 0; !s.gathered(w) && ctx.Err() == nil && s.now()-start < min(g.Took()/2, gatherMost); {
		nap := min(g.Took()/8, gatherMost)
		if turns++; turns < gatherTurns {
			s.unlocked(runtime.Gosched)
		} else if nap > gatherNap {
			s.unlocked(func() { w.sleep(nap) })
		}
		if n := s.queue.Waiting(syncqueue.WAL); n != seen {
			seen, turns = n, 0
		} else if turns >= gatherTurns {
			break // nobody comes
		}
	}
	g.gathering = false
	if w.done {
		// Those who came since that sync started have left the next one to this leader.
		s.promote(syncqueue.WAL)
	}
	if s.queue.Waiting(syncqueue.WAL) != before {
		g.pauses = 0 // some came, or so many that one of them has started the sync
		return
	}
	g.pauses = min(max(1, 2*g.pauses), gatherPauses)
	g.pause = g.pauses
}

// gathered reports whether there is nothing more to wait for.
// Called with mu held.
func (s *syncer) gathered(w *waiter) bool {
	return w.done || s.queue.Waiting(syncqueue.WAL) >= s.group.Group()
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
