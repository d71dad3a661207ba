package tasks

import (
	"context"
	"fmt"
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
	// LookSettled is Look, and hands over what it finds of each task, or its error, once that survives a power cut:
	// it needn't wait for what has become of other tasks. It returns when all are handed over.
	LookSettled(ctx context.Context, ids []string, found func(i int, t Info, err error))
	// GetSettled is Get, which returns once what it has found survives a power cut.
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
// What has become of other tasks needn't be durable. Calls that come at the same time share a look, and a sync if it takes one.
func (s *Store) StatusSettled(ctx context.Context, id string) (Info, error) {
	if err := checkID(id); err != nil {
		return Info{}, err
	}
	r, err := s.settled.at(ctx, id)
	return r.Info, err
}

// lookSettled looks for all who ask.
func (s *Store) lookSettled(ids []string, found func(int, Result, error)) {
	s.eachSettled(context.Background(), ids, func(i int, t Info, err error) { found(i, Result{Info: t}, err) })
}

func (s *Store) eachSettled(ctx context.Context, ids []string, found func(int, Info, error)) {
	if b, ok := s.backend.(SettledReader); ok {
		b.LookSettled(ctx, ids, func(i int, t Info, err error) { found(i, t, taskError("get", ids[i], err)) })
		return
	}
	infos, errs := s.backend.Look(ctx, ids)
	err := s.Settle(ctx)
	for i, id := range ids {
		if err != nil {
			infos[i], errs[i] = Info{}, err
		}
		found(i, infos[i], taskError("get", id, errs[i]))
	}
}

// StatusesSettled is [Store.StatusSettled] for several tasks, which are looked at together: it returns what is known of each, and the error of each.
func (s *Store) StatusesSettled(ctx context.Context, ids []string) (infos []Info, errs []error) {
	infos, errs = make([]Info, len(ids)), make([]error, len(ids))
	s.eachSettled(ctx, ids, func(i int, t Info, err error) { infos[i], errs[i] = t, err })
	for i, id := range ids {
		if err := checkID(id); err != nil {
			infos[i], errs[i] = Info{}, err
		}
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
