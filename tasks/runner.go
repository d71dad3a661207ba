package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
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
	lease    time.Duration
	grace    time.Duration
	hang     time.Duration
	timeouts map[Type]time.Duration // "" is that of all others
	around   []func(Handler) Handler
	slots    chan struct{} // holds one for each task that is being processed
	tasks    sync.WaitGroup
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

// begin starts the handler of a task, in a slot that is taken.
func (r *runner) begin(work context.Context, c Claimed, began time.Time) {
	c.began = began
	r.tasks.Go(func() {
		newAttempt(r, work, c).run()
		<-r.slots
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
