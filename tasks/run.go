package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
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
// Its context is cancelled if the task isn't its own any more ([context.Cause] is [ErrLeaseLost] then)
// or if [Store.Run] shall end and the grace period is over.
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

// runner is a call of Run.
type runner struct {
	store    *Store
	handlers map[Type]Handler
	types    []Type
	lease    time.Duration
	grace    time.Duration
	slots    chan struct{} // holds one for each task that is being processed
	tasks    sync.WaitGroup
	stop     context.CancelFunc

	mu  sync.Mutex
	err error // +checklocks:mu
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

func (r *runner) check(concurrency int) error {
	if concurrency < 1 || concurrency > 10000 {
		return &InputError{"concurrency", strconv.Itoa(concurrency), "1 to 10000"}
	}
	if len(r.handlers) == 0 {
		return &InputError{"handlers", "none", "one or more"}
	}
	if r.grace < 0 {
		return &InputError{"Grace", r.grace.String(), "0 or more"}
	}
	r.types = slices.Sorted(maps.Keys(r.handlers))
	for _, t := range r.types {
		if err := r.store.checkType(t); err != nil {
			return err
		}
		if r.handlers[t] == nil {
			return &InputError{"handler", fmt.Sprintf("nil for %q", t), "a function"}
		}
	}
	return checkLease(r.lease)
}

// fail makes Run end with an error.
func (r *runner) fail(err error) {
	r.mu.Lock()
	r.err = errors.Join(r.err, err)
	r.mu.Unlock()
	r.stop()
}

// claim claims tasks and starts their handlers until the context is done.
func (r *runner) claim(ctx, work context.Context) error {
	changed, stop := r.store.backend.Notify("")
	defer func() { stop() }()
	poll := time.NewTimer(claimPoll)
	defer poll.Stop()
	for {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil
		}
		// Before the look, so that no task is missed.
		select {
		case <-changed:
			stop()
			changed, stop = r.store.backend.Notify("")
		default:
		}
		// A claim that was cancelled halfway would leave a task to nobody.
		c, err := r.store.Claim(context.WithoutCancel(ctx), r.lease, r.types...)
		if err == nil {
			r.tasks.Go(func() {
				r.process(work, c)
				<-r.slots
			})
			continue
		}
		<-r.slots
		if !errors.Is(err, ErrNoTask) {
			return err
		}
		poll.Reset(claimPoll)
		select {
		case <-changed:
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// process runs a task's handler, and holds its lease until that returns.
func (r *runner) process(ctx context.Context, c Claimed) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := handle(ctx, r.handlers[c.Type], c.Info)
	extend := time.NewTimer(r.lease / 2)
	defer extend.Stop()
	for held := true; ; {
		select {
		case h := <-done:
			if held {
				r.report(c, h)
			}
			return
		case <-extend.C:
		}
		err := r.store.Extend(context.WithoutCancel(ctx), &c, r.lease)
		switch {
		case err == nil:
			extend.Reset(r.lease / 2)
		case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrClosed):
			held = false
			cancel(err)
		default:
			// There is time to try again.
			extend.Reset(r.lease / 8)
		}
	}
}

// handled is what a handler returned.
type handled struct {
	result any
	err    error
}

// handle runs a handler. The goroutine is its own: a handler may end it.
func handle(ctx context.Context, f Handler, task Info) <-chan handled {
	done := make(chan handled, 1)
	go func() {
		h := handled{err: errors.New("the handler ended its goroutine")}
		defer func() {
			if p := recover(); p != nil {
				h = handled{err: fmt.Errorf("panic: %v\n%s", p, firstLines(string(debug.Stack())))}
			}
			done <- h
		}()
		h.result, h.err = f(ctx, task)
	}()
	return done
}

// firstLines returns the part of the stack that begins where the panic was.
func firstLines(stack string) string {
	lines := strings.Split(strings.TrimSpace(stack), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "panic(") {
			lines = lines[min(i+2, len(lines)):]
			break
		}
	}
	return strings.Join(lines[:min(stackLines, len(lines))], "\n")
}

// report stores what came of a task. That the lease is lost is no error here: somebody else has the task.
func (r *runner) report(c Claimed, h handled) {
	ctx := context.Background()
	if h.err == nil {
		h.err = r.store.Complete(ctx, c, h.result)
		if h.err != nil && !errors.Is(h.err, ErrInvalid) {
			if !errors.Is(h.err, ErrLeaseLost) {
				r.fail(h.err)
			}
			return
		}
	}
	if h.err == nil {
		return
	}
	// The handler's error, or that its result can't be stored.
	if err := r.store.Fail(ctx, c, h.err); err != nil && !errors.Is(err, ErrLeaseLost) {
		r.fail(err)
	}
}

// workerConfig is the part of the options that workers need.
type workerConfig struct {
	maxAttempts int
	backoff     func(attempt int) time.Duration
}

var defaultWorkers = workerConfig{DefaultMaxAttempts, backoff}

func (w workerConfig) check() error {
	if w.maxAttempts < 1 || w.maxAttempts > 1000 {
		return &InputError{"MaxAttempts", strconv.Itoa(w.maxAttempts), "1 to 1000"}
	}
	if w.backoff == nil {
		return &InputError{"Backoff", "nil", "a function"}
	}
	return nil
}

// MaxAttempts sets how often a task is handed out before it is [Error], from 1 to 1000. Default [DefaultMaxAttempts].
// A task that [Store.Retry] takes back after that gets one more attempt each time.
func MaxAttempts(n int) Option {
	return func(c *config) { c.workers.maxAttempts = n }
}

// Backoff sets how long a task waits after its n-th attempt failed, n being 1 or more.
// Default: 1s, doubled with each attempt up to 10 minutes, times a random factor from 0.5 to 1.5,
// so that tasks which failed together don't all come back together.
func Backoff(f func(attempt int) time.Duration) Option {
	return func(c *config) { c.workers.backoff = f }
}

func backoff(attempt int) time.Duration {
	d := min(time.Second<<min(max(attempt-1, 0), 10), 10*time.Minute)
	return d/2 + rand.N(d+1)
}

// errorText returns what is kept of an error. It is never empty: that would look like a success.
func errorText(err error) string {
	s := err.Error()
	if len(s) > MaxErrorText {
		n := MaxErrorText
		for n > MaxErrorText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	// "?" is no longer than the bytes that it stands for.
	if s = strings.ToValidUTF8(s, "?"); s == "" {
		s = fmt.Sprintf("%T", err)
	}
	return s
}
