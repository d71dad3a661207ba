package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tryAgain and tryAgainMost are how long a worker waits after an error that may pass: it doubles.
	tryAgain     = 100 * time.Millisecond
	tryAgainMost = 5 * time.Second
	// firstLook is how long a handler has run when it is first seen to that the task is still its worker's.
	firstLook = 20 * time.Millisecond
)

// runner is a call of Run.
type runner struct {
	store    *Store
	handlers map[Type]Handler
	types    []Type
	worker   string // its name in the leases
	lease    time.Duration
	grace    time.Duration
	hang     time.Duration
	timeouts map[Type]time.Duration // "" is that of all others
	around   []func(Handler) Handler
	slots    chan struct{} // holds one for each task that is being processed
	tasks    sync.WaitGroup
	helpers  atomic.Int32 // who claim beside the one who waits
	stop     context.CancelFunc

	mu  sync.Mutex
	err error // guarded by mu
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
	if r.hang < 0 {
		return &InputError{"HangTime", r.hang.String(), "0 or more"}
	}
	for t, d := range r.timeouts {
		if d < 0 {
			return &InputError{"Timeout", d.String(), "0 or more"}
		}
		if t != "" {
			if err := r.store.checkType(t); err != nil {
				return err
			}
		}
	}
	r.types = slices.Sorted(maps.Keys(r.handlers))
	for _, t := range r.types {
		if err := r.store.checkType(t); err != nil {
			return err
		}
		if r.handlers[t] == nil {
			return &InputError{"handler", fmt.Sprintf("nil for %q", t), "a function"}
		}
		for _, m := range slices.Backward(r.around) {
			r.handlers[t] = m(r.handlers[t])
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

// lasts reports whether an error is one that trying again can't help.
func lasts(err error) bool {
	return errors.Is(err, ErrClosed) || errors.Is(err, ErrBroken) || errors.Is(err, ErrReadOnly) && !errors.Is(err, ErrBusy)
}

// pauses are the times between tries.
type pauses struct{ next time.Duration }

func (p *pauses) wait() <-chan time.Time {
	p.next = min(max(2*p.next, tryAgain), tryAgainMost)
	return time.After(p.next)
}

// claim claims tasks and starts their handlers until the context is done, or until an error that lasts.
func (r *runner) claim(ctx, work context.Context) error {
	changed, stop := r.store.backend.Notify("")
	defer func() { stop() }()
	every := claimPoll
	if b, ok := r.store.backend.(ClaimPoller); ok {
		every = b.ClaimPoll()
	}
	poll := time.NewTimer(every)
	defer poll.Stop()
	var failed pauses
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
		began := time.Now()
		c, err := r.store.claimAs(context.WithoutCancel(ctx), r.worker, r.lease, r.types)
		if err == nil {
			failed = pauses{}
			r.begin(work, c, began)
			r.help(ctx, work)
			continue
		}
		<-r.slots
		if lasts(err) {
			return err
		}
		if !errors.Is(err, ErrNoTask) {
			r.store.hooks.trouble(ctx, TroubleInfo{Err: err})
			select {
			case <-failed.wait():
			case <-ctx.Done():
			}
			continue
		}
		failed = pauses{}
		poll.Reset(every)
		select {
		case <-changed:
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// begin starts the handler of a task, in the slot that is taken.
func (r *runner) begin(work context.Context, c Claimed, began time.Time) {
	c.began = began
	r.tasks.Go(func() {
		newAttempt(r, work, c).run()
		<-r.slots
	})
}

// claimHelpers is how many claim beside the one who waits for tasks, where claims that come together share their work:
// a claim of a server takes its time, and one after the other would keep handlers waiting.
const claimHelpers = 15

// help claims, for as long as there are tasks, beside the one who has just found one. Each helper that finds another one gets another helper.
func (r *runner) help(ctx, work context.Context) {
	if _, ok := r.store.backend.(ClaimPoller); !ok {
		return
	}
	if r.helpers.Add(1) > claimHelpers {
		r.helpers.Add(-1)
		return
	}
	r.tasks.Go(func() {
		defer r.helpers.Add(-1)
		for ctx.Err() == nil {
			select {
			case r.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			began := time.Now()
			c, err := r.store.claimAs(context.WithoutCancel(ctx), r.worker, r.lease, r.types)
			if err != nil {
				<-r.slots
				return // the one who waits meets it too
			}
			r.begin(work, c, began)
			r.help(ctx, work)
		}
	})
}

// timeout returns how long an attempt may take, 0 being for ever.
func (r *runner) timeout(c Claimed) time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	if d, ok := r.timeouts[c.Type]; ok {
		return d
	}
	return r.timeouts[""]
}
