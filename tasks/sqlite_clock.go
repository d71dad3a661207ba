package tasks

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// stepTolerance is how much two processes may disagree about the same step of their clock.
const stepTolerance = 2 * clockSlack

// settleClock moves leases and backoffs with the clock if that was set since the last look: what they have left stays the same.
// All processes of a host see the step; the first one to come moves them, and says so in the file.
// A worker's lease is safe once one of them has looked, which those that run do several times a second.
func (b *sqliteBackend) settleClock(ctx context.Context) error {
	step, ok := b.clock.look()
	if !ok || b.readOnly {
		return nil
	}
	if err := b.job(ctx, false, func(c *conn) error { return b.settle(c, step) }); err != nil {
		b.clock.undo(step)
		return err
	}
	b.notifier.changed("")
	return nil
}

// settle moves times unless another process has done so for the same step.
func (b *sqliteBackend) settle(c *conn, step clockStep) error {
	host, at, ok := b.boot()
	if !ok {
		done, err := exists(c, "SELECT 1 FROM task_clock_steps WHERE at BETWEEN ? AND ? AND step BETWEEN ? AND ?",
			step.from.Add(-stepTolerance).UnixMilli(), step.to.Add(stepTolerance).UnixMilli(),
			(step.by - stepTolerance).Milliseconds(), (step.by + stepTolerance).Milliseconds())
		if done || err != nil {
			return err
		}
		return moveTimes(c, b.now(), step, step.set())
	}
	known, found, err := clockOf(c, host)
	if err != nil {
		return err
	}
	now := b.now()
	if found {
		step.by = ahead(now, at) - known.ahead
		step.from = maxOf(step.from, known.seen.Add(step.by))
	}
	if step.by.Abs() > clockSlack {
		if err := moveTimes(c, now, step, step.set()); err != nil {
			return err
		}
	}
	return knowClock(c, host, ahead(now, at), now)
}

// settleOpened is settle for a process that has just opened the file: the clock may have been set since others of the same host,
// none of which may be left, have written down how far it is ahead of the one that nobody sets.
// All that they have left was set before the step, or they would have seen it.
func (b *sqliteBackend) settleOpened(c *conn) (err error) {
	host, at, ok := b.boot()
	now := b.now()
	if !ok || b.checkClock() != nil {
		return nil
	}
	known, found, err := clockOf(c, host)
	if err != nil || found && (ahead(now, at)-known.ahead).Abs() <= clockSlack {
		return err
	}
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil && !c.GetAutocommit() {
			err = errors.Join(err, c.Exec("ROLLBACK"))
		}
	}()
	// Another process may have been faster.
	if known, found, err = clockOf(c, host); err != nil {
		return err
	}
	if by := ahead(now, at) - known.ahead; found && by.Abs() > clockSlack {
		if err := moveTimes(c, now, clockStep{by, known.seen.Add(by), now}, time.UnixMilli(math.MaxInt64/2)); err != nil {
			return err
		}
	}
	if err := knowClock(c, host, ahead(now, at), now); err != nil {
		return err
	}
	return c.Exec("COMMIT")
}

// knownClock is what processes of a host have written down about its clock.
type knownClock struct {
	ahead time.Duration // of the clock that nobody sets
	seen  time.Time
}

func ahead(now time.Time, at time.Duration) time.Duration {
	return time.Duration(now.UnixMilli()-at.Milliseconds()) * time.Millisecond
}

func clockOf(c *conn, host string) (k knownClock, found bool, err error) {
	err = each(c, "SELECT ahead, seen_at FROM task_clocks WHERE host=?", []any{host}, func(s *sqlite3.Stmt) error {
		k, found = knownClock{time.Duration(s.ColumnInt64(0)) * time.Millisecond, time.UnixMilli(s.ColumnInt64(1))}, true
		return nil
	})
	return k, found, err
}

// knowClock writes it down. What hosts have written that were started anew since is of no use.
func knowClock(c *conn, host string, ahead time.Duration, now time.Time) error {
	for _, m := range []more{
		{"DELETE FROM task_clocks WHERE host<>? AND seen_at NOT IN (SELECT seen_at FROM task_clocks ORDER BY seen_at DESC LIMIT 20)", []any{host}},
		{"INSERT INTO task_clocks(host, ahead, seen_at) VALUES(?1, ?2, ?3) ON CONFLICT(host) DO UPDATE SET ahead=?2, seen_at=?3",
			[]any{host, ahead.Milliseconds(), now.UnixMilli()}},
	} {
		if _, err := execute(c, m.sql, m.args); err != nil {
			return err
		}
	}
	return nil
}

// set is the latest time, by the clock before the step, at which something was set before it.
//
// What was set after the step is told by when: after a step forward, that is later than the clock was before it.
// After a step back it would still be to come before the step only if it lasts longer than the step was:
// then it lasts longer by less than its own length.
func (s clockStep) set() time.Time {
	set := s.to.Add(-s.by)
	if s.by > 0 && s.from.Before(set) {
		set = s.from
	}
	return set.Add(stepTolerance)
}

// moveTimes moves what was still to come before the step, and was set before it. A time that the task's creator has set stays.
func moveTimes(c *conn, now time.Time, step clockStep, set time.Time) error {
	args := []any{step.by.Milliseconds(), step.from.Add(-step.by).UnixMilli(), set.UnixMilli()}
	for _, m := range []more{
		{"UPDATE task_leases SET lease_until=lease_until+?1, leased_at=leased_at+?1 WHERE lease_until>?2 AND leased_at<=?3", args},
		{"UPDATE task_cache SET lease_until=lease_until+?1, leased_at=leased_at+?1 WHERE lease_until>?2 AND coalesce(leased_at, 0)<=?3", args},
		{"UPDATE tasks SET run_at=run_at+?1, delayed_at=delayed_at+?1 WHERE run_at>?2 AND delayed_at<=?3 AND " + whereWaiting, args},
		{"DELETE FROM task_clock_steps WHERE rowid NOT IN (SELECT rowid FROM task_clock_steps ORDER BY rowid DESC LIMIT 99)", nil},
		{"INSERT INTO task_clock_steps(at, step, since) VALUES(?, ?, ?)", []any{now.UnixMilli(), step.by.Milliseconds(), step.from.UnixMilli()}},
	} {
		if _, err := execute(c, m.sql, m.args); err != nil {
			return err
		}
	}
	return nil
}

// created returns the time that what is that old was created at, by the clock of then. A clock that was set makes nothing old:
// ages are spans of time that have passed, as far as somebody has seen the steps.
func (b *sqliteBackend) created(ctx context.Context, age time.Duration) (time.Time, error) {
	if err := b.settleClock(ctx); err != nil {
		return time.Time{}, err
	}
	var steps []clockStep
	err := b.query(ctx, "SELECT step, coalesce(since, at), at FROM task_clock_steps ORDER BY rowid DESC", nil, func(s *sqlite3.Stmt) error {
		steps = append(steps, clockStep{time.Duration(s.ColumnInt64(0)) * time.Millisecond, time.UnixMilli(s.ColumnInt64(1)), time.UnixMilli(s.ColumnInt64(2))})
		return nil
	})
	return ago(b.now(), age, steps), err
}

// ago goes back from now by a span of time that has passed, through the clock's steps, of which the last is the first.
// What was created after one of them isn't that old, whatever its time is: after a step back the clock shows the same times again.
func ago(now time.Time, age time.Duration, steps []clockStep) time.Time {
	at, least := now, time.Time{}
	for _, s := range steps {
		passed := max(0, at.Sub(s.to))
		if passed >= age {
			break
		}
		age -= passed
		at = s.to.Add(-s.by)
		if least.IsZero() || s.from.Before(least) {
			least = s.from
		}
	}
	at = at.Add(-age)
	if !least.IsZero() && !at.Before(least) {
		at = least.Add(-time.Second)
	}
	return at
}

func maxOf(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
