package tasks

import (
	"context"
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
	err := b.job(ctx, false, func(c *conn) error {
		done := false
		if err := each(c, "SELECT 1 FROM task_clock_steps WHERE at BETWEEN ? AND ? AND step BETWEEN ? AND ?", []any{
			step.from.Add(-stepTolerance).UnixMilli(), step.to.Add(stepTolerance).UnixMilli(),
			(step.by - stepTolerance).Milliseconds(), (step.by + stepTolerance).Milliseconds(),
		}, func(*sqlite3.Stmt) error {
			done = true
			return nil
		}); err != nil || done {
			return err
		}
		return moveTimes(c, b.now(), step)
	})
	if err != nil {
		b.clock.undo(step)
		return err
	}
	b.notifier.changed("")
	return nil
}

// moveTimes moves what was still to come before the step, and was set before it. A time that the task's creator has set stays.
//
// What was set after the step is told by when: after a step forward, that is later than the clock was before it.
// After a step back it would still be to come before the step only if it lasts longer than the step was:
// then it lasts longer by less than its own length.
func moveTimes(c *conn, now time.Time, step clockStep) error {
	before, set := step.from.Add(-step.by), step.to.Add(-step.by)
	if step.by > 0 && step.from.Before(set) {
		set = step.from
	}
	args := []any{step.by.Milliseconds(), before.UnixMilli(), set.Add(stepTolerance).UnixMilli()}
	for _, m := range []more{
		{"UPDATE task_leases SET lease_until=lease_until+?1, leased_at=leased_at+?1 WHERE lease_until>?2 AND leased_at<=?3", args},
		{"UPDATE tasks SET run_at=run_at+?1, delayed_at=delayed_at+?1 WHERE run_at>?2 AND delayed_at<=?3 AND " + whereWaiting, args},
		{"DELETE FROM task_clock_steps WHERE rowid NOT IN (SELECT rowid FROM task_clock_steps ORDER BY rowid DESC LIMIT 99)", nil},
		{"INSERT INTO task_clock_steps(at, step) VALUES(?, ?)", []any{now.UnixMilli(), step.by.Milliseconds()}},
	} {
		if _, err := execute(c, m.sql, m.args); err != nil {
			return err
		}
	}
	return nil
}
