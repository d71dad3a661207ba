package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// ErrNoHandler is returned by [Step] and [Report] for a context that isn't a handler's.
var ErrNoHandler = errors.New("the context isn't that of a handler")

// Step runs a part of a handler's work and stores its result with the task. When the task is tried again,
// the stored result is returned instead: if the LLM fails, the OCR needn't be done once more.
//
//	text, err := tasks.Step(ctx, "ocr", func(ctx context.Context) (string, error) { return ocr(ctx, scan) })
//	if err != nil {
//		return nil, err
//	}
//	fields, err := tasks.Step(ctx, "extract", func(ctx context.Context) (Fields, error) { return extract(ctx, text) })
//
// The name, which is 1 to 255 bytes as an id, is the step's among those of its task. An error isn't stored.
// The result is JSON up to the limit of results; it is kept until the task is [Completed] or deleted.
// It isn't durable at once: a power cut, which ends the worker too, may have the step run again.
// If the lease is lost, Step returns [ErrLeaseLost].
func Step[T any](ctx context.Context, name string, f func(ctx context.Context) (T, error)) (v T, err error) {
	t, ok := ctx.Value(handlerKey{}).(handlerTask)
	if !ok {
		return v, ErrNoHandler
	}
	if checkID(name) != nil {
		return v, Permanent(&InputError{"step", strconv.Quote(name[:min(len(name), 2*MaxID)]), "1 to 255 bytes of UTF-8 without control characters"})
	}
	s := t.store
	raw, err := s.backend.Step(ctx, t.id, name)
	if err != nil {
		return v, fmt.Errorf("step %q of task %q: %w", name, t.id, err)
	}
	if raw != nil {
		if err := json.Unmarshal(raw, &v); err == nil {
			return v, nil
		}
		// It is of an older program: it is run anew.
		var none T
		v = none
	}
	if v, err = f(ctx); err != nil {
		return v, err
	}
	if raw, err = s.encodeCached(v); err != nil {
		return v, Permanent(fmt.Errorf("step %q of task %q: %w", name, t.id, err))
	}
	if err := s.backend.SetStep(ctx, t.id, t.lease, name, raw, false); err != nil {
		return v, fmt.Errorf("step %q of task %q: %w", name, t.id, err)
	}
	return v, nil
}

// Report says how far a task is that is [Processing]: [Info].Advance shows it, beside the partial result of [Store.Progress].
// What it returns, and what it does under a handler's context, is the same as there. The note is cut off after [MaxNote] bytes.
func (s *Store) Report(ctx context.Context, id string, a Advance, opts ...CallOption) error {
	a, err := s.advance(id, a)
	if err != nil {
		return err
	}
	k := call{relaxed: true}
	for _, o := range opts {
		o(&k)
	}
	return taskError("report on", id, s.backend.Report(ctx, id, s.leaseOf(ctx, id), a, !k.relaxed))
}

// advance checks an Advance.
func (s *Store) advance(id string, a Advance) (Advance, error) {
	if err := checkID(id); err != nil {
		return a, err
	}
	for _, f := range []float64{a.Done, a.Total} {
		if f-f != 0 { // infinite, or not a number: JSON has no form for it
			return a, taskError("report on", id, &InputError{"Advance", fmt.Sprint(f), "a finite number"})
		}
	}
	a.Note = oneLine(a.Note)
	return a, s.checkClock()
}

// Report is [Store.Report] for the handler's task, whose context it is.
func Report(ctx context.Context, done, total float64, note string) error {
	t, ok := ctx.Value(handlerKey{}).(handlerTask)
	if !ok {
		return ErrNoHandler
	}
	return t.store.Report(ctx, t.id, Advance{done, total, note})
}
