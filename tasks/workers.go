package tasks

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	// MinLease and MaxLease bound how long a task may be leased at once.
	MinLease = time.Second
	MaxLease = 24 * time.Hour
	// DefaultMaxAttempts is how often a task is handed out before it is [Error].
	DefaultMaxAttempts = 5
	// MaxErrorText is how much of an attempt's error is kept, in bytes.
	MaxErrorText = 4 << 10
)

var (
	// ErrNoTask is returned by [Store.Claim] if there is nothing to do at the moment.
	ErrNoTask = errors.New("no task to claim")
	// ErrLeaseLost is returned to a worker that doesn't hold its task any more: the lease expired and was taken back,
	// or the task was deleted or its status changed by others. What the worker has done is void.
	ErrLeaseLost = errors.New("lease lost")
)

// leaseExpired is the error of an attempt that nobody reported on in time.
const leaseExpired = "lease expired"

// Claimed is a task that a worker holds.
type Claimed struct {
	Info
	Lease      string    // a secret of its holder
	LeaseUntil time.Time // others may take the task after that
}

// Attempt is one time that a task was claimed.
type Attempt struct {
	Number    int // from 1
	StartedAt time.Time
	EndedAt   time.Time // zero if nobody has reported on it
	Error     string    // empty if it succeeded or hasn't ended
}

// ClaimBackend is what a [Backend] does for workers.
type ClaimBackend interface {
	// Claim hands out the oldest task of these types that is [Pending] and due, or returns [ErrNoTask].
	// It first takes back those whose lease has expired: they are Pending again, or Error after maxAttempts.
	Claim(ctx context.Context, types []Type, lease time.Duration, maxAttempts int) (Claimed, error)
	// Extend makes a lease end that long from now and returns when that is, or [ErrLeaseLost].
	Extend(ctx context.Context, id, lease string, by time.Duration) (time.Time, error)
	// Finish ends an attempt and its lease, or returns [ErrLeaseLost].
	Finish(ctx context.Context, o Outcome, durable bool) error
	// Attempts returns a task's attempts in order, or [ErrNotFound].
	Attempts(ctx context.Context, id string) ([]Attempt, error)
}

// Outcome is what came of an attempt.
type Outcome struct {
	ID     string
	Lease  string
	Status Status          // from now on
	Result json.RawMessage // nil leaves the task's as it is
	Error  string          // empty if it succeeded
	Delay  time.Duration   // until the next attempt, if the status is Pending
}

func checkLease(d time.Duration) error {
	if d < MinLease || d > MaxLease {
		return &InputError{"lease", d.String(), "1s to 24h"}
	}
	return nil
}

// Claim hands out the oldest task of these types that is [Pending], which is [Processing] then,
// and nobody else's until the lease ends: 1s to 24h from now. No types are all those that the store accepts.
// It returns [ErrNoTask] if there is none. A task that failed isn't handed out before its backoff is over.
//
// A worker that needs longer calls [Store.Extend]; it reports by [Store.Complete] or [Store.Fail].
// Once a lease has expired, the next Claim for that type takes it back:
// the attempt has failed, and the task is Pending again, or [Error] after the maximum of attempts.
// So a task may be worked on more than once. The clocks of hosts that share a database must agree well
// compared to the lease.
//
// It doesn't wait for durability: a power cut, which ends the worker too, may turn a task back to Pending.
// A call that is cancelled may have claimed a task that nobody knows of ([ErrOutcomeUnknown]): it comes back with its lease.
func (s *Store) Claim(ctx context.Context, lease time.Duration, types ...Type) (Claimed, error) {
	if err := checkLease(lease); err != nil {
		return Claimed{}, err
	}
	for _, t := range types {
		if err := s.checkType(t); err != nil {
			return Claimed{}, err
		}
	}
	if len(types) == 0 {
		types = s.types
	}
	c, err := s.backend.Claim(ctx, types, lease, s.workers.maxAttempts)
	if err != nil && !errors.Is(err, ErrNoTask) {
		err = fmt.Errorf("claim task: %w", err)
	}
	return c, err
}

// Extend makes the lease end that long from now, 1s to 24h, and sets c.LeaseUntil.
// It returns [ErrLeaseLost] if the task isn't the worker's any more.
func (s *Store) Extend(ctx context.Context, c *Claimed, lease time.Duration) error {
	if err := errors.Join(checkID(c.ID), checkLease(lease)); err != nil {
		return err
	}
	until, err := s.backend.Extend(ctx, c.ID, c.Lease, lease)
	if err == nil {
		c.LeaseUntil = until
	}
	return taskError("extend lease of", c.ID, err)
}

// Complete sets the task to [Completed] with that result, as [Store.Update] does.
// It returns [ErrLeaseLost] if the task isn't the worker's any more.
// Of the options, those about durability have an effect.
func (s *Store) Complete(ctx context.Context, c Claimed, result any, opts ...CallOption) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	raw, err := s.encode(result)
	if err != nil {
		return err
	}
	o := Outcome{ID: c.ID, Lease: c.Lease, Status: Completed, Result: raw}
	return taskError("complete", c.ID, s.backend.Finish(ctx, o, !s.call(opts).relaxed))
}

// Fail ends the attempt with that error, of which the first [MaxErrorText] bytes are kept.
// The task is [Pending] again, to be claimed after its backoff (see [Backoff]),
// or [Error] after the maximum of attempts (see [MaxAttempts]).
// It returns [ErrLeaseLost] if the task isn't the worker's any more.
// Of the options, those about durability have an effect.
func (s *Store) Fail(ctx context.Context, c Claimed, cause error, opts ...CallOption) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if cause == nil {
		return &InputError{"cause", "nil", "an error"}
	}
	o := Outcome{ID: c.ID, Lease: c.Lease, Status: Error, Error: errorText(cause)}
	if c.Attempts < s.workers.maxAttempts {
		o.Status, o.Delay = Pending, max(0, s.workers.backoff(c.Attempts))
	}
	return taskError("fail", c.ID, s.backend.Finish(ctx, o, !s.call(opts).relaxed))
}

// Attempts returns the attempts at a task, the first one first, or [ErrNotFound]. Their times are in milliseconds.
func (s *Store) Attempts(ctx context.Context, id string) ([]Attempt, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	list, err := s.backend.Attempts(ctx, id)
	return list, taskError("get attempts at", id, err)
}

// job runs a job of the writer. What it sets may be read only if there is no error:
// a caller that is cancelled returns while the job runs.
func (b *sqliteBackend) job(ctx context.Context, durable bool, job func(*sqlite3.Conn) error) error {
	return b.writer.do(ctx, &request{durable: durable, job: job})[0]
}

// Claim is one job, in a transaction that has the write lock: nobody else sees the task in between.
func (b *sqliteBackend) Claim(ctx context.Context, types []Type, lease time.Duration, maxAttempts int) (Claimed, error) {
	var c Claimed
	var changed []string
	err := b.job(ctx, false, func(conn *sqlite3.Conn) error {
		now := b.now()
		ids, err := takeBack(conn, now, types, maxAttempts)
		if err != nil {
			return err
		}
		id, err := oldest(conn, now, types)
		if err != nil || id == "" {
			changed = ids
			return err
		}
		changed = append(ids, id)
		c.Lease, c.LeaseUntil = crand.Text(), now.Add(lease).Truncate(time.Millisecond).UTC()
		err = each(conn, `UPDATE tasks SET status='processing', attempts=attempts+1, run_at=NULL, lease=?, lease_until=?, updated_at=?
			WHERE id=? RETURNING `+infoColumns,
			[]any{c.Lease, c.LeaseUntil.UnixMilli(), now.Unix(), id}, func(s *sqlite3.Stmt) { c.Info = info(s) })
		if err != nil {
			return err
		}
		// Somebody who changed the task's status has left the attempt open.
		if err := endAttempt(conn, id, now, ErrLeaseLost.Error()); err != nil {
			return err
		}
		_, err = execute(conn, `INSERT INTO task_attempts(id, attempt, started_at) VALUES(?, ?, ?)
			ON CONFLICT(id, attempt) DO UPDATE SET started_at=excluded.started_at, ended_at=NULL, error=NULL`,
			[]any{id, c.Attempts, now.UnixMilli()})
		return err
	})
	if err != nil {
		return Claimed{}, err
	}
	for _, id := range changed {
		b.notifier.changed(id)
	}
	if c.ID == "" {
		return Claimed{}, ErrNoTask
	}
	return c, nil
}

// takeBack ends the leases that have expired. It returns the tasks that it has changed.
func takeBack(c *sqlite3.Conn, now time.Time, types []Type, maxAttempts int) (ids []string, err error) {
	args := []any{maxAttempts, leaseExpired, now.Unix(), now.UnixMilli()}
	err = each(c, `UPDATE tasks SET status=CASE WHEN attempts<? THEN 'pending' ELSE 'error' END, error=?,
		run_at=NULL, lease=NULL, lease_until=NULL, updated_at=?
		WHERE status='processing' AND lease_until<=?`+in("type", types, &args)+" RETURNING id",
		args, func(s *sqlite3.Stmt) { ids = append(ids, s.ColumnText(0)) })
	for _, id := range ids {
		err = errors.Join(err, endAttempt(c, id, now, leaseExpired))
	}
	if err != nil {
		return nil, err
	}
	// Tasks that others have changed keep a lease that means nothing. They shall not pile up in the index.
	_, err = execute(c, "UPDATE tasks SET lease=NULL, lease_until=NULL WHERE lease_until<=? AND status<>'processing'",
		[]any{now.UnixMilli()})
	return ids, err
}

// oldest returns the task to claim, or "". It looks for each type by itself, as the index does:
// then it never walks past tasks that are done.
func oldest(c *sqlite3.Conn, now time.Time, types []Type) (id string, err error) {
	var created int64
	for _, t := range types {
		err := each(c, `SELECT created_at, id FROM tasks WHERE status='pending' AND type=? AND (run_at IS NULL OR run_at<=?)
			ORDER BY created_at, id LIMIT 1`, []any{string(t), now.UnixMilli()}, func(s *sqlite3.Stmt) {
			at, i := s.ColumnInt64(0), s.ColumnText(1)
			if id == "" || at < created || at == created && i < id {
				created, id = at, i
			}
		})
		if err != nil {
			return "", err
		}
	}
	return id, nil
}

func endAttempt(c *sqlite3.Conn, id string, now time.Time, text any) error {
	_, err := execute(c, "UPDATE task_attempts SET ended_at=?, error=? WHERE id=? AND ended_at IS NULL",
		[]any{now.UnixMilli(), text, id})
	return err
}

// Extend is one statement.
func (b *sqliteBackend) Extend(ctx context.Context, id, lease string, by time.Duration) (time.Time, error) {
	var until time.Time
	err := b.job(ctx, false, func(c *sqlite3.Conn) error {
		until = b.now().Add(by).Truncate(time.Millisecond).UTC()
		return leased(execute(c, "UPDATE tasks SET lease_until=? WHERE id=? AND status='processing' AND lease=?",
			[]any{until.UnixMilli(), id, lease}))
	})
	if err != nil {
		return time.Time{}, err
	}
	return until, nil
}

// leased says what it means that a statement for the holder of a lease has changed nothing.
func leased(n int, err error) error {
	if err == nil && n == 0 {
		err = ErrLeaseLost
	}
	return err
}

// Finish checks the lease and ends the attempt in one job.
func (b *sqliteBackend) Finish(ctx context.Context, o Outcome, durable bool) error {
	err := b.job(ctx, durable, func(c *sqlite3.Conn) error {
		now := b.now()
		var result, text, runAt any
		if o.Result != nil {
			result = string(o.Result)
		}
		if o.Error != "" {
			text = o.Error
		}
		if o.Status == Pending {
			runAt = now.Add(o.Delay).UnixMilli()
		}
		err := leased(execute(c, `UPDATE tasks SET status=?, result=coalesce(?, result), error=coalesce(?, error), run_at=?,
			lease=NULL, lease_until=NULL, updated_at=? WHERE id=? AND status='processing' AND lease=?`,
			[]any{string(o.Status), result, text, runAt, now.Unix(), o.ID, o.Lease}))
		if err != nil {
			return err
		}
		return endAttempt(c, o.ID, now, text)
	})
	if err == nil {
		b.notifier.changed(o.ID)
	}
	return err
}

// Attempts reads the task too: to tell one without attempts from one that isn't there,
// and to leave out those at an earlier task of the same id.
func (b *sqliteBackend) Attempts(ctx context.Context, id string) (list []Attempt, err error) {
	found := false
	err = b.query(ctx, `SELECT attempt, started_at, ended_at, a.error FROM tasks LEFT JOIN task_attempts a
		ON a.id=tasks.id AND attempt<=attempts WHERE tasks.id=? ORDER BY attempt`, []any{id}, func(s *sqlite3.Stmt) {
		found = true
		if s.ColumnType(0) == sqlite3.NULL {
			return
		}
		a := Attempt{Number: s.ColumnInt(0), StartedAt: time.UnixMilli(s.ColumnInt64(1)).UTC(), Error: s.ColumnText(3)}
		if s.ColumnType(2) != sqlite3.NULL {
			a.EndedAt = time.UnixMilli(s.ColumnInt64(2)).UTC()
		}
		list = append(list, a)
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return list, err
}

// each runs a statement and hands over its rows.
func each(c *sqlite3.Conn, sql string, args []any, row func(*sqlite3.Stmt)) error {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	defer s.Close()
	bind(s, args)
	for s.Step() {
		row(s)
	}
	return s.Err()
}
