package memory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

func (b *backend) Claim(ctx context.Context, types []tasks.Type, lease time.Duration, maxAttempts int) (tasks.Claimed, error) {
	if err := b.begin(ctx); err != nil {
		return tasks.Claimed{}, err
	}
	defer b.mu.Unlock()
	b.takeBack(types, maxAttempts)
	var next *task
	for _, t := range b.tasks {
		if t.Status == tasks.Pending && slices.Contains(types, t.Type) && !t.runAt.After(b.now()) &&
			(next == nil || older(t.Info, next.Info) < 0) {
			next = t
		}
	}
	if next == nil {
		return tasks.Claimed{}, tasks.ErrNoTask
	}
	next.endAttempt(b.milli(), tasks.ErrLeaseLost.Error())
	b.set(next, tasks.Processing)
	next.runAt = time.Time{}
	next.Attempts++
	next.lease, next.leaseUntil = rand.Text(), b.now().Add(lease).Truncate(time.Millisecond).UTC()
	next.attempts = append(next.attempts, tasks.Attempt{Number: next.Attempts, StartedAt: b.milli()})
	return tasks.Claimed{Info: next.Info, Lease: next.lease, LeaseUntil: next.leaseUntil}, nil
}

func (d *DB) takeBack(types []tasks.Type, maxAttempts int) {
	const text = "lease expired"
	for _, t := range d.tasks {
		if t.lease == "" || t.leaseUntil.After(d.now()) || !slices.Contains(types, t.Type) {
			continue
		}
		status := tasks.Pending
		if t.Attempts >= maxAttempts {
			status = tasks.Error
		}
		d.set(t, status)
		t.Error = text
		t.endAttempt(d.milli(), text)
	}
}

// endAttempt ends the last attempt, if it hasn't ended.
func (t *task) endAttempt(now time.Time, text string) {
	if n := len(t.attempts); n > 0 && t.attempts[n-1].EndedAt.IsZero() {
		t.attempts[n-1].EndedAt, t.attempts[n-1].Error = now, text
	}
}

// leased returns the task of a lease, with mu held.
func (b *backend) leased(ctx context.Context, id, lease string) (*task, error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	if t := b.tasks[id]; t != nil && t.lease != "" && t.lease == lease {
		return t, nil
	}
	b.mu.Unlock()
	return nil, tasks.ErrLeaseLost
}

func (b *backend) Extend(ctx context.Context, id, lease string, by time.Duration) (time.Time, error) {
	t, err := b.leased(ctx, id, lease)
	if err != nil {
		return time.Time{}, err
	}
	defer b.mu.Unlock()
	t.leaseUntil = b.now().Add(by).Truncate(time.Millisecond).UTC()
	return t.leaseUntil, nil
}

func (b *backend) Finish(ctx context.Context, o tasks.Outcome, _ bool) error {
	t, err := b.leased(ctx, o.ID, o.Lease)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	b.set(t, o.Status)
	t.report(o.Result, o.Error)
	if o.Status == tasks.Pending {
		t.runAt = b.now().Add(o.Delay).Truncate(time.Millisecond)
	}
	t.endAttempt(b.milli(), o.Error)
	return nil
}

func (b *backend) Holds(ctx context.Context, id, lease string) (bool, error) {
	if err := b.begin(ctx); err != nil {
		return false, err
	}
	defer b.mu.Unlock()
	t := b.tasks[id]
	return t != nil && t.lease == lease, nil
}

func (b *backend) Progress(ctx context.Context, id, lease string, result json.RawMessage, _ bool) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.mu.Unlock()
	t := b.tasks[id]
	switch {
	case lease != "" && (t == nil || t.lease != lease):
		return tasks.ErrLeaseLost
	case t == nil:
		return tasks.ErrNotFound
	case t.Status != tasks.Processing:
		return &tasks.TransitionError{ID: id, From: t.Status, To: tasks.Processing}
	}
	t.report(result, "")
	t.UpdatedAt = b.second()
	b.changed(id)
	return nil
}

func (b *backend) Attempts(ctx context.Context, id string) ([]tasks.Attempt, error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	t := b.tasks[id]
	if t == nil {
		return nil, tasks.ErrNotFound
	}
	return slices.Clone(t.attempts), nil
}
