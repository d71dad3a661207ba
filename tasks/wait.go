package tasks

import (
	"context"
	"hash/maphash"
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
// While the task rests, a call costs its goroutine and a few hundred bytes, and no work: thousands may wait.
func (s *Store) Wait(ctx context.Context, id string) (r Result, err error) {
	for {
		if err = s.waitFinal(ctx, id); err != nil {
			return r, err
		}
		// It may have changed since.
		if again := s.resultOf(ctx, id, &r, &err); !again {
			return r, err
		}
	}
}

// resultOf gets a task with its result, and reports whether it isn't done any more.
//
//go:noinline
func (s *Store) resultOf(ctx context.Context, id string, r *Result, err *error) (again bool) {
	*r, *err = s.Result(ctx, id)
	if again = *err == nil && !r.Status.Final(); again {
		*r = Result{}
	}
	return again
}

// waitFinal waits until a task is done.
func (s *Store) waitFinal(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	for {
		// Before the look, so that no change is missed.
		changed, stop := s.backend.Notify(id)
		final, err := s.isFinal(ctx, id)
		if err != nil || final {
			stop()
			return err
		}
		if err := await(ctx, id, changed, stop); err != nil {
			return err
		}
	}
}

// isFinal looks at a task. It is a function of its own, so that who waits doesn't keep what it found.
//
//go:noinline
func (s *Store) isFinal(ctx context.Context, id string) (bool, error) {
	r, err := s.infos.at(ctx, id)
	return err == nil && r.Status.Final(), taskError("get", id, err)
}

// Watch yields a task as it is, and again each time that it has changed.
// Of changes that follow each other closely it may yield the last one only.
// It ends with an error: [ErrNotFound] if there is no such task, or none any more, or the context's error.
//
// A change by this process is noticed at once, one by another within [ChangePoll].
// While the task rests, it costs what [Store.Wait] does.
func (s *Store) Watch(ctx context.Context, id string) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		if err := checkID(id); err != nil {
			yield(Result{}, err)
			return
		}
		var last version
		for first := true; ; first = false {
			// Before the look, so that no change is missed.
			changed, stop := s.backend.Notify(id)
			now, ok := s.watched(ctx, id, first, last, yield)
			if !ok {
				stop()
				return
			}
			last = now
			if err := await(ctx, id, changed, stop); err != nil {
				yield(Result{}, err)
				return
			}
		}
	}
}

// watched looks at a task and yields it if it isn't the last version. It reports whether to go on.
// It is a function of its own, so that who waits doesn't keep the result.
func (s *Store) watched(ctx context.Context, id string, first bool, last version, yield func(Result, error) bool) (version, bool) {
	r, err := s.results.at(ctx, id)
	if err != nil {
		yield(Result{}, taskError("get", id, err))
		return last, false
	}
	now := versionOf(r)
	if first || now != last {
		return now, yield(r, nil)
	}
	return now, true
}

// await returns when the task may have changed, or with the context's error.
func await(ctx context.Context, id string, changed <-chan struct{}, stop func()) error {
	defer stop()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return taskError("wait for", id, ctx.Err())
	}
}

// version tells results apart, without keeping them.
type version struct {
	size       int
	hash, info uint64
}

var versionSeed = maphash.MakeSeed()

func versionOf(r Result) version {
	return version{len(r.Raw), maphash.Bytes(versionSeed, r.Raw), maphash.Comparable(versionSeed, r.Info)}
}
