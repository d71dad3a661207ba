package backendtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// progress: a partial result changes neither the status nor the lease, and only a task that is Processing has one.
func progress(e *env) {
	e.create("a", tasks.Form, tasks.Pending)
	c, err := e.st.Claim(e.ctx, time.Minute)
	e.NoError(err)
	e.clock.Add(time.Second)
	e.NoError(e.other.Progress(e.ctx, "a", "half"))
	want := tasks.Result{Info: c.Info, Raw: []byte(`"half"`)}
	want.UpdatedAt = e.clock.Now()
	e.Equal(want, e.get(e.st, "a"))
	e.NoError(e.st.Extend(e.ctx, &c, time.Minute), "the lease is still held")
	e.NoError(e.st.Progress(e.ctx, "a", "more", tasks.Durable()))
	e.NoError(e.st.Fail(e.ctx, c, errors.New("why")))
	e.Equal(`"more"`, string(e.get(e.st, "a").Raw))

	for _, s := range []tasks.Status{tasks.Pending, tasks.Completed, tasks.Error} {
		e.create(string(s), tasks.Form, s)
		want := e.get(e.st, string(s))
		e.clock.Add(time.Second)
		var te *tasks.TransitionError
		e.ErrorAs(e.st.Progress(e.ctx, string(s), "no"), &te)
		e.Equal(tasks.TransitionError{ID: string(s), From: s, To: tasks.Processing}, *te)
		e.Equal(want, e.get(e.st, string(s)))
	}
	e.ErrorIs(e.st.Progress(e.ctx, "nobody", "no"), tasks.ErrNotFound)
	e.ErrorIs(e.st.Progress(e.ctx, "a", nil), tasks.ErrInvalid)
}

// progressWatch: those who watch a task see its partial results.
func progressWatch(e *env) {
	e.create("a", tasks.Form, tasks.Processing)
	n := 0
	for r, err := range e.st.Watch(e.ctx, "a") {
		e.NoError(err)
		if n > 0 {
			e.Equal(fmt.Sprint(n), string(r.Raw))
		}
		if n++; n > 3 {
			break
		}
		e.NoError([]Store{e.st, e.other}[n%2].Progress(e.ctx, "a", n))
	}
}

// handlerTold: a handler learns from its context that the task isn't its own any more, and can report nothing then.
func handlerTold(e *env) {
	for name, change := range map[string]func(st Store, id string) error{
		"cancelled": func(st Store, id string) error {
			return st.Update(e.ctx, id, tasks.Error, nil, tasks.ErrorText("theirs"))
		},
		"forced":  func(st Store, id string) error { return st.Update(e.ctx, id, tasks.Processing, nil, tasks.Force()) },
		"deleted": func(st Store, id string) error { return st.Delete(e.ctx, id) },
	} {
		for i, by := range []Store{e.st, e.other} {
			id := fmt.Sprint(name, " ", i)
			e.create(id, tasks.Form, tasks.Pending)
			ctx, cancel := context.WithCancel(e.ctx)
			begun, told, done := make(chan error), make(chan error, 2), make(chan error, 1)
			handler := func(ctx context.Context, t tasks.Info) (any, error) {
				begun <- e.st.Progress(ctx, t.ID, "begun")
				select {
				case <-ctx.Done():
				case <-e.ctx.Done():
				}
				told <- context.Cause(ctx)
				told <- e.st.Progress(context.WithoutCancel(ctx), t.ID, "zombie")
				return "zombie", nil
			}
			go func() {
				done <- e.st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handler}, 1, tasks.LeaseTime(tasks.MaxLease))
			}()
			e.NoError(<-begun)
			e.NoError(change(by, id))
			e.ErrorIs(<-told, tasks.ErrLeaseLost, id)
			e.ErrorIs(<-told, tasks.ErrLeaseLost, id)
			cancel()
			e.NoError(<-done)
			if name != "deleted" {
				e.Equal(`"begun"`, string(e.get(e.st, id).Raw), id)
				e.NoError(e.st.Delete(e.ctx, id))
			}
		}
	}
}
