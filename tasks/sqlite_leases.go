package tasks

import (
	"context"
	"encoding/json"
	"time"
)

// Extend is one statement.
func (b *sqliteBackend) Extend(ctx context.Context, id, lease string, by time.Duration) (time.Time, error) {
	if err := b.settleClock(ctx); err != nil {
		return time.Time{}, err
	}
	var until time.Time
	err := b.job(ctx, false, func(c *conn) (err error) {
		until, err = extend(c, b.now(), id, lease, by)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	return until, nil
}

func extend(on statementer, now time.Time, id, lease string, by time.Duration) (until time.Time, err error) {
	until = now.Add(by).Truncate(time.Millisecond).UTC()
	return until, leased(on.exec("UPDATE task_leases SET lease_until=?1, leased_at=?2, shared=0 WHERE id=?3 AND lease=?4",
		[]any{until.UnixMilli(), now.UnixMilli(), id, lease}))
}

// holdsLease is the condition that a task has that lease, or that none is asked for.
const holdsLease = "(?4='' OR EXISTS(SELECT 1 FROM task_leases l WHERE l.id=?3 AND l.lease=?4))"

// Holds takes no write lock.
func (b *sqliteBackend) Holds(ctx context.Context, id, lease string) (held bool, err error) {
	err = b.read(ctx, func(r *reader) error {
		defer r.holds.Reset()
		bind(r.holds, []any{id, lease})
		held = r.holds.Step()
		return r.holds.Err()
	})
	return held, err
}

// Progress leaves the lease as it is.
func (b *sqliteBackend) Progress(ctx context.Context, id, lease string, result json.RawMessage, durable bool) error {
	return b.largeJob(ctx, durable, len(result), func(c *conn) error { return progress(c, b.now(), id, lease, result) })
}

func progress(on statementer, now time.Time, id, lease string, result json.RawMessage) error {
	return processing(on, id, lease, "UPDATE tasks SET result=?1, updated_at=?2 WHERE id=?3 AND status='processing' AND "+holdsLease,
		string(result), now.Unix(), id, lease)
}

// Report is like Progress.
func (b *sqliteBackend) Report(ctx context.Context, id, lease string, p Advance, durable bool) error {
	return b.job(ctx, durable, func(c *conn) error { return report(c, b.now(), id, lease, p) })
}

func report(on statementer, now time.Time, id, lease string, p Advance) error {
	return processing(on, id, lease, "UPDATE tasks SET done=?1, total=?5, note=?6, updated_at=?2 WHERE id=?3 AND status='processing' AND "+holdsLease,
		p.Done, now.Unix(), id, lease, p.Total, p.Note)
}

// processing runs a statement that changes a task that is Processing, and whose holder's lease is that one unless it is empty.
func processing(on statementer, id, lease, sql string, args ...any) error {
	n, err := on.exec(sql, args)
	if n > 0 || err != nil {
		return err
	}
	if lease != "" {
		return ErrLeaseLost
	}
	status, found, err := on.text(statusOf, []any{id})
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return err
	}
	return &TransitionError{ID: id, From: Status(status), To: Processing}
}

// leased says what it means that a statement for the holder of a lease has changed nothing.
func leased(n int, err error) error {
	if err == nil && n == 0 {
		err = ErrLeaseLost
	}
	return err
}

// Finish checks the lease and ends the attempt in one job. The trigger on the status deletes the lease.
func (b *sqliteBackend) Finish(ctx context.Context, o Outcome, durable bool) error {
	return b.largeJob(ctx, durable, len(o.Result), func(c *conn) error { return finish(c, b.now(), o) })
}

func finish(on statementer, now time.Time, o Outcome) error {
	var result, text, runAt, delayedAt, endedAt any
	if o.Result != nil {
		result = string(o.Result)
	}
	if o.Error != "" {
		text = o.Error
	}
	if o.Status == Pending && o.Delay > 0 {
		runAt, delayedAt = now.Add(o.Delay).UnixMilli(), now.UnixMilli()
	}
	if o.Status.Final() {
		endedAt = now.UnixMilli()
	}
	lease, _, err := on.text("SELECT lease FROM task_leases WHERE id=?1", []any{o.ID})
	if err == nil && lease != o.Lease {
		err = ErrLeaseLost
	}
	if err != nil {
		return err
	}
	// Before the trigger finds it open.
	if err := endAttempt(on, o.ID, now, text, o.Uncounted); err != nil {
		return err
	}
	return leased(on.exec(`UPDATE tasks SET status=?1, result=coalesce(?2, result), error=coalesce(?3, error), run_at=?4, delayed_at=?5,
		ended_at=?6, uncounted=uncounted+?7, suspect=0, updated_at=?8 WHERE id=?9`,
		[]any{string(o.Status), result, text, runAt, delayedAt, endedAt, boolInt(o.Uncounted), now.Unix(), o.ID}))
}

func endAttempt(on statementer, id string, now time.Time, text any, uncounted bool) error {
	_, err := on.exec("UPDATE task_attempts SET ended_at=max(?1, started_at), error=?2, uncounted=?3 WHERE id=?4 AND ended_at IS NULL",
		[]any{now.UnixMilli(), text, boolInt(uncounted), id})
	return err
}
