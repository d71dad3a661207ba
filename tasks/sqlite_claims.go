package tasks

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Claim is one job, in a transaction that has the write lock: nobody else sees the task in between.
func (b *sqliteBackend) Claim(ctx context.Context, types []Type, lease time.Duration, maxAttempts int) (Claimed, error) {
	var c Claimed
	err := b.job(ctx, false, func(conn *sqlite3.Conn) error {
		now := b.now()
		_, err := takeBack(conn, now, types, maxAttempts)
		if err != nil {
			return err
		}
		for c.ID == "" {
			id, err := oldest(conn, now, types)
			if err != nil || id == "" {
				return err
			}
			if c, err = claim(conn, id, now, lease); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Claimed{}, err
	}
	if c.ID == "" {
		return Claimed{}, ErrNoTask
	}
	return c, nil
}

// claim leases a task. One that can't be read ends as [Error], so that it doesn't keep others from their turn,
// and what is returned is empty.
func claim(conn *sqlite3.Conn, id string, now time.Time, lease time.Duration) (c Claimed, err error) {
	c.Lease, c.LeaseUntil = crand.Text(), now.Add(lease).Truncate(time.Millisecond).UTC()
	var unread error
	err = each(conn, `UPDATE tasks SET status='processing', attempts=attempts+1, run_at=NULL, lease=?, lease_until=?, updated_at=?
		WHERE id=? RETURNING `+infoColumns,
		[]any{c.Lease, c.LeaseUntil.UnixMilli(), now.Unix(), id}, func(s *sqlite3.Stmt) error {
			c.Info, unread = info(s)
			return nil
		})
	// Somebody who changed the task's status has left the attempt open.
	if err := errors.Join(err, endAttempt(conn, id, now, ErrLeaseLost.Error())); err != nil {
		return Claimed{}, err
	}
	if unread != nil {
		_, err := execute(conn, "UPDATE tasks SET status='error', error=?, attempts=attempts-1, lease=NULL, lease_until=NULL WHERE id=?",
			[]any{unread.Error(), id})
		return Claimed{}, err
	}
	_, err = execute(conn, `INSERT INTO task_attempts(id, attempt, started_at) VALUES(?, ?, ?)
		ON CONFLICT(id, attempt) DO UPDATE SET started_at=excluded.started_at, ended_at=NULL, error=NULL`,
		[]any{id, c.Attempts, now.UnixMilli()})
	return c, err
}

// takeBack ends the leases that have expired. It returns the tasks that it has changed.
func takeBack(c *sqlite3.Conn, now time.Time, types []Type, maxAttempts int) (ids []string, err error) {
	args := []any{maxAttempts, leaseExpired, now.Unix(), now.UnixMilli()}
	err = each(c, `UPDATE tasks SET status=CASE WHEN attempts<? THEN 'pending' ELSE 'error' END, error=?,
		run_at=NULL, lease=NULL, lease_until=NULL, updated_at=?
		WHERE status='processing' AND lease_until<=?`+in("type", types, &args)+" RETURNING id",
		args, func(s *sqlite3.Stmt) error {
			ids = append(ids, s.ColumnText(0))
			return nil
		})
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
		err := each(c, `SELECT created_at, id FROM tasks WHERE status='pending' AND type=? AND id<>'' AND (run_at IS NULL OR run_at<=?)
			ORDER BY created_at, id LIMIT 1`, []any{string(t), now.UnixMilli()}, func(s *sqlite3.Stmt) error {
			at, i := s.ColumnInt64(0), s.ColumnText(1)
			if id == "" || at < created || at == created && i < id {
				created, id = at, i
			}
			return nil
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
	err := b.largeJob(ctx, durable, len(result), func(c *sqlite3.Conn) error {
		n, err := execute(c, `UPDATE tasks SET result=?, updated_at=? WHERE id=? AND status='processing' AND (?4='' OR lease=?4)`,
			[]any{string(result), b.now().Unix(), id, lease})
		if n > 0 || err != nil {
			return err
		}
		if lease != "" {
			return ErrLeaseLost
		}
		err = ErrNotFound
		return errors.Join(each(c, statusOf, []any{id}, func(s *sqlite3.Stmt) error {
			err = &TransitionError{ID: id, From: Status(s.ColumnText(0)), To: Processing}
			return nil
		}), err)
	})
	return err
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
	err := b.largeJob(ctx, durable, len(o.Result), func(c *sqlite3.Conn) error {
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
	return err
}

// Attempts reads the task too: to tell one without attempts from one that isn't there,
// and to leave out those at an earlier task of the same id.
func (b *sqliteBackend) Attempts(ctx context.Context, id string) (list []Attempt, err error) {
	found := false
	err = b.query(ctx, `SELECT attempt, started_at, ended_at, a.error FROM tasks LEFT JOIN task_attempts a
		ON a.id=tasks.id AND attempt<=attempts WHERE tasks.id=? ORDER BY attempt`, []any{id}, func(s *sqlite3.Stmt) error {
		found = true
		if s.ColumnType(0) == sqlite3.NULL {
			return nil
		}
		a := Attempt{Number: s.ColumnInt(0), StartedAt: time.UnixMilli(s.ColumnInt64(1)).UTC(), Error: s.ColumnText(3)}
		if s.ColumnType(2) != sqlite3.NULL {
			a.EndedAt = time.UnixMilli(s.ColumnInt64(2)).UTC()
		}
		list = append(list, a)
		return nil
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return list, err
}
