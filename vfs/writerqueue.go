package vfs

import (
	"context"
	"slices"
	"sync"
	"time"
)

// writerPatience is how long a connection waits in a [writerQueue]
// before it tries for the write lock all the same.
const writerPatience = 5 * time.Millisecond

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
	writer  *dbFile   // known to have the write lock; +checklocks:mu
	waiting []*dbFile // first in, first out; +checklocks:mu
}

// wait waits while another connection has the write lock.
func (q *writerQueue) wait(ctx context.Context, f *dbFile) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.writer == nil || q.writer == f {
		return
	}
	select {
	case <-f.turn: // left over
	default:
	}
	q.waiting = append(q.waiting, f)
	q.mu.Unlock()
	timer := time.NewTimer(writerPatience)
	select {
	case <-f.turn:
	case <-timer.C:
	case <-ctx.Done():
	}
	timer.Stop()
	q.mu.Lock()
	if i := slices.Index(q.waiting, f); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		// That one may have rolled back.
		q.writer = nil
	}
}

// wrote is called when the connection has written to the WAL.
func (q *writerQueue) wrote(f *dbFile) {
	q.mu.Lock()
	q.writer = f
	q.mu.Unlock()
}

// committed is called when the connection has released the write lock.
func (q *writerQueue) committed(f *dbFile) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.writer == f {
		q.writer = nil
	}
	if q.writer == nil && len(q.waiting) > 0 {
		select {
		case q.waiting[0].turn <- struct{}{}:
		default:
		}
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
}
