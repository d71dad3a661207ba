package tasks

import (
	"context"
	"errors"
	"time"
)

// claimMost is how many tasks are claimed at once at most.
const claimMost = 64

// claimer claims tasks for a runner.
type claimer struct {
	*runner
	every  time.Duration // how often it looks for a task, at the least
	notify func() (changed <-chan struct{}, stop func())
	many   BatchClaimer // nil if the backend claims one at a time
	// want is how many tasks it claims at once if there are slots for them: twice as many as it found the time before, and one after it found none.
	// So it has many where there are many, and a process that comes first leaves something to others.
	want int
}

func newClaimer(r *runner) *claimer {
	c := &claimer{runner: r, every: claimPoll, want: 1}
	c.notify = func() (<-chan struct{}, func()) { return r.store.backend.Notify("") }
	if b, ok := r.store.backend.(ClaimPoller); ok {
		c.every, c.notify = b.ClaimPoll(), b.NotifyClaim
	}
	c.many, _ = r.store.backend.(BatchClaimer)
	return c
}

// run claims tasks and starts their handlers until the context is done, or until an error that lasts.
func (c *claimer) run(ctx, work context.Context) error {
	changed, stop := c.notify()
	defer func() { stop() }()
	poll := time.NewTimer(c.every)
	defer poll.Stop()
	var failed pauses
	for {
		n := c.take(ctx)
		if n == 0 {
			return nil
		}
		// Before the look, so that no task is missed.
		select {
		case <-changed:
			stop()
			changed, stop = c.notify()
		default:
		}
		began := time.Now()
		list, err := c.claim(ctx, n)
		for _, t := range list {
			c.begin(work, t, began)
		}
		c.free(n - len(list))
		switch {
		case err == nil:
			failed = pauses{}
		case lasts(err):
			return err
		case errors.Is(err, ErrNoTask):
			failed = pauses{}
			poll.Reset(c.every)
			select {
			case <-changed:
			case <-poll.C:
			case <-ctx.Done():
			}
		default:
			c.store.hooks.trouble(ctx, TroubleInfo{Err: err})
			select {
			case <-failed.wait():
			case <-ctx.Done():
			}
		}
	}
}

// take takes slots, one that it waits for and as many more as it wants and are free. It returns how many, none if the context is done.
func (c *claimer) take(ctx context.Context) (n int) {
	select {
	case c.slots <- struct{}{}:
		n++
	case <-ctx.Done():
	}
	for n > 0 && n < c.want {
		select {
		case c.slots <- struct{}{}:
			n++
			continue
		default:
		}
		break
	}
	if ctx.Err() != nil {
		c.free(n)
		return 0
	}
	return n
}

// free frees slots.
func (c *claimer) free(n int) {
	for range n {
		<-c.slots
	}
}

// claim claims up to n tasks. A claim that was cancelled halfway would leave tasks to nobody.
func (c *claimer) claim(ctx context.Context, n int) (list []Claimed, err error) {
	ctx = context.WithoutCancel(ctx)
	if c.many == nil {
		t, err := c.store.Claim(ctx, c.lease, c.types...)
		if err != nil {
			return nil, err
		}
		return []Claimed{t}, nil
	}
	list, err = c.store.claimBy(ctx, c.lease, c.types, func(q ClaimQuery) ([]Claimed, error) { return c.many.ClaimMany(ctx, q, n) })
	c.want = min(max(1, 2*len(list)), claimMost)
	return list, err
}
