package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// claimed claims a task that has to be there.
func (e *env) claimed(st Store) tasks.Claimed {
	e.t.Helper()
	c, err := st.Claim(e.ctx, time.Minute)
	e.NoError(err)
	return c
}

// snooze: an attempt that wasn't the task's fault doesn't count.
func snooze(e *env) {
	e.create("a", tasks.Form, tasks.Pending)
	for n := range 3 {
		c := e.claimed(e.st)
		e.Equal(n+1, c.Attempts)
		e.NoError(e.st.Fail(e.ctx, c, fmt.Errorf("extract: %w", tasks.Snooze(10*time.Second, errors.New("429")))))
		info := e.get(e.st, "a").Info
		e.Equal(tasks.Pending, info.Status)
		e.Equal(n+1, info.Uncounted)
		e.Contains(info.Error, "429")
		e.Equal(e.clock.Now().Add(10*time.Second), info.RunAt)
		e.clock.Add(10*time.Second - time.Millisecond)
		e.Equal("", e.claims(e.st))
		e.clock.Add(time.Millisecond)
	}
	c := e.claimed(e.st)
	e.NoError(e.st.Fail(e.ctx, c, errors.New("torn")))
	e.Equal(tasks.Error, e.get(e.st, "a").Status, "the first attempt that counts was the only one")
	list, err := e.st.Attempts(e.ctx, "a")
	e.NoError(err)
	e.Len(list, 4)
	for i, a := range list {
		e.Equal(i < 3, a.Uncounted)
		e.False(a.EndedAt.IsZero())
	}
}

// permanent: what can't succeed isn't tried again, and what can't be stored neither.
func permanent(e *env) {
	e.create("a", tasks.Form, tasks.Pending)
	cause := errors.New("corrupt scan")
	err := fmt.Errorf("page 3: %w", tasks.Permanent(cause))
	e.ErrorIs(err, cause)
	e.True(tasks.IsPermanent(err))
	e.NoError(e.st.Fail(e.ctx, e.claimed(e.st), err))
	info := e.get(e.st, "a").Info
	e.Equal(tasks.Error, info.Status)
	e.Equal("page 3: corrupt scan", info.Error)
	e.Equal(1, info.Attempts)
	e.create("b", tasks.Form, tasks.Pending)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	done := make(chan error, 1)
	n := 0
	go func() {
		done <- e.st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) {
			n++
			return func() {}, nil
		}}, 1)
	}()
	r, err := e.st.Wait(e.ctx, "b")
	e.NoError(err)
	cancel()
	e.NoError(<-done)
	e.Equal(tasks.Error, r.Status)
	e.Equal(1, n, "what can never be stored was computed again")
}

// giveBack: an attempt that is given back is as if it hadn't been, but for its entry.
func giveBack(e *env) {
	e.create("a", tasks.Form, tasks.Pending)
	for n := range 3 {
		c := e.claimed(e.st)
		e.Equal(n+1, c.Attempts)
		e.NoError(e.st.GiveBack(e.ctx, c, errors.New("shutting down")))
		e.ErrorIs(e.st.GiveBack(e.ctx, c, errors.New("again")), tasks.ErrLeaseLost)
		info := e.get(e.st, "a").Info
		e.Equal(tasks.Pending, info.Status)
		e.Equal(n+1, info.Uncounted)
		e.True(info.RunAt.IsZero(), "at once")
	}
	e.NoError(e.st.Complete(e.ctx, e.claimed(e.st), "done"))
	list, err := e.st.Attempts(e.ctx, "a")
	e.NoError(err)
	e.Len(list, 4)
	e.Equal("shutting down", list[2].Error)
}

// cancel: it can be told from a failure.
func cancel(e *env) {
	for _, id := range []string{"pending", "claimed"} {
		e.create(id, tasks.Form, tasks.Pending)
	}
	c := e.claimed(e.st)
	e.clock.Add(time.Second)
	for _, id := range []string{"pending", "claimed"} {
		e.NoError(e.st.Cancel(e.ctx, id))
		info := e.get(e.st, id).Info
		e.Equal(tasks.Error, info.Status)
		e.True(info.Cancelled)
		e.Equal(tasks.CancelledText, info.Error)
		e.ErrorIs(e.st.Cancel(e.ctx, id), tasks.ErrTransition)
	}
	e.ErrorIs(e.st.Complete(e.ctx, c, 1), tasks.ErrLeaseLost)
	list, err := e.st.Attempts(e.ctx, c.ID)
	e.NoError(err)
	e.Len(list, 1)
	e.Equal(e.clock.Now(), list[0].EndedAt, "the attempt has ended")
	e.NoError(e.st.Retry(e.ctx, "pending"))
	e.False(e.get(e.st, "pending").Cancelled)
	e.NoError(e.st.Update(e.ctx, "pending", tasks.Error, nil))
	e.False(e.get(e.st, "pending").Cancelled, "it has failed")
}

// times: when the last attempt began, and when the task was done, to the millisecond.
func times(e *env) {
	e.create("a", tasks.Form, tasks.Pending)
	e.True(e.get(e.st, "a").StartedAt.IsZero())
	e.clock.Add(1500 * time.Millisecond)
	start := e.clock.Now()
	c := e.claimed(e.st)
	e.Equal(start, c.StartedAt)
	e.clock.Add(1234 * time.Millisecond)
	e.NoError(e.st.Fail(e.ctx, c, errors.New("why")))
	info := e.get(e.st, "a").Info
	e.Equal(start, info.StartedAt)
	e.True(info.EndedAt.IsZero(), "it isn't done")
	e.clock.Add(time.Hour)
	c = e.claimed(e.st)
	start = e.clock.Now()
	e.clock.Add(1234 * time.Millisecond)
	e.NoError(e.st.Complete(e.ctx, c, "done"))
	info = e.get(e.st, "a").Info
	e.Equal(start, info.StartedAt)
	e.Equal(start.Add(1234*time.Millisecond), info.EndedAt)
	e.NoError(e.st.Update(e.ctx, "a", tasks.Pending, nil, tasks.Force()))
	e.True(e.get(e.st, "a").EndedAt.IsZero())
}

// report: progress is told beside the result, by whoever holds the task.
func report(e *env) {
	e.create("a", tasks.Form, tasks.Pending)
	e.ErrorIs(e.st.Report(e.ctx, "a", tasks.Advance{Done: 1}), tasks.ErrTransition)
	e.ErrorIs(e.st.Report(e.ctx, "nobody", tasks.Advance{Done: 1}), tasks.ErrNotFound)
	c := e.claimed(e.st)
	e.NoError(e.st.Progress(e.ctx, "a", "half"))
	want := tasks.Advance{Done: 3, Total: 7.5, Note: "Seite 3 文件"}
	n := 0
	for r, err := range e.other.Watch(e.ctx, "a") {
		e.NoError(err)
		if n++; n == 1 {
			e.NoError(e.st.Report(e.ctx, "a", want))
			continue
		}
		e.Equal(want, r.Advance)
		e.Equal(`"half"`, string(r.Raw))
		break
	}
	e.NoError(e.st.Complete(e.ctx, c, "done"))
	e.Equal(want, e.get(e.st, "a").Advance)
}

// pause: no task of the type is claimed in any process until it is resumed.
func pause(e *env) {
	for i, t := range []tasks.Type{tasks.Form, tasks.Document, tasks.Form} {
		e.create(fmt.Sprint(i), t, tasks.Pending)
	}
	e.NoError(e.st.SetLimits(e.ctx, tasks.Form, tasks.TypeLimits{Paused: true}))
	e.Equal("1", e.claims(e.other))
	limits, err := e.other.Limits(e.ctx)
	e.NoError(err)
	e.Equal(map[tasks.Type]tasks.TypeLimits{tasks.Form: {Paused: true}}, limits)
	e.NoError(e.other.SetLimits(e.ctx, tasks.Form, tasks.TypeLimits{}))
	e.Equal("02", e.claims(e.st))
}

// pauseBesideLimits: of a pause and new limits that come at the same time, neither is lost.
func pauseBesideLimits(e *env) {
	limits := func() tasks.TypeLimits {
		m, err := e.st.Limits(e.ctx)
		e.NoError(err)
		return m[tasks.Form]
	}
	for i := 1; i <= 20; i++ {
		done := make(chan error, 1)
		go func() {
			done <- e.other.SetLimits(e.ctx, tasks.Form, tasks.TypeLimits{Running: i, Paused: i%2 == 0, PerSecond: 1000})
		}()
		var err error
		if i%2 == 0 {
			err = e.st.Pause(e.ctx, tasks.Form)
		} else {
			err = e.st.Resume(e.ctx, tasks.Form)
		}
		e.NoError(err)
		e.NoError(<-done)
		e.Equal(tasks.TypeLimits{Running: i, Paused: i%2 == 0, PerSecond: 1000}, limits())
	}
	e.NoError(e.st.Resume(e.ctx, tasks.Form))
	e.NoError(e.st.Pause(e.ctx, tasks.Form))
	e.Equal(tasks.TypeLimits{Running: 20, Paused: true, PerSecond: 1000}, limits())
	e.NoError(e.st.Pause(e.ctx, tasks.Document))
	e.create("a", tasks.Document, tasks.Pending)
	e.Equal("", e.claims(e.other))
	e.NoError(e.other.Resume(e.ctx, tasks.Document))
	e.Equal("a", e.claims(e.st))
	e.ErrorIs(e.st.Pause(e.ctx, "none"), tasks.ErrInvalid)
}

func limitRunning(e *env) {
	for i := range 5 {
		e.create(fmt.Sprint(i), tasks.Form, tasks.Pending)
	}
	e.create("other", tasks.Document, tasks.Pending)
	e.NoError(e.st.SetLimits(e.ctx, tasks.Form, tasks.TypeLimits{Running: 2}))
	a, b := e.claimed(e.st), e.claimed(e.other)
	e.Equal("01", a.ID+b.ID)
	e.Equal("other", e.claims(e.st), "another type isn't limited")
	e.NoError(e.st.Complete(e.ctx, a, 1))
	e.NoError(e.st.Cancel(e.ctx, b.ID))
	e.Equal("23", e.claims(e.other))
	e.NoError(e.st.SetLimits(e.ctx, tasks.Form, tasks.TypeLimits{}))
	e.Equal("4", e.claims(e.st))
}

func limitPerSecond(e *env) {
	for i := range 9 {
		e.create(fmt.Sprint(i), tasks.Form, tasks.Pending)
	}
	e.NoError(e.st.SetLimits(e.ctx, tasks.Form, tasks.TypeLimits{PerSecond: 2}))
	e.Equal("01", e.claims(e.st), "a second's worth at once")
	e.clock.Add(499 * time.Millisecond)
	e.Equal("", e.claims(e.other))
	e.clock.Add(time.Millisecond)
	e.Equal("2", e.claims(e.other))
	e.clock.Add(time.Minute)
	e.Equal("34", e.claims(e.other))
	e.NoError(e.st.SetLimits(e.ctx, tasks.Form, tasks.TypeLimits{PerSecond: 0.5}))
	e.Equal("5", e.claims(e.st))
	e.clock.Add(1900 * time.Millisecond)
	e.Equal("", e.claims(e.st))
	e.clock.Add(100 * time.Millisecond)
	e.Equal("6", e.claims(e.st))
	for _, bad := range []tasks.TypeLimits{{Running: -1}, {PerSecond: -1}, {PerSecond: 1e9}} {
		e.ErrorIs(e.st.SetLimits(e.ctx, tasks.Form, bad), tasks.ErrInvalid)
	}
}

// steps: what a step has come to is given back on the next attempt, and to that task alone.
func steps(e *env) {
	ran := map[string]int{}
	handler := func(ctx context.Context, t tasks.Info) (any, error) {
		text, err := tasks.Step(ctx, "ocr", func(context.Context) (string, error) {
			ran[t.ID+"ocr"]++
			return "text of " + t.ID, nil
		})
		if err != nil {
			return nil, err
		}
		_, err = tasks.Step(ctx, "llm", func(context.Context) (int, error) {
			if ran[t.ID+"llm"]++; ran[t.ID+"llm"] < 3 {
				return 0, errors.New("overloaded")
			}
			return 1, nil
		})
		return text, err
	}
	for _, id := range []string{"a", "b"} {
		e.create(id, tasks.Form, tasks.Pending)
		ctx, cancel := context.WithCancel(e.ctx)
		done := make(chan error, 1)
		go func() { done <- e.st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handler}, 1) }()
		r, err := e.st.Wait(e.ctx, id)
		e.NoError(err)
		cancel()
		e.NoError(<-done)
		e.Equal(`"text of `+id+`"`, string(r.Raw))
		e.Equal(1, ran[id+"ocr"], "the OCR was kept")
		e.Equal(3, ran[id+"llm"], "an error isn't kept")
	}
	_, err := tasks.Step(e.ctx, "x", func(context.Context) (int, error) { return 1, nil })
	e.ErrorIs(err, tasks.ErrNoHandler)
}

// crashTogether: a worker that dies has several tasks. None of them pays for the others,
// and which it was shows when they are tried one at a time.
func crashTogether(e *env) {
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		e.create(id, tasks.Form, tasks.Pending)
		e.claimed(e.st)
	}
	e.clock.Add(time.Minute)
	e.Equal("", e.claims(e.other), "they wait for their backoff")
	for _, id := range ids {
		info := e.get(e.st, id).Info
		e.Equal(tasks.Pending, info.Status, id)
		e.Equal(1, info.Uncounted, "%s pays for a neighbour", id)
		e.True(info.RunAt.After(e.clock.Now()), id)
	}
	e.create("new", tasks.Form, tasks.Pending)
	e.clock.Add(time.Minute)
	// One suspect at a time, and others beside it.
	first := e.claimed(e.other)
	e.Contains(ids, first.ID)
	e.Equal("new", e.claims(e.other), "two suspects at the same time")
	second := e.claimed(e.st)
	e.Contains(ids, second.ID)
	e.Equal("", e.claims(e.st))
	e.NoError(e.st.Complete(e.ctx, second, "done"))
	third := e.claimed(e.st)
	e.NoError(e.st.Complete(e.ctx, third, "done"))
	// The suspect kills its worker again and again, and is the one that pays.
	for n := 1; ; n++ {
		e.clock.Add(2 * time.Hour)
		_, err := e.st.Claim(e.ctx, time.Minute, tasks.Document)
		e.ErrorIs(err, tasks.ErrNoTask)
		_ = e.claims(e.st)
		info := e.get(e.st, first.ID).Info
		e.Equal(1, info.Uncounted)
		if info.Status == tasks.Error {
			e.Equal(2, n)
			break
		}
		e.Equal(tasks.Pending, info.Status)
		e.Less(n, 3)
		e.clock.Add(2 * time.Minute)
		c := e.claimed(e.st)
		for c.ID != first.ID { // the neighbour is back too
			e.NoError(e.st.Complete(e.ctx, c, "done"))
			c = e.claimed(e.st)
		}
	}
	e.Zero(slices.Index(ids, "a"))
	e.NotEqual(tasks.Error, e.get(e.st, "new").Status, "a neighbour has failed")
}
