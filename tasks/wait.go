package tasks

import (
	"context"
	"iter"
	"time"
)

// ChangePoll is how often a store that somebody waits at looks for changes by other processes.
// Those of its own process are noticed at once.
const ChangePoll = 100 * time.Millisecond

// Wait returns a task with its result once it is [Completed] or [Error].
// It returns [ErrNotFound] if there is no such task, or none any more, or the context's error.
//
// A change by this process is noticed at once, one by another within [ChangePoll].
// It is noticed when it is made, which may be a moment before it is durable.
func (s *Store) Wait(ctx context.Context, id string) (Result, error) {
	for r, err := range s.Watch(ctx, id) {
		if err != nil || r.Status.Final() {
			return r, err
		}
	}
	panic("tasks: Watch ended without an error")
}

// Watch yields a task as it is, and again each time that it has changed.
// Of changes that follow each other closely it may yield the last one only.
// It ends with an error: [ErrNotFound] if there is no such task, or none any more, or the context's error.
//
// A change by this process is noticed at once, one by another within [ChangePoll].
func (s *Store) Watch(ctx context.Context, id string) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		var last Result
		for first := true; ; first = false {
			// Before the look, so that no change is missed.
			changed, stop := s.backend.Notify(id)
			r, err := s.Result(ctx, id)
			if err != nil {
				stop()
				yield(Result{}, err)
				return
			}
			if first || r.Info != last.Info || string(r.Raw) != string(last.Raw) {
				last = r
				if !yield(r, nil) {
					stop()
					return
				}
			}
			select {
			case <-changed:
				stop()
			case <-ctx.Done():
				stop()
				yield(Result{}, taskError("wait for", id, ctx.Err()))
				return
			}
		}
	}
}
