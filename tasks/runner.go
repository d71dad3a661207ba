package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

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
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, handlerKey{}, handlerTask{r.store, c.ID, c.Lease}))
	defer cancel(nil)
	changed, stop := r.store.backend.Notify(c.ID)
	defer func() { stop() }()
	done := handle(ctx, r.handlers[c.Type], c.Info)
	extend := time.NewTimer(r.lease / 2)
	defer extend.Stop()
	// The task may have changed before anybody was to be told.
	for err := r.held(ctx, c); ; {
		if errors.Is(err, ErrLeaseLost) || errors.Is(err, ErrClosed) {
			cancel(err)
			<-done
			return
		}
		select {
		case h := <-done:
			r.report(c, h)
			return
		case <-changed:
			stop()
			changed, stop = r.store.backend.Notify(c.ID)
			err = r.held(ctx, c)
		case <-extend.C:
			if err = r.store.Extend(context.WithoutCancel(ctx), &c, r.lease); err == nil {
				extend.Reset(r.lease / 2)
			} else {
				extend.Reset(r.lease / 8) // there is time to try again
			}
		}
	}
}

// held returns ErrLeaseLost if the task isn't the worker's any more.
func (r *runner) held(ctx context.Context, c Claimed) error {
	held, err := r.store.backend.Holds(context.WithoutCancel(ctx), c.ID, c.Lease)
	if err == nil && !held {
		err = ErrLeaseLost
	}
	return taskError("look at lease of", c.ID, err)
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
