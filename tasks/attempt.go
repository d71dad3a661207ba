package tasks

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// attempt is a task that a call of Run works on. It ends when the handler returns, or a while after its context is done.
type attempt struct {
	*runner
	task   Claimed
	work   context.Context // is done when Run shall end and the grace period is over
	ctx    context.Context // the handler's
	cancel context.CancelCauseFunc
	over   error     // why ctx is done, or nil
	until  time.Time // when the lease ends, by the monotonic clock
	// reported is whether the handler has ended the attempt itself, in a transaction that may have been committed.
	reported atomic.Bool
}

func newAttempt(r *runner, work context.Context, c Claimed) *attempt {
	a := &attempt{runner: r, task: c, work: work, until: c.began.Add(r.lease)}
	ctx := context.WithValue(context.WithoutCancel(work), handlerKey{}, handlerTask{r.store, c.ID, c.Lease, c.Input, c, &a.reported})
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	return a
}

// run runs the handler and holds the lease until it returns.
func (a *attempt) run() {
	defer a.cancel(nil)
	backend := a.store.backend
	changed, stop := backend.Notify(a.task.ID)
	defer func() { stop() }()
	done := handle(a.ctx, a.handlers[a.task.Type], a.task.Info)
	extend := time.NewTimer(a.lease / 2)
	defer extend.Stop()
	var timeout, hang <-chan time.Time
	if d := a.timeout(a.task); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	ending := a.work.Done()
	// end cancels the handler's context, for one reason.
	end := func(err error) {
		if errors.Is(err, ErrLeaseLost) && a.reported.Load() {
			a.over = errReported // it may tidy up
			return
		}
		if hang == nil {
			t := time.NewTimer(a.hang)
			hang, ending, timeout = t.C, nil, nil
			a.cancel(err)
		}
		// That the lease is lost comes before other reasons: nothing can be reported then.
		if a.over == nil || errors.Is(err, ErrLeaseLost) || errors.Is(err, ErrClosed) {
			a.over = err
		}
	}
	look := func() {
		if err := a.held(); errors.Is(err, ErrLeaseLost) || errors.Is(err, ErrClosed) {
			end(err)
		}
	}
	// The task may have changed before anybody was to be told. A handler that ends soon is told when it reports.
	first := time.NewTimer(firstLook)
	defer first.Stop()
	for {
		if a.lost() {
			changed = nil
		}
		select {
		case h := <-done:
			a.report(h)
			return
		case <-first.C:
			if !a.lost() {
				look()
			}
		case <-changed:
			stop()
			changed, stop = backend.Notify(a.task.ID)
			look()
		case <-ending:
			end(context.Cause(a.work))
		case <-timeout:
			end(ErrAttemptTimeout)
		case <-hang:
			a.abandon(done)
			return
		case <-extend.C:
			if !a.lost() {
				extend.Reset(a.extend(end))
			}
		}
	}
}

// lost reports whether the task isn't the worker's any more.
func (a *attempt) lost() bool {
	return errors.Is(a.over, ErrLeaseLost) || errors.Is(a.over, ErrClosed) || errors.Is(a.over, errReported)
}

// errReported is how an attempt ends that its handler has ended by [Tx.Complete] or its like.
var errReported = errors.New("the handler has reported")

// extend extends the lease and returns when to do so again.
func (a *attempt) extend(end func(error)) time.Duration {
	began := time.Now()
	err := a.store.Extend(context.WithoutCancel(a.ctx), &a.task, a.lease)
	switch {
	case err == nil:
		a.until = began.Add(a.lease)
		return a.lease / 2
	case errors.Is(err, ErrLeaseLost) || errors.Is(err, ErrClosed):
		end(err)
	default:
		a.store.hooks.trouble(a.ctx, TroubleInfo{&a.task.Info, err})
	}
	return a.lease / 8 // there is time to try again
}

// held returns ErrLeaseLost if the task isn't the worker's any more.
func (a *attempt) held() error {
	held, err := a.store.backend.Holds(context.WithoutCancel(a.ctx), a.task.ID, a.task.Lease)
	if err == nil && !held {
		err = ErrLeaseLost
	}
	return taskError("look at lease of", a.task.ID, err)
}

// abandon frees the slot of a handler that doesn't return. What it returns one day is void.
func (a *attempt) abandon(done <-chan handled) {
	ctx := context.WithoutCancel(a.ctx)
	stuck := StuckInfo{Task: a.task.Info, After: time.Since(a.task.began), Cause: a.over}
	go func() {
		<-done
		a.store.hooks.stuck(ctx, StuckInfo{Task: stuck.Task, After: time.Since(a.task.began), Cause: stuck.Cause, Returned: true})
	}()
	a.store.hooks.stuck(ctx, stuck)
	a.report(handled{err: errors.New("the handler doesn't return")})
}

// report stores what came of the task.
func (a *attempt) report(h handled) {
	ctx := context.WithoutCancel(a.ctx)
	if a.reported.Load() && errors.Is(a.held(), ErrLeaseLost) {
		return // by the handler's transaction, which was committed
	}
	if a.lost() {
		if errors.Is(a.over, ErrLeaseLost) {
			a.store.hooks.leaseLost(ctx, LeaseLostInfo{a.task.Info, a.over})
		}
		return
	}
	if h.err == nil {
		err := a.persist(ctx, func() error { return a.store.Complete(ctx, a.task, h.result) })
		if !errors.Is(err, ErrInvalid) || clockError(err) {
			return
		}
		h.err = Permanent(err) // the next attempt's result couldn't be stored either
	}
	switch {
	case errors.Is(a.over, ErrShutdown) && !IsPermanent(h.err):
		a.persist(ctx, func() error { return a.store.GiveBack(ctx, a.task, h.err) })
		return
	case errors.Is(a.over, ErrAttemptTimeout):
		h.err = fmt.Errorf("%w after %v: %w", ErrAttemptTimeout, a.timeout(a.task), h.err)
	}
	a.persist(ctx, func() error { return a.store.Fail(ctx, a.task, h.err) })
}

// persist stores an outcome. An error may pass: it is tried again until the lease ends, and so long as that can be, extended.
// What the handler has computed is too dear to be dropped for a full disk.
// It returns an error that the caller has to deal with: that the outcome can't be stored.
func (a *attempt) persist(ctx context.Context, store func() error) error {
	var failed pauses
	for {
		err := store()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrInvalid) && !clockError(err):
			return err
		case errors.Is(err, ErrLeaseLost):
			a.store.hooks.leaseLost(ctx, LeaseLostInfo{a.task.Info, err})
			return nil
		case lasts(err):
			a.fail(err)
			return nil
		}
		a.store.hooks.trouble(ctx, TroubleInfo{&a.task.Info, err})
		pause := failed.wait()
		if time.Until(a.until) <= failed.next {
			a.store.hooks.leaseLost(ctx, LeaseLostInfo{a.task.Info, err})
			return nil
		}
		<-pause
		if time.Until(a.until) < a.lease/2 {
			a.extend(func(error) {})
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
