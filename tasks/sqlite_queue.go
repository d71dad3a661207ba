package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	// batchSize is how many changes share a transaction at most.
	// It bounds how long other processes wait for the write lock.
	batchSize = 500
	// batchBytes is how much they write together at most, about. A change that is larger has a transaction of its own.
	// It bounds the WAL, the memory, and the time too.
	batchBytes = 4 << 20
)

// request is a call that waits.
type request struct {
	changes []Change
	durable bool
	job     func(*conn) error // instead of changes
	seen    int64             // the last change of the log that it is about, instead of changes
	bytes   int               // what it writes, about
	since   time.Time
	errs    []error
	state   atomic.Int32
	done    chan struct{}
}

// answer ends the call. The error is that of the changes that were made.
func (r *request) answer(err error) {
	for i := range r.errs {
		if r.errs[i] == nil {
			r.errs[i] = err
		}
	}
	close(r.done)
}

// results returns the errors.
func (r *request) results() []error {
	for i, err := range r.errs {
		r.errs[i] = asFull(err)
	}
	return r.errs
}

// The states of a request.
const (
	queued int32 = iota
	taken
	cancelled
)

// Write hands the changes to the writer and waits for what comes of them.
func (b *sqliteBackend) Write(ctx context.Context, changes []Change, durable bool) (errs []error) {
	for len(changes) > 0 {
		n, bytes := 0, 0
		for n < len(changes) && n < batchSize && (n == 0 || bytes+changes[n].size() <= batchBytes) {
			bytes += changes[n].size()
			n++
		}
		errs = append(errs, b.do(ctx, &request{changes: changes[:n], durable: durable, bytes: bytes})...)
		changes = changes[n:]
	}
	return errs
}

// size is about what the change writes, in bytes.
func (c Change) size() int {
	n := len(c.ID) + len(c.Result) + len(c.Error)
	if c.New != nil {
		n += len(c.New.Input)
	}
	return n
}

// do hands a request to the writer.
func (b *sqliteBackend) do(ctx context.Context, r *request) []error {
	switch {
	case b.writer != nil:
		return b.writer.do(ctx, r)
	case b.pool.isClosed():
		return slices.Repeat([]error{ErrClosed}, max(1, len(r.changes)))
	}
	return slices.Repeat([]error{ErrReadOnly}, max(1, len(r.changes)))
}

func (w *writer) do(ctx context.Context, r *request) []error {
	all := func(err error) []error { return slices.Repeat([]error{err}, max(1, len(r.changes))) }
	if err := ctx.Err(); err != nil {
		return all(err)
	}
	r.done, r.since = make(chan struct{}), time.Now()
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return all(ErrClosed)
	}
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	signal(w.wake)
	select {
	case <-r.done:
		return r.results()
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(queued, cancelled) {
		return all(ctx.Err())
	}
	select {
	case <-r.done:
		return r.results()
	default:
		return all(fmt.Errorf("%w: %w", ErrOutcomeUnknown, ctx.Err()))
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take takes the requests of the next transaction from the queue, in order.
func (w *writer) take() (batch []*request, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, bytes := 0, 0
	for len(w.queue) > 0 && n < batchSize {
		r := w.queue[0]
		if len(batch) > 0 && bytes+r.bytes > batchBytes {
			break
		}
		w.queue[0] = nil
		w.queue = w.queue[1:]
		if r.state.CompareAndSwap(queued, taken) {
			batch = append(batch, r)
			n += max(1, len(r.changes))
			bytes += r.bytes
		}
	}
	return batch, w.closed
}

// again puts those of a batch that wasn't begun back into the queue who haven't waited for [busyTimeout] yet.
// It returns the others.
func (w *writer) again(batch []*request, now time.Time) (failed []*request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var queue []*request
	for _, r := range batch {
		if now.Sub(r.since) >= busyTimeout {
			failed = append(failed, r)
			continue
		}
		r.state.Store(queued)
		queue = append(queue, r)
	}
	w.queue = append(queue, w.queue...)
	return failed
}

// job runs a job of the writer. What it sets may be read only if there is no error:
// a caller that is cancelled returns while the job runs. It may be run twice, after the first try was rolled back.
func (b *sqliteBackend) job(ctx context.Context, durable bool, job func(*conn) error) error {
	return b.largeJob(ctx, durable, 0, job)
}

// largeJob runs a job that writes so many bytes, about.
func (b *sqliteBackend) largeJob(ctx context.Context, durable bool, bytes int, job func(*conn) error) error {
	return broken(b.do(ctx, &request{durable: durable, job: job, bytes: bytes})[0])
}

// broken marks an error that doesn't pass.
func broken(err error) error {
	for _, code := range []error{sqlite3.CORRUPT, sqlite3.NOTADB, sqlite3.READONLY, sqlite3.IOERR_FSYNC} {
		if errors.Is(err, code) {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
	return err
}
