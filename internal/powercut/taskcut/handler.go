package taskcut

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// attemptKey stands for an attempt at a task.
type attemptKey struct {
	id string
	n  int
}

// handle has Run hand out one task, whose handler goes through two steps and tells how far it is.
func (k *caller) handle(s step, r *rand.Rand) {
	ctx, cancel := context.WithTimeout(background, time.Duration(20+r.IntN(400))*time.Millisecond)
	defer cancel()
	run := call{what: "run", asks: asks(tasks.Pending, tasks.Processing, tasks.Error), types: []tasks.Type{tasks.Form}, claims: true}
	k.call(run, func(run *call) error {
		handler := func(ctx context.Context, t tasks.Info) (any, error) {
			k.turn()
			cancel() // Run ends with this task
			run.subject = t.ID
			return k.handler(ctx, t, s, r)
		}
		return k.store.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handler}, 1, tasks.LeaseTime(time.Second), tasks.HangTime(time.Hour))
	})
}

// handler does the work of a task. How its attempt ends is a call of its own, of which [run.attemptEnded] takes note.
func (k *caller) handler(ctx context.Context, t tasks.Info, s step, r *rand.Rand) (any, error) {
	for _, name := range []string{"ocr", "llm"} {
		if err := k.part(ctx, t.ID, name, k.text(s, r)); err != nil {
			return nil, err
		}
		if err := k.tell(ctx, t.ID, s, r, tasks.ErrLeaseLost); err != nil {
			return nil, err
		}
		if r.IntN(4) == 0 {
			return k.ends(t, tasks.Pending, s, r)
		}
	}
	switch r.IntN(4) {
	case 0:
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond) // the lease has to be extended
		k.turn()
	case 1:
		return k.ends(t, tasks.Error, s, r)
	}
	return k.ends(t, tasks.Completed, s, r)
}

// part is a step of a handler.
func (k *caller) part(ctx context.Context, id, name, text string) error {
	c := call{what: "step " + name + " of " + id, subject: id}
	return k.call(c, func(c *call) error {
		ran := false
		got, err := tasks.Step(ctx, name, func(context.Context) (string, error) {
			ran = true
			k.run.stepped(id, name, text)
			return text, nil
		})
		c.reads, c.effect = !ran, hasStep(id, name, got, ran)
		return err
	}, tasks.ErrLeaseLost)
}

// ends says how an attempt is going to end. Nothing is promised if it loses its lease before.
func (k *caller) ends(t tasks.Info, to tasks.Status, s step, r *rand.Rand) (any, error) {
	x := k.run
	text := k.text(s, r)
	c := &call{what: "end of " + t.ID + " as " + string(to), subject: t.ID, durable: true, undoes: true, failed: true, stock: k.stock, asks: asks(to)}
	var err error
	switch to {
	case tasks.Completed:
		c.result, c.effect = quoted(text), hasResult(t.ID, text)
	default:
		text = text[:min(len(text), 1000)]
		err = errors.New(text)
		c.asks, c.effect = asks(tasks.Pending, tasks.Error), hasFailed(t.ID, text)
		switch {
		case to == tasks.Error:
			err = tasks.Permanent(err)
		case r.IntN(3) == 0:
			err = tasks.Snooze(50*time.Millisecond, err)
		}
	}
	c.begin, _ = x.disk.Len()
	c.acked = endless
	x.mu.Lock()
	x.calls = append(x.calls, c)
	x.ending[attemptKey{t.ID, t.Attempts}] = c
	x.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return text, nil
}

// endless is when a call returns that doesn't.
const endless = int(^uint(0) >> 1)

// attemptEnded is told by a store when it has reported on an attempt.
func (x *run) attemptEnded(_ context.Context, i tasks.AttemptEndedInfo) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.ending[attemptKey{i.Task.ID, i.Task.Attempts}]; c != nil && c.failed {
		c.failed = false
		c.acked, c.ackedAt = x.disk.Len()
	}
}

// stepped takes note of a step's result that is going to be stored.
func (x *run) stepped(id, name, text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.steps[stepRow{stepKey{id, name}, quoted(text)}] = true
}

// tell reports how far a task is, or a part of its result.
func (k *caller) tell(ctx context.Context, id string, s step, r *rand.Rand, expected ...error) error {
	var opts []tasks.CallOption
	durable := r.IntN(2) == 0
	if durable {
		opts = append(opts, tasks.Durable())
	}
	if r.IntN(3) == 0 {
		text := k.text(s, r)
		c := call{what: "progress of " + id, subject: id, durable: durable, partial: quoted(text), effect: hasPartial(id, text)}
		return k.call(c, func(*call) error { return k.store.Progress(ctx, id, text, opts...) }, expected...)
	}
	a := k.advanceOf(s)
	c := call{what: "report on " + id, subject: id, durable: durable, advance: a, effect: hasAdvance(id, a)}
	return k.call(c, func(*call) error { return k.store.Report(ctx, id, a, opts...) }, expected...)
}

// advanceOf returns what nobody else reports.
func (k *caller) advanceOf(s step) tasks.Advance {
	k.reports++
	done := float64(s.n) + float64(k.reports)/1024
	return tasks.Advance{Done: done, Total: 2 * done, Note: fmt.Sprintf("第 %v of caller %d", done, k.number)}
}

// report tells how far one of the caller's own tasks is.
func (k *caller) report(s step, r *rand.Rand) {
	for _, t := range k.own {
		if t.status == tasks.Processing && !t.doc {
			k.tell(background, t.id, s, r)
			return
		}
	}
	k.advance(s, r)
}
