package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

const (
	// batchSize is how many changes share a transaction at most, and batchBytes how much they write, about.
	batchSize  = 500
	batchBytes = 4 << 20
)

// request is a call that waits.
type request struct {
	changes []tasks.Change
	finish  *tasks.Outcome
	job     *job
	sync    bool // a commit that changes nothing
	bytes   int  // what it writes, about
	since   time.Time
	errs    []error
	state   atomic.Int32
	done    chan struct{}
}

// job is one statement.
type job struct {
	sql   string
	args  []any
	row   func(pgx.Rows) error // is called for each row; what it sets may be read only if there is no error
	none  error                // what it is if there is no row
	reset func()               // is called before each try, if it isn't nil
	ids   []string             // tasks that it changes; it makes none ready
}

func (r *request) size() int { return max(1, len(r.changes)) }

// The states of a request.
const (
	queued int32 = iota
	taken
	cancelled
)

// lane makes the changes of many callers, durable ones or others, with a few connections.
// What comes while all of them are busy shares the next transaction.
type lane struct {
	*backend
	durable bool
	most    int
	changed atomic.Bool // it may have made a change

	mu     sync.Mutex
	idle   sync.Cond
	queue  []*request // guarded by mu
	active int        // connections at work; guarded by mu
	closed bool       // guarded by mu
}

func (l *lane) init(b *backend, most int, durable bool) {
	l.backend, l.most, l.durable = b, most, durable
	l.idle.L = &l.mu
}

// lane returns the one for a call.
func (b *backend) lane(durable bool) *lane {
	if durable {
		return &b.durable
	}
	return &b.relaxed
}

// do makes a request and returns its errors.
func (l *lane) do(ctx context.Context, r *request) []error {
	all := func(err error) []error { return slices.Repeat([]error{err}, r.size()) }
	if err := ctx.Err(); err != nil {
		return all(err)
	}
	r.done, r.since = make(chan struct{}), time.Now()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return all(tasks.ErrClosed)
	}
	l.queue = append(l.queue, r)
	if l.active < l.most {
		l.active++
		go l.work()
	}
	l.mu.Unlock()
	select {
	case <-r.done:
		return r.errs
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(queued, cancelled) {
		return all(ctx.Err())
	}
	select {
	case <-r.done:
		return r.errs
	default:
		return all(unknownError(ctx.Err()))
	}
}

// work makes transactions until there is nothing left to do.
func (l *lane) work() {
	for {
		batch := l.take()
		if len(batch) == 0 {
			return
		}
		l.make(batch)
	}
}

// take takes the requests of the next transaction from the queue, in order.
func (l *lane) take() (batch []*request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes := 0, 0
	for len(l.queue) > 0 && n < batchSize {
		r := l.queue[0]
		if len(batch) > 0 && bytes+r.bytes > batchBytes {
			break
		}
		l.queue[0] = nil
		l.queue = l.queue[1:]
		if r.state.CompareAndSwap(queued, taken) {
			batch = append(batch, r)
			n += r.size()
			bytes += r.bytes
		}
	}
	if len(batch) == 0 {
		l.active--
		l.idle.Broadcast()
	}
	return batch
}

// close waits until all is made.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for l.active > 0 {
		l.idle.Wait()
	}
}

// make makes a transaction of requests, and answers them.
func (l *lane) make(batch []*request) {
	var p pause
	for len(batch) > 0 {
		made, err := l.transaction(batch)
		if err == nil {
			l.changed.Store(true)
			l.notifier.made(made)
			for _, r := range batch {
				close(r.done)
			}
			return
		}
		switch o := l.outcomeOf(err); {
		case o == failed && len(batch) > 1:
			// One of them can't be made. None of the others shall fail for it.
			for _, r := range batch {
				l.make([]*request{r})
			}
			return
		case o == failed:
			l.answer(batch, explain(err))
			return
		case o == unknown:
			l.log.Warn("tasks: the outcome of a transaction isn't known", "error", err, "calls", len(batch))
			l.changed.Store(true)
			l.lost()
			l.answer(batch, unknownError(err))
			return
		}
		if readOnly(err) {
			l.pool.Reset()
		}
		batch = l.wait(batch, err, &p)
	}
}

// wait waits before the next try. It answers those who have waited long enough, and returns the others.
func (l *lane) wait(batch []*request, err error, p *pause) (again []*request) {
	for _, r := range batch {
		r.state.Store(queued)
	}
	select {
	case <-p.next():
	case <-l.ctx.Done():
		err = tasks.ErrClosed
	}
	for _, r := range batch {
		if !r.state.CompareAndSwap(queued, taken) {
			continue // its caller has gone
		}
		if l.ctx.Err() != nil || time.Since(r.since) > l.patience {
			l.answer([]*request{r}, explain(err))
			continue
		}
		again = append(again, r)
	}
	return again
}

func (l *lane) answer(batch []*request, err error) {
	for _, r := range batch {
		r.errs = slices.Repeat([]error{err}, r.size())
		close(r.done)
	}
}

// lost is called when it isn't known what became of changes: whoever waits for them looks into the log of changes,
// which is read as if another process had written it.
func (b *backend) lost() {
	b.mu.Lock()
	b.writer = newName()
	b.mu.Unlock()
	b.notifier.look()
}

// transaction makes requests in one transaction, which is sent and answered at once. It returns what it has done.
func (l *lane) transaction(batch []*request) (made news, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
	defer cancel()
	plan := l.plan(batch)
	var b pgx.Batch
	if !l.durable {
		b.Queue(l.stmt(setRelaxed))
	} else if l.commit == "off" {
		b.Queue(l.stmt(setDurable))
	}
	preamble := b.Len()
	for _, s := range plan {
		b.Queue(l.stmt(s.sql), s.args...)
	}
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return news{}, notSent(err)
	}
	defer l.release(conn)
	replicated(conn.Conn().PgConn())
	results := conn.SendBatch(ctx, &b)
	for range preamble {
		if _, err := results.Exec(); err != nil {
			results.Close()
			return news{}, err
		}
	}
	for _, s := range plan {
		if err := s.read(results); err != nil {
			results.Close()
			return news{}, err
		}
		made.ids = append(made.ids, s.ids...)
		made.ready = made.ready || s.ready
	}
	if err := results.Close(); err != nil {
		return news{}, err
	}
	return made, replicated(conn.Conn().PgConn())
}

// What a transaction begins with that isn't as durable as the session is set to.
const (
	setRelaxed = "SELECT set_config('synchronous_commit', 'off', true)"
	setDurable = "SELECT set_config('synchronous_commit', 'on', true)"
)

// notSentError is an error that was met before anything was sent.
type notSentError struct{ err error }

func (e *notSentError) Error() string     { return e.err.Error() }
func (e *notSentError) Unwrap() error     { return e.err }
func (e *notSentError) SafeToRetry() bool { return true }

func notSent(err error) error { return &notSentError{fmt.Errorf("connect: %w", err)} }

// step is a statement of a transaction.
type step struct {
	sql  string
	args []any
	row  func(pgx.Rows) error
	end  func() error // after the last row
	// ids are the tasks that it may change, and ready is whether one of them may become ready to be claimed.
	ids   []string
	ready bool
}

func (s step) read(results pgx.BatchResults) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if s.row != nil {
			if err := s.row(rows); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if s.end != nil {
		return s.end()
	}
	return nil
}

// one runs a job in the lane of its durability.
func (b *backend) one(ctx context.Context, durable bool, bytes int, j *job) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	return b.lane(durable).do(ctx, &request{job: j, bytes: bytes})[0]
}

// Sync is a commit that is durable: all that was committed before it is so, too.
func (b *backend) Sync(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	return b.durable.do(ctx, &request{sync: true})[0]
}
