package vfs

import (
	"context"
	"slices"
	"sync"
	"time"
)

// writerPatience is how long a connection waits in a [writerQueue]
// before it tries for the write lock all the same.
const writerPatience = 2 * time.Millisecond

// writerQueue lets the connections of this process that commit at FULL
// wait for the write lock, and wakes them in turn when it is released.
//
// SQLite's way is to try, sleep and try again. Those that shared a sync come back at once,
// most find the lock taken, and then it is often free while all of them sleep.
//
// It is a hint and no lock: others may take the lock, and a connection that rolls back doesn't say so.
// SQLite announces a write transaction when it has tried for the lock once, and may have got it.
// So who is announced waits only while another connection is known to have it,
// since that has written to the WAL and not committed yet.
type writerQueue struct {
	mu      sync.Mutex
	writer  *turn   // known to have the write lock; +checklocks:mu
	waiting []*turn // first in, first out; +checklocks:mu
}

// turn is a connection in the queue. It doesn't keep the connection from being collected.
type turn struct {
	come chan struct{}
}

func newTurn() *turn { return &turn{come: make(chan struct{}, 1)} }

// wait waits while another connection has the write lock.
func (q *writerQueue) wait(ctx context.Context, t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.writer == nil || q.writer == t {
		return
	}
	select {
	case <-t.come: // left over
	default:
	}
	q.waiting = append(q.waiting, t)
	q.mu.Unlock()
	timer := time.NewTimer(writerPatience)
	select {
	case <-t.come:
	case <-timer.C:
	case <-ctx.Done():
	}
	timer.Stop()
	q.mu.Lock()
	if i := slices.Index(q.waiting, t); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		// That one may have rolled back.
		q.writer = nil
	}
}

// wrote is called when the connection has written to the WAL.
func (q *writerQueue) wrote(t *turn) {
	q.mu.Lock()
	q.writer = t
	q.mu.Unlock()
}

// committed is called when the connection has released the write lock.
func (q *writerQueue) committed(t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.writer == t {
		q.writer = nil
	}
	if q.writer == nil && len(q.waiting) > 0 {
		select {
		case q.waiting[0].come <- struct{}{}:
		default:
		}
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
}
