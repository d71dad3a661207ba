package tasks

import (
	"context"
	"fmt"
	"slices"
)

// SettleBackend is a [Backend] that knows what is durable already.
type SettleBackend interface {
	Backend
	// Settle returns once all that could be read of tasks when it was called survives a power cut.
	// It has nothing synced where that is known to be so.
	Settle(ctx context.Context) error
}

// SettledReader is a [SettleBackend] that finds out at once, in the same look at the store, what is to be read and whether it is durable.
type SettledReader interface {
	SettleBackend
	// LookSettled is Look, and then Settle. An error of that is each task's.
	LookSettled(ctx context.Context, ids []string) ([]Info, []error)
	// GetSettled is Get, and then Settle.
	GetSettled(ctx context.Context, id string) (Result, error)
}

// Settle returns once all that can have been read of tasks until now is durable, whoever has changed it, so that a power cut
// can't take back what somebody is told of it. Calls share a sync, and where all of it is known to be durable, there is none.
// With a backend that doesn't know, it is [Store.Sync].
func (s *Store) Settle(ctx context.Context) error {
	b, ok := s.backend.(SettleBackend)
	if !ok {
		return s.Sync(ctx)
	}
	if err := b.Settle(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// StatusSettled is [Store.Status] for who tells others: it returns once what it has found is durable, also that there is no such task.
// Calls that come at the same time share a look, and a sync if it takes one.
func (s *Store) StatusSettled(ctx context.Context, id string) (Info, error) {
	if err := checkID(id); err != nil {
		return Info{}, err
	}
	return s.settled.at(ctx, id)
}

func (s *Store) lookSettled(ids []string, found func(int, Result, error)) {
	infos, errs := s.StatusesSettled(context.Background(), ids)
	for i := range ids {
		found(i, Result{Info: infos[i]}, errs[i])
	}
}

// StatusesSettled is [Store.StatusSettled] for several tasks, which are looked at together: it returns what is known of each, and the error of each.
func (s *Store) StatusesSettled(ctx context.Context, ids []string) (infos []Info, errs []error) {
	if b, ok := s.backend.(SettledReader); ok {
		infos, errs = b.LookSettled(ctx, ids)
	} else {
		infos, errs = s.backend.Look(ctx, ids)
		if err := s.Settle(ctx); err != nil {
			infos, errs = make([]Info, len(ids)), slices.Repeat([]error{err}, len(ids))
		}
	}
	for i, id := range ids {
		if err := checkID(id); err != nil {
			infos[i], errs[i] = Info{}, err
			continue
		}
		errs[i] = taskError("get", id, errs[i])
	}
	return infos, errs
}

// ResultSettled is [Store.Result] as [Store.StatusSettled] is Status.
func (s *Store) ResultSettled(ctx context.Context, id string) (r Result, err error) {
	if err := checkID(id); err != nil {
		return Result{}, err
	}
	if b, ok := s.backend.(SettledReader); ok {
		r, err = b.GetSettled(ctx, id)
	} else {
		r, err = s.backend.Get(ctx, id)
		if e := s.Settle(ctx); e != nil {
			r, err = Result{}, e
		}
	}
	if err == nil && r.Raw != nil {
		s.read(ctx, id)
	}
	return r, taskError("get", id, err)
}
