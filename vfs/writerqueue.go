package vfs

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// writerPatience is how long a connection waits in a [writerQueue]
// before it tries for the write lock all the same: another process may have had it, or a transaction that was rolled back.
const writerPatience = 2 * time.Millisecond

// writerQueue is where the connections of this process wait for the write lock.
// When one commits, the first to have come is woken.
//
// It is a hint and no lock: others may take the lock first, and a connection that rolls back doesn't say so.
type writerQueue struct {
	mu      sync.Mutex
	waiting []*turn // first in, first out; guarded by mu
}

// turn is a connection in the queue. It doesn't keep the connection from being collected.
type turn struct {
	come  chan struct{}
	timer *time.Timer
}

func newTurn() *turn { return &turn{come: make(chan struct{}, 1)} }

// wait waits for a commit, at most that long.
func (q *writerQueue) wait(ctx context.Context, t *turn, patience time.Duration) {
	select {
	case <-t.come: // left over
	default:
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, t)
	q.mu.Unlock()
	if t.timer == nil {
		t.timer = time.NewTimer(patience)
	} else {
		t.timer.Reset(patience)
	}
	select {
	case <-t.come:
		t.timer.Stop()
		return
	case <-t.timer.C:
	case <-ctx.Done():
		t.timer.Stop()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, t); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
}

// committed is called when a connection has released the write lock.
// It reports whether another one was woken.
func (q *writerQueue) committed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return false
	}
	q.waiting[0].come <- struct{}{}
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return true
}

// letThrough gives one that was woken the time to take the lock.
func letThrough() { runtime.Gosched() }
