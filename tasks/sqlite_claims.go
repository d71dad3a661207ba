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
	if b.readOnly {
		return Claimed{}, b.job(ctx, false, nil) // at once, also if there is nothing to claim
	}
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
	err := b.job(ctx, false, func(conn *conn) error {
		c = Claimed{} // it may be the second try
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
func claim(conn *conn, next candidate, now time.Time, q ClaimQuery) (c Claimed, err error) {
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

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
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
