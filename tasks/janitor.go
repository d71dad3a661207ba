package tasks

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// DefaultRetention is how long a [Janitor] keeps tasks.
const DefaultRetention = 7 * 24 * time.Hour

// Janitor deletes old tasks now and then.
type Janitor struct {
	// Every is the time between two cleanups, give or take a tenth, so that many services don't clean up at once.
	// Default 24 hours. The first one comes after a random part of it.
	Every time.Duration
	// Keep is how long tasks of a status are kept after they were created.
	// A status that isn't listed is kept for Default; with a negative time it is kept forever.
	// What isn't done is spared: tasks that are [Pending] or [Processing] are deleted only if they are listed.
	Keep map[Status]time.Duration
	// Default is how long tasks of the other statuses are kept. Default [DefaultRetention].
	Default time.Duration
	// ByUse counts the time since a task's result was last read, instead of since it was created, if it was: see [TrackUse].
	ByUse bool
	// OnCleanup, if it isn't nil, is called after each cleanup.
	OnCleanup func(deleted int, err error)
}

// RunJanitor cleans up until the context is done, and returns nil then.
// It returns [ErrClosed] once the store is closed, and [ErrReadOnly] if it can't delete, unless that may pass. After another error it tries again the next time.
func (s *Store) RunJanitor(ctx context.Context, j Janitor) error {
	if j.Every == 0 {
		j.Every = 24 * time.Hour
	}
	if j.Default == 0 {
		j.Default = DefaultRetention
	}
	if j.Every < 0 {
		return &InputError{"Janitor.Every", j.Every.String(), "more than 0, or 0 for 24h"}
	}
	for status := range j.Keep {
		if err := checkStatus(status); err != nil {
			return err
		}
	}
	timer := time.NewTimer(rand.N(j.Every) + 1)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		deleted, err := s.clean(ctx, j)
		if ctx.Err() != nil {
			return nil
		}
		if j.OnCleanup != nil {
			j.OnCleanup(deleted, err)
		}
		if errors.Is(err, ErrClosed) || errors.Is(err, ErrReadOnly) && !errors.Is(err, ErrBusy) {
			return err
		}
		timer.Reset(j.Every - j.Every/10 + rand.N(j.Every/5+1))
	}
}

// clean deletes what is old enough, by status.
func (s *Store) clean(ctx context.Context, j Janitor) (deleted int, err error) {
	if err := s.flushUses(ctx); err != nil {
		return 0, err
	}
	statuses, err := s.statuses(ctx)
	if err != nil {
		return 0, err
	}
	for status := range statuses {
		keep, ok := j.Keep[status]
		if !ok {
			keep = j.Default
			if status == Pending || status == Processing {
				continue
			}
		}
		if keep < 0 {
			continue
		}
		n, e := s.cleanup(ctx, CleanupQuery{Age: keep, Statuses: []Status{status}, ByUse: j.ByUse})
		deleted += n
		err = errors.Join(err, e)
	}
	return deleted, err
}

// statuses are those that are known, and those that others have written to the table.
func (s *Store) statuses(ctx context.Context) (map[Status]bool, error) {
	counts, err := s.Count(ctx)
	if err != nil {
		return nil, err
	}
	all := map[Status]bool{}
	for status := range before {
		all[status] = true
	}
	for _, byStatus := range counts {
		for status := range byStatus {
			all[status] = true
		}
	}
	return all, nil
}
