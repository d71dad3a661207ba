package memory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

func (b *backend) Claim(ctx context.Context, q tasks.ClaimQuery) (tasks.Claimed, error) {
	if err := b.begin(ctx); err != nil {
		return tasks.Claimed{}, err
	}
	defer b.mu.Unlock()
	b.takeBack(q)
	isolated := false
	for _, t := range b.tasks {
		isolated = isolated || t.lease != "" && t.held && t.worker == q.Worker
	}
	var next *task
	for _, t := range b.tasks {
		if t.Status == tasks.Pending && slices.Contains(q.Types, t.Type) && !t.RunAt.After(b.now()) &&
			!(isolated && t.suspect) && b.open(t.Type) && (next == nil || t.first(next)) {
			next = t
		}
	}
	if next == nil {
		return tasks.Claimed{}, tasks.ErrNoTask
	}
	b.set(next, tasks.Processing)
	next.Attempts++
	next.StartedAt, next.Cancelled = b.milli(), false
	next.lease, next.leaseUntil = rand.Text(), b.now().Add(q.Lease).Truncate(time.Millisecond).UTC()
	next.worker, next.held = q.Worker, next.suspect
	next.attempts = append(next.attempts, tasks.Attempt{Number: next.Attempts, StartedAt: b.milli()})
	if l := b.limits[next.Type]; l != nil {
		l.take(b.now())
	}
	return tasks.Claimed{Info: next.Info, Lease: next.lease, LeaseUntil: next.leaseUntil, Input: slices.Clone(next.new.Input),
		MaxAttempts: next.new.MaxAttempts, Backoff: next.new.Backoff, Timeout: next.new.Timeout}, nil
}

// first reports whether a task is claimed before another.
func (t *task) first(other *task) bool {
	at := func(t *task) time.Time { return t.CreatedAt.Add(-time.Duration(t.Priority) * tasks.PriorityAge) }
	if !at(t).Equal(at(other)) {
		return at(t).Before(at(other))
	}
	return t.seq < other.seq
}

// takeBack ends leases in the order in which they expired.
func (d *DB) takeBack(q tasks.ClaimQuery) {
	const text = "lease expired"
	var expired []*task
	for _, t := range d.tasks {
		if t.lease != "" && !t.leaseUntil.After(d.now()) && slices.Contains(q.Types, t.Type) {
			expired = append(expired, t)
		}
	}
	slices.SortFunc(expired, func(a, b *task) int {
		return cmp.Or(a.leaseUntil.Compare(b.leaseUntil), cmp.Compare(a.ID, b.ID))
	})
	for _, t := range expired {
		counts := t.held || !t.shared
		for _, other := range d.tasks {
			if other != t && other.lease != "" && other.worker == t.worker {
				other.shared = true
				counts = t.held
			}
		}
		if !counts {
			t.Uncounted++
		}
		most := t.new.MaxAttempts
		if most == 0 {
			most = q.MaxAttempts
		}
		status := tasks.Pending
		if counts && t.Attempts-t.Uncounted >= most {
			status = tasks.Error
		}
		t.endAttempt(d.milli(), text, !counts)
		d.set(t, status)
		t.Error, t.suspect = text, true
		if status == tasks.Pending {
			d.delay(t, q.Backoff(max(1, t.Attempts-t.Uncounted), t.new.Backoff))
		}
	}
}

func (d *DB) delay(t *task, by time.Duration) {
	if by > 0 {
		t.RunAt = d.now().Add(by).Truncate(time.Millisecond).UTC()
	}
}

// endAttempt ends the last attempt, if it hasn't ended.
func (t *task) endAttempt(now time.Time, text string, uncounted bool) {
	if n := len(t.attempts); n > 0 && t.attempts[n-1].EndedAt.IsZero() {
		a := &t.attempts[n-1]
		a.EndedAt, a.Error, a.Uncounted = now, text, uncounted
		if now.Before(a.StartedAt) {
			a.EndedAt = a.StartedAt
		}
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
	t.shared = false
	t.leaseUntil = b.now().Add(by).Truncate(time.Millisecond).UTC()
	return t.leaseUntil, nil
}

func (b *backend) Finish(ctx context.Context, o tasks.Outcome, _ bool) error {
	t, err := b.leased(ctx, o.ID, o.Lease)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	t.endAttempt(b.milli(), o.Error, o.Uncounted)
	b.set(t, o.Status)
	t.report(o.Result, o.Error)
	t.suspect = false
	if o.Uncounted {
		t.Uncounted++
	}
	if o.Status == tasks.Pending {
		b.delay(t, o.Delay)
	}
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
	return b.processing(ctx, id, lease, func(t *task) { t.report(result, "") })
}

func (b *backend) Report(ctx context.Context, id, lease string, a tasks.Advance, _ bool) error {
	return b.processing(ctx, id, lease, func(t *task) { t.Advance = a })
}

func (b *backend) processing(ctx context.Context, id, lease string, change func(*task)) error {
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
	change(t)
	t.UpdatedAt = b.second()
	b.changed(id)
	return nil
}

func (b *backend) Step(ctx context.Context, id, step string) (json.RawMessage, error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	if t := b.tasks[id]; t != nil {
		return slices.Clone(t.steps[step]), nil
	}
	return nil, nil
}

func (b *backend) SetStep(ctx context.Context, id, lease, step string, result json.RawMessage, _ bool) error {
	t, err := b.leased(ctx, id, lease)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	if t.steps == nil {
		t.steps = map[string][]byte{}
	}
	t.steps[step] = slices.Clone(result)
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
