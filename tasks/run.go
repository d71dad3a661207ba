package tasks

import (
	"context"
	"maps"
	"time"
)

const (
	// DefaultLease is how long [Store.Run] leases tasks at once. It extends the lease while the handler runs.
	DefaultLease = time.Minute
	// DefaultHangTime is how long [Store.Run] waits for a handler whose context is done.
	DefaultHangTime = 10 * time.Second
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
// if the store is closed ([ErrClosed]); if it takes longer than it may ([ErrAttemptTimeout], see [Timeout]);
// or if [Store.Run] shall end and the grace period is over ([ErrShutdown]). One that doesn't return then is left behind
// after a while, which is reported: see [HangTime] and [Hooks].
//
// It gets its input by [DecodeInput], reports what it has so far by [Store.Progress] and [Report], keeps what the next attempt
// needn't do again by [Step], and leaves the task's status to Run. Its error may be one of [Permanent] or [Snooze].
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

// Timeout sets how long an attempt at a task of these types may take, or of all others if there are none; 0 is for ever.
// Then the handler's context is cancelled, and the attempt has failed. Default: for ever. [TaskTimeout] is stronger.
func Timeout(d time.Duration, types ...Type) RunOption {
	return func(r *runner) {
		if len(types) == 0 {
			types = []Type{""}
		}
		for _, t := range types {
			r.timeouts[t] = d
		}
	}
}

// HangTime sets how long a handler whose context is done may take to return. After that its slot is given to another task,
// though its goroutine runs on, and what it returns one day is void. Default [DefaultHangTime].
func HangTime(d time.Duration) RunOption {
	return func(r *runner) { r.hang = d }
}

// Middleware puts functions around all handlers, the first one outermost.
func Middleware(m ...func(Handler) Handler) RunOption {
	return func(r *runner) { r.around = append(r.around, m...) }
}

// Run claims tasks of the handlers' types and processes up to concurrency of them (1 to 10000) at the same time,
// until the context is done. It extends their leases, and completes the tasks or, where the handler
// returns an error or panics, fails them: see [Store.Claim], [Store.Complete] and [Store.Fail].
// A handler may see a task again that it has seen before.
//
// A new task of this process is noticed at once, one of another process within [ChangePoll],
// and one that comes back after its backoff or because a lease has expired within 250ms (on SQLite).
//
// Once the context is done, Run claims no more and lets the handlers end, for the grace period without a word,
// then with their context cancelled: what fails then is given back without a penalty, see [Store.GiveBack].
// It returns nil when all have ended, or have been left behind.
//
// If a task can't be claimed, Run tries again after a pause. If an outcome can't be stored, it tries again until the lease ends;
// only then is the task handed out again. Only what can't pass ends it, in the same way: it returns [ErrClosed] or [ErrBroken].
func (s *Store) Run(ctx context.Context, handlers map[Type]Handler, concurrency int, opts ...RunOption) error {
	r := &runner{
		store: s, handlers: maps.Clone(handlers),
		lease: DefaultLease, grace: DefaultGrace, hang: DefaultHangTime, timeouts: map[Type]time.Duration{},
	}
	for _, o := range opts {
		o(r)
	}
	if err := r.check(concurrency); err != nil {
		return err
	}
	r.slots = make(chan struct{}, concurrency)
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	ctx, r.stop = context.WithCancel(ctx)
	defer r.stop()
	if err := newClaimer(r).run(ctx, work); err != nil {
		r.fail(err)
	}
	defer time.AfterFunc(r.grace, func() { cancel(ErrShutdown) }).Stop()
	r.tasks.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
