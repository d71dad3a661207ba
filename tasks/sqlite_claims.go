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
// It looks without that lock first, so that workers without a task don't keep others from writing.
func (b *sqliteBackend) Claim(ctx context.Context, q ClaimQuery) (Claimed, error) {
	if err := b.settleClock(ctx); err != nil {
		return Claimed{}, err
	}
	found := false
	if err := b.read(ctx, func(r *reader) (err error) {
		found, err = claimable(r.conn, b.now(), q)
		return err
	}); err != nil {
		return Claimed{}, err
	}
	if !found {
		return Claimed{}, ErrNoTask
	}
	var c Claimed
	err := b.job(ctx, false, func(conn *sqlite3.Conn) error {
		now := b.now()
		_, err := takeBack(conn, now, q)
		if err == nil {
			err = promote(conn, now, q.Types)
		}
		for err == nil && c.ID == "" {
			var next candidate
			if next, err = first(conn, now, q); err != nil || !next.found {
				break
			}
			c, err = claim(conn, next, now, q)
		}
		return err
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
// and what is returned is empty. Either way the task isn't the first one any more.
func claim(conn *sqlite3.Conn, next candidate, now time.Time, q ClaimQuery) (c Claimed, err error) {
	c.Lease, c.LeaseUntil = crand.Text(), now.Add(q.Lease).Truncate(time.Millisecond).UTC()
	unread := errors.New("the task has gone")
	suspect := 0
	err = each(conn, `UPDATE tasks SET status='processing', attempts=attempts+1, run_at=NULL, delayed_at=NULL, updated_at=?, started_at=?,
		ended_at=NULL, cancelled=0 WHERE rowid=? RETURNING `+infoColumns+", suspect, max_attempts, backoff, timeout",
		[]any{now.Unix(), now.UnixMilli(), next.rowid}, func(s *sqlite3.Stmt) error {
			c.Info, unread = info(s)
			suspect = s.ColumnInt(infoCount)
			c.MaxAttempts = s.ColumnInt(infoCount + 1)
			c.Backoff = time.Duration(s.ColumnInt64(infoCount+2)) * time.Millisecond
			c.Timeout = time.Duration(s.ColumnInt64(infoCount+3)) * time.Millisecond
			return nil
		})
	if err != nil {
		return Claimed{}, err
	}
	if unread != nil {
		n, err := execute(conn, "UPDATE tasks SET status='error', error=?, attempts=attempts-1, ended_at=? WHERE rowid=?",
			[]any{unread.Error(), now.UnixMilli(), next.rowid})
		if err == nil && n == 0 {
			err = unread // no loop without progress
		}
		return Claimed{}, err
	}
	if _, err := execute(conn, `INSERT INTO task_leases(id, type, worker, lease, leased_at, lease_until, suspect)
		VALUES(?, ?, ?, ?, ?, ?, ?)`,
		[]any{c.ID, string(c.Type), q.Worker, c.Lease, now.UnixMilli(), c.LeaseUntil.UnixMilli(), suspect}); err != nil {
		return Claimed{}, err
	}
	if _, err := execute(conn, `INSERT INTO task_attempts(id, attempt, started_at) VALUES(?, ?, ?)
		ON CONFLICT(id, attempt) DO UPDATE SET started_at=excluded.started_at, ended_at=NULL, error=NULL, uncounted=0`,
		[]any{c.ID, c.Attempts, now.UnixMilli()}); err != nil {
		return Claimed{}, err
	}
	if err := takeToken(conn, c.Type, now); err != nil {
		return Claimed{}, err
	}
	err = each(conn, selectInput, []any{c.ID}, func(s *sqlite3.Stmt) error {
		c.Input = json.RawMessage(s.ColumnText(0))
		return nil
	})
	return c, err
}

func endAttempt(c *sqlite3.Conn, id string, now time.Time, text any, uncounted bool) error {
	_, err := execute(c, "UPDATE task_attempts SET ended_at=max(?, started_at), error=?, uncounted=? WHERE id=? AND ended_at IS NULL",
		[]any{now.UnixMilli(), text, boolInt(uncounted), id})
	return err
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Extend is one statement.
func (b *sqliteBackend) Extend(ctx context.Context, id, lease string, by time.Duration) (time.Time, error) {
	if err := b.settleClock(ctx); err != nil {
		return time.Time{}, err
	}
	var until time.Time
	err := b.job(ctx, false, func(c *sqlite3.Conn) error {
		now := b.now()
		until = now.Add(by).Truncate(time.Millisecond).UTC()
		return leased(execute(c, "UPDATE task_leases SET lease_until=?, leased_at=?, shared=0 WHERE id=? AND lease=?",
			[]any{until.UnixMilli(), now.UnixMilli(), id, lease}))
	})
	if err != nil {
		return time.Time{}, err
	}
	return until, nil
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
	return b.processing(ctx, id, lease, durable, len(result), "UPDATE tasks SET result=?1, updated_at=?2 WHERE id=?3 AND status='processing' AND "+holdsLease,
		string(result))
}

// Report is like Progress.
func (b *sqliteBackend) Report(ctx context.Context, id, lease string, p Advance, durable bool) error {
	return b.processing(ctx, id, lease, durable, 0, "UPDATE tasks SET done=?1, total=?5, note=?6, updated_at=?2 WHERE id=?3 AND status='processing' AND "+holdsLease,
		p.Done, p.Total, p.Note)
}

// processing runs a statement that changes a task that is Processing, with ?2 the time, ?3 the id and ?4 the lease.
func (b *sqliteBackend) processing(ctx context.Context, id, lease string, durable bool, bytes int, sql string, arg any, args ...any) error {
	err := b.largeJob(ctx, durable, bytes, func(c *sqlite3.Conn) error {
		n, err := execute(c, sql, append([]any{arg, b.now().Unix(), id, lease}, args...))
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

// Finish checks the lease and ends the attempt in one job. The trigger on the status deletes the lease.
func (b *sqliteBackend) Finish(ctx context.Context, o Outcome, durable bool) error {
	err := b.largeJob(ctx, durable, len(o.Result), func(c *sqlite3.Conn) error {
		now := b.now()
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
		held := 0
		if err := each(c, "SELECT 1 FROM task_leases WHERE id=? AND lease=?", []any{o.ID, o.Lease}, func(*sqlite3.Stmt) error {
			held++
			return nil
		}); err != nil {
			return err
		}
		if held == 0 {
			return ErrLeaseLost
		}
		// Before the trigger finds it open.
		if err := endAttempt(c, o.ID, now, text, o.Uncounted); err != nil {
			return err
		}
		return leased(execute(c, `UPDATE tasks SET status=?, result=coalesce(?, result), error=coalesce(?, error), run_at=?, delayed_at=?,
			ended_at=?, uncounted=uncounted+?, suspect=0, updated_at=? WHERE id=?`,
			[]any{string(o.Status), result, text, runAt, delayedAt, endedAt, boolInt(o.Uncounted), now.Unix(), o.ID}))
	})
	return err
}

// Attempts reads the task too: to tell one without attempts from one that isn't there,
// and to leave out those at an earlier task of the same id.
func (b *sqliteBackend) Attempts(ctx context.Context, id string) (list []Attempt, err error) {
	found := false
	err = b.query(ctx, `SELECT attempt, a.started_at, a.ended_at, a.error, a.uncounted FROM tasks LEFT JOIN task_attempts a
		ON a.id=tasks.id AND attempt<=attempts WHERE tasks.id=? ORDER BY attempt`, []any{id}, func(s *sqlite3.Stmt) error {
		found = true
		if s.ColumnType(0) == sqlite3.NULL {
			return nil
		}
		a := Attempt{Number: s.ColumnInt(0), StartedAt: time.UnixMilli(s.ColumnInt64(1)).UTC(), Error: s.ColumnText(3), Uncounted: s.ColumnBool(4)}
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
