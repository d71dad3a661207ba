package tasks

import (
	"math"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	// promoteAtOnce and takeBackAtOnce bound the work of one claim. What is left is the next one's.
	promoteAtOnce  = 64
	takeBackAtOnce = 64
)

// The statements that a claim looks with. Each is a step into an index, whatever the number of tasks.
const (
	selectReady   = "SELECT rowid, " + rankOrder + " FROM tasks INDEXED BY tasks_ready WHERE type=? AND " + whereReady + " ORDER BY " + rankOrder + ", rowid LIMIT 1"
	selectSuspect = "SELECT rowid, " + rankOrder + " FROM tasks INDEXED BY tasks_suspect WHERE type=? AND " + whereSuspect + " ORDER BY " + rankOrder + ", rowid LIMIT 1"
	selectDue     = "SELECT rowid FROM tasks INDEXED BY tasks_waiting WHERE type=? AND run_at<=? AND " + whereWaiting + " ORDER BY run_at LIMIT ?"
	selectExpired = "SELECT id, worker, suspect, shared FROM task_leases INDEXED BY task_leases_type WHERE type=? AND lease_until<=? ORDER BY lease_until LIMIT ?"
	selectOthers  = "SELECT 1 FROM task_leases WHERE worker=?1 AND id<>?2 LIMIT 1"
	selectIsolate = "SELECT 1 FROM task_leases WHERE worker=? AND suspect=1 LIMIT 1"
	selectRunning = "SELECT count(*) FROM (SELECT 1 FROM task_leases WHERE type=? LIMIT ?)"
	selectLimits  = "SELECT paused, max_running, rate, tokens, filled_at FROM task_types WHERE type=?"
	selectInput   = "SELECT input FROM task_inputs WHERE id=?"
	// selectAny finds out that there is nothing to do for a type, in one statement: idle workers ask it all the time.
	selectAny = "SELECT EXISTS(SELECT 1 FROM task_leases WHERE type=?1 AND lease_until<=?2)" +
		" OR EXISTS(SELECT 1 FROM tasks INDEXED BY tasks_ready WHERE type=?1 AND " + whereReady + ")" +
		" OR EXISTS(SELECT 1 FROM tasks INDEXED BY tasks_suspect WHERE type=?1 AND " + whereSuspect + ")" +
		" OR EXISTS(SELECT 1 FROM tasks INDEXED BY tasks_waiting WHERE type=?1 AND run_at<=?2 AND " + whereWaiting + ")"
	updateToken  = "UPDATE task_types SET tokens=?, filled_at=? WHERE type=?"
	updateShared = "UPDATE task_leases SET shared=1 WHERE worker=?1 AND id<>?2"
	updateReady  = "UPDATE tasks SET run_at=NULL, delayed_at=NULL WHERE rowid=?"
)

// candidate is a task that may be claimed.
type candidate struct {
	found       bool
	rank, rowid int64
}

// exists reports whether a query finds anything.
func exists(c *conn, sql string, args ...any) (found bool, err error) {
	err = each(c, sql, args, func(*sqlite3.Stmt) error {
		found = true
		return nil
	})
	return found, err
}

// claimable reports whether a claim has anything to do: a task to hand out, to take back, or one that has become due.
func claimable(c *conn, now time.Time, q ClaimQuery) (bool, error) {
	something := false
	for _, t := range q.Types {
		if err := each(c, selectAny, []any{string(t), now.UnixMilli()}, func(s *sqlite3.Stmt) error {
			something = something || s.ColumnBool(0)
			return nil
		}); err != nil {
			return false, err
		}
	}
	if !something {
		return false, nil
	}
	for _, t := range q.Types {
		if found, err := exists(c, selectExpired, string(t), now.UnixMilli(), 1); found || err != nil {
			return found, err
		}
	}
	next, err := first(c, now, q)
	if next.found || err != nil {
		return next.found, err
	}
	for _, t := range q.Types {
		open, err := open(c, t, now)
		if err != nil {
			return false, err
		}
		if !open {
			continue
		}
		if found, err := exists(c, selectDue, string(t), now.UnixMilli(), 1); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// first returns the task to claim. It looks for each type by itself, as the indexes do.
func first(c *conn, now time.Time, q ClaimQuery) (best candidate, err error) {
	isolated, err := exists(c, selectIsolate, q.Worker)
	if err != nil {
		return best, err
	}
	queries := []string{selectReady, selectSuspect}
	if isolated {
		queries = queries[:1] // of two suspects, nobody could say who has killed the worker
	}
	for _, t := range q.Types {
		if ok, err := open(c, t, now); !ok || err != nil {
			if err != nil {
				return candidate{}, err
			}
			continue
		}
		for _, sql := range queries {
			if err := each(c, sql, []any{string(t)}, func(s *sqlite3.Stmt) error {
				n := candidate{true, s.ColumnInt64(1), s.ColumnInt64(0)}
				if s.ColumnType(1) != sqlite3.INTEGER {
					n.rank = math.MinInt64 // a time that isn't one: it ends as an error
				}
				if !best.found || n.rank < best.rank || n.rank == best.rank && n.rowid < best.rowid {
					best = n
				}
				return nil
			}); err != nil {
				return candidate{}, err
			}
		}
	}
	return best, nil
}

// promote makes tasks that have become due ready, so that claims find them in their order.
func promote(c *conn, now time.Time, types []Type) error {
	for _, t := range types {
		var due []int64
		if err := each(c, selectDue, []any{string(t), now.UnixMilli(), promoteAtOnce}, func(s *sqlite3.Stmt) error {
			due = append(due, s.ColumnInt64(0))
			return nil
		}); err != nil {
			return err
		}
		for _, rowid := range due {
			if _, err := execute(c, updateReady, []any{rowid}); err != nil {
				return err
			}
		}
	}
	return nil
}

// expired is a lease that nobody has extended in time.
type expired struct {
	id, worker      string
	suspect, shared bool
}

// takeBack ends the leases that have expired. It returns the tasks that it has changed.
//
// Whose task has killed the worker isn't known if it had several. So an attempt counts only if the task was alone,
// or if it was the suspect one, of which a worker has one at a time. The other leases of the worker may end later:
// that it had more than they then show is kept with them, until they are extended, which shows that the worker lives.
func takeBack(c *conn, now time.Time, q ClaimQuery) (ids []string, err error) {
	for _, t := range q.Types {
		var list []expired
		if err := each(c, selectExpired, []any{string(t), now.UnixMilli(), takeBackAtOnce}, func(s *sqlite3.Stmt) error {
			list = append(list, expired{s.ColumnText(0), s.ColumnText(1), s.ColumnBool(2), s.ColumnBool(3)})
			return nil
		}); err != nil {
			return nil, err
		}
		for _, e := range list {
			// The one before may have changed it.
			if err := each(c, "SELECT shared FROM task_leases WHERE id=?", []any{e.id}, func(s *sqlite3.Stmt) error {
				e.shared = s.ColumnBool(0)
				return nil
			}); err != nil {
				return nil, err
			}
			if err := takeBackOne(c, now, q, e); err != nil {
				return nil, err
			}
			ids = append(ids, e.id)
		}
	}
	return ids, nil
}

func takeBackOne(c *conn, now time.Time, q ClaimQuery, e expired) error {
	others, err := exists(c, selectOthers, e.worker, e.id)
	if err != nil {
		return err
	}
	if others && e.worker != "" {
		if _, err := execute(c, updateShared, []any{e.worker, e.id}); err != nil {
			return err
		}
	}
	counts := e.suspect || e.worker == "" || !e.shared && !others
	// Before the trigger finds it open.
	if err := endAttempt(c, e.id, now, leaseExpired, !counts); err != nil {
		return err
	}
	var counted, most int
	var own time.Duration
	if err := each(c, "SELECT attempts-uncounted, max_attempts, backoff FROM tasks WHERE id=?", []any{e.id}, func(s *sqlite3.Stmt) error {
		counted, most, own = s.ColumnInt(0), s.ColumnInt(1), time.Duration(s.ColumnInt64(2))*time.Millisecond
		return nil
	}); err != nil {
		return err
	}
	if most == 0 {
		most = q.MaxAttempts
	}
	status, uncounted := Pending, 1
	var runAt, delayedAt, endedAt any
	if counts {
		uncounted = 0
	} else {
		counted--
	}
	if counts && counted >= most {
		status, endedAt = Error, now.UnixMilli()
	} else if d := max(0, q.Backoff(max(1, counted), own)); d > 0 {
		runAt, delayedAt = now.Add(d).UnixMilli(), now.UnixMilli()
	}
	n, err := execute(c, `UPDATE tasks SET status=?, error=?, run_at=?, delayed_at=?, ended_at=?, uncounted=uncounted+?, suspect=1, updated_at=?
		WHERE id=?`, []any{string(status), leaseExpired, runAt, delayedAt, endedAt, uncounted, now.Unix(), e.id})
	if err == nil && n == 0 {
		_, err = execute(c, "DELETE FROM task_leases WHERE id=?", []any{e.id}) // a row that isn't there
	}
	return err
}
