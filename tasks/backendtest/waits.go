package backendtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// wait: those who wait are told, whichever store they and the change are at.
func wait(e *env) {
	for i, by := range []Store{e.st, e.other} {
		id := fmt.Sprint(i)
		e.create(id, tasks.Form, tasks.Pending)
		waited := make(chan error, 2)
		for _, st := range []Store{e.st, e.other} {
			go func() {
				r, err := st.Wait(e.ctx, id)
				if err == nil && string(r.Raw) != `"done"` {
					err = fmt.Errorf("got %s %s", r.Status, r.Raw)
				}
				waited <- err
			}()
		}
		e.NoError(by.Update(e.ctx, id, tasks.Processing, "half"))
		e.NoError(by.Update(e.ctx, id, tasks.Completed, "done"))
		e.NoError(<-waited)
		e.NoError(<-waited)
		r, err := e.st.Wait(e.ctx, id)
		e.NoError(err, "there is nothing to wait for")
		e.Equal(tasks.Completed, r.Status)
	}
	// Workers' reports count too.
	e.create("claimed", tasks.Form, tasks.Pending)
	c, err := e.other.Claim(e.ctx, time.Minute)
	e.NoError(err)
	waited := make(chan error, 1)
	go func() {
		_, err := e.st.Wait(e.ctx, "claimed")
		waited <- err
	}()
	e.NoError(e.other.Complete(e.ctx, c, "done"))
	e.NoError(<-waited)
}

func watch(e *env) {
	for i, by := range []Store{e.st, e.other} {
		id := fmt.Sprint(i)
		e.create(id, tasks.Form, tasks.Pending)
		var seen []tasks.Status
		var last error
		for r, err := range e.st.Watch(e.ctx, id) {
			if last = err; err != nil {
				break
			}
			seen = append(seen, r.Status)
			switch r.Status {
			case tasks.Pending:
				e.NoError(by.Update(e.ctx, id, tasks.Processing, nil))
			case tasks.Processing:
				e.NoError(by.Update(e.ctx, id, tasks.Completed, "done"))
			default:
				e.Equal(`"done"`, string(r.Raw))
				e.NoError(by.Delete(e.ctx, id))
			}
		}
		e.Equal(statuses[:3], seen)
		e.ErrorIs(last, tasks.ErrNotFound, "it ends with the task")
	}
	// The caller's context ends it, and so does closing the store.
	e.create("c", tasks.Form, tasks.Pending)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	var last error
	for _, err := range e.st.Watch(ctx, "c") {
		last = err
		cancel()
	}
	e.ErrorIs(last, context.Canceled)
	for _, err := range e.st.Watch(e.ctx, "c") {
		if last = err; err == nil {
			e.NoError(e.st.Close())
		}
	}
	e.ErrorIs(last, tasks.ErrClosed)
}

// namedCall is a call of a method.
type namedCall struct {
	name string
	call func(ctx context.Context) error
}

// calls returns calls of the methods that ask the backend, all of which would succeed, given that c is claimed
// and done is Completed. It leaves out those that run until they are told to end.
func calls(st Store, c tasks.Claimed) []namedCall {
	compute := func(context.Context) (any, error) { return 1, nil }
	return []namedCall{
		{"Create", func(ctx context.Context) error { return st.Create(ctx, "new", tasks.Form) }},
		{"CreateRelaxed", func(ctx context.Context) error { return st.Create(ctx, "new", tasks.Form, tasks.Relaxed()) }},
		{"CreateMany", func(ctx context.Context) error {
			return all(st.CreateMany(ctx, []tasks.NewTask{{ID: "n1", Type: tasks.Form}, {ID: "n2", Type: tasks.Form}}), 2)
		}},
		{"UpdateMany", func(ctx context.Context) error {
			return all(st.UpdateMany(ctx, []tasks.NewStatus{{ID: "a", Status: tasks.Error}}), 1)
		}},
		{"Update", func(ctx context.Context) error { return st.Update(ctx, "a", tasks.Processing, 1) }},
		{"Retry", func(ctx context.Context) error { return st.Retry(ctx, "done", tasks.Force()) }},
		{"Delete", func(ctx context.Context) error { return st.Delete(ctx, "a") }},
		{"Sync", func(ctx context.Context) error { return st.Sync(ctx) }},
		{"Status", func(ctx context.Context) error { _, err := st.Status(ctx, "a"); return err }},
		{"Result", func(ctx context.Context) error { _, err := st.Result(ctx, "a"); return err }},
		{"List", func(ctx context.Context) error { _, err := st.List(ctx, tasks.Query{}); return err }},
		{"Count", func(ctx context.Context) error { _, err := st.Count(ctx); return err }},
		{"Cleanup", func(ctx context.Context) error { _, err := st.Cleanup(ctx, 0); return err }},
		{"Claim", func(ctx context.Context) error { _, err := st.Claim(ctx, time.Minute); return err }},
		{"Extend", func(ctx context.Context) error { c := c; return st.Extend(ctx, &c, time.Hour) }},
		{"Complete", func(ctx context.Context) error { return st.Complete(ctx, c, 1) }},
		{"Fail", func(ctx context.Context) error { return st.Fail(ctx, c, errors.New("failed")) }},
		{"Progress", func(ctx context.Context) error { return st.Progress(ctx, "claimed", 1) }},
		{"Attempts", func(ctx context.Context) error { _, err := st.Attempts(ctx, "a"); return err }},
		{"Do", func(ctx context.Context) error { _, err := st.Do(ctx, tasks.Form, "new", compute); return err }},
		{"DoStored", func(ctx context.Context) error { _, err := st.Do(ctx, tasks.Form, "stored", compute); return err }},
		{"Warm", func(ctx context.Context) error { return st.Warm(ctx, tasks.Form, "new", 1) }},
		{"Invalidate", func(ctx context.Context) error { return st.Invalidate(ctx, tasks.Form, "stored") }},
		{"InvalidateType", func(ctx context.Context) error { return st.InvalidateType(ctx, tasks.Form) }},
		{"CacheStats", func(ctx context.Context) error { _, err := st.CacheStats(ctx); return err }},
		{"Wait", func(ctx context.Context) error { _, err := st.Wait(ctx, "a"); return err }},
		{"WaitDone", func(ctx context.Context) error { _, err := st.Wait(ctx, "done"); return err }},
	}
}

// all returns the errors of a batch if there is one for each of its n changes.
func all(errs []error, n int) error {
	if len(errs) != n {
		return fmt.Errorf("%d errors for %d changes", len(errs), n)
	}
	for _, err := range errs {
		if err == nil {
			return errors.New("a change was made")
		}
	}
	return errors.Join(errs...)
}

// prepare makes the tasks that calls needs.
func (e *env) prepare() tasks.Claimed {
	e.create("claimed", tasks.Form, tasks.Pending)
	c, err := e.st.Claim(e.ctx, time.Minute)
	e.NoError(err)
	e.create("a", tasks.Form, tasks.Pending)
	e.create("done", tasks.Form, tasks.Completed)
	e.do(e.st, "stored", "stored")
	return c
}

// soon fails the test if a call doesn't return.
func (e *env) soon(ctx context.Context, c namedCall) error {
	done := make(chan error, 1)
	go func() { done <- c.call(ctx) }()
	select {
	case err := <-done:
		return err
	case <-e.ctx.Done():
		return fmt.Errorf("%s doesn't return", c.name)
	}
}

func closed(e *env) {
	c := e.prepare()
	e.NoError(e.st.Close())
	for _, call := range append(calls(e.st, c),
		namedCall{"Close", func(context.Context) error { return e.st.Close() }},
		namedCall{"Run", func(ctx context.Context) error {
			return e.st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) { return 1, nil }}, 1)
		}},
		namedCall{"RunJanitor", func(ctx context.Context) error { return e.st.RunJanitor(ctx, tasks.Janitor{Every: time.Millisecond}) }},
	) {
		e.ErrorIs(e.soon(e.ctx, call), tasks.ErrClosed, call.name)
	}
}

// cancelled: a call whose context is done before it begins returns the context's error, and changes nothing.
func cancelled(e *env) {
	c := e.prepare()
	look := func() (all []any) {
		list, err := e.st.List(e.ctx, tasks.Query{})
		e.NoError(err)
		for _, t := range list {
			attempts, err := e.st.Attempts(e.ctx, t.ID)
			e.NoError(err)
			all = append(all, e.get(e.st, t.ID), attempts)
		}
		stats, err := e.st.CacheStats(e.ctx)
		e.NoError(err)
		return append(all, stats.CacheSize)
	}
	before := look()
	e.clock.Add(time.Second) // so that a change would show
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	late, cancel := context.WithDeadline(e.ctx, time.Unix(1, 0))
	defer cancel()
	for _, call := range calls(e.st, c) {
		e.ErrorIs(e.soon(ctx, call), context.Canceled, call.name)
		e.ErrorIs(e.soon(late, call), context.DeadlineExceeded, call.name)
		e.Equal(before, look(), "%s has changed something", call.name)
	}
	e.has(e.st, "stored", `"stored"`)
	// The lease is still the same: with Extend it would last for an hour.
	e.NoError(e.st.Delete(e.ctx, "a"))
	e.clock.Add(time.Minute)
	_, err := e.st.Claim(e.ctx, time.Minute)
	e.ErrorIs(err, tasks.ErrNoTask, "it waits for its backoff")
	e.clock.Add(time.Minute)
	again, err := e.st.Claim(e.ctx, time.Minute)
	e.NoError(err)
	e.Equal("claimed", again.ID)
}
