package tasks

import (
	"context"
	"maps"
	"time"
)

const (
	// DefaultLease is how long [Store.Run] leases tasks at once. It extends the lease while the handler runs.
	DefaultLease = time.Minute
	// DefaultGrace is how long [Store.Run] lets handlers run on before it cancels their context.
	DefaultGrace = 30 * time.Second
	// claimPoll is how often a worker without a task looks for one, at the least:
	// nothing tells it that a backoff is over or that a lease has expired.
	claimPoll = 250 * time.Millisecond
	// stackLines is how much of the stack is kept of a panic.
	stackLines = 20
)

// Handler processes a task and returns its result, which may be anything that [encoding/json] accepts, or nil.
// Its context is cancelled if the task isn't its own any more, because it was cancelled, deleted, changed or taken back
// ([context.Cause] is [ErrLeaseLost] then), at once for a change by this process and within [ChangePoll] for another's;
// if the store is closed ([ErrClosed]); or if [Store.Run] shall end and the grace period is over.
//
// It reports what it has so far by [Store.Progress], and leaves the task's status to Run.
type Handler func(ctx context.Context, task Info) (result any, err error)

// RunOption sets how [Store.Run] behaves.
type RunOption func(*runner)

// LeaseTime sets how long tasks are leased at once, from 1s to 24h. Default [DefaultLease].
// It is how long the task of a worker that died waits for another one.
func LeaseTime(d time.Duration) RunOption {
	return func(r *runner) { r.lease = d }
}

// Grace sets how long handlers may run on once the context of [Store.Run] is done, before theirs is cancelled.
// 0 cancels at once. Default [DefaultGrace].
func Grace(d time.Duration) RunOption {
	return func(r *runner) { r.grace = d }
}

// Run claims tasks of the handlers' types and processes up to concurrency of them (1 to 10000) at the same time,
// until the context is done. It extends their leases, and completes the tasks or, where the handler
// returns an error or panics, fails them: see [Store.Claim], [Store.Complete] and [Store.Fail].
// A handler may see a task again that it has seen before.
//
// A new task of this process is noticed at once, one of another process within [ChangePoll],
// and one that comes back after its backoff or because a lease has expired within 250ms.
//
// Once the context is done, Run claims no more and lets the handlers end, for the grace period without a word,
// then with their context cancelled. It returns nil when all have ended.
// If a task can't be claimed or its outcome can't be stored, it ends in the same way and returns the error;
// such a task is handed out again when its lease has expired.
func (s *Store) Run(ctx context.Context, handlers map[Type]Handler, concurrency int, opts ...RunOption) error {
	r := &runner{store: s, handlers: maps.Clone(handlers), lease: DefaultLease, grace: DefaultGrace}
	for _, o := range opts {
		o(r)
	}
	if err := r.check(concurrency); err != nil {
		return err
	}
	r.slots = make(chan struct{}, concurrency)
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ctx, r.stop = context.WithCancel(ctx)
	defer r.stop()
	if err := r.claim(ctx, work); err != nil {
		r.fail(err)
	}
	defer time.AfterFunc(r.grace, cancel).Stop()
	r.tasks.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
