package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// clockSlack is how much the server's clock may be corrected without that counting as a step, or an answer may take;
// stepTolerance is how much two processes may disagree about the same step.
const (
	clockSlack    = 2 * time.Second
	stepTolerance = 2 * clockSlack
)

// stepWatch notices that the server's clock was set, or that another server has taken over whose clock differs:
// its time is compared with this process's monotonic clock.
type stepWatch struct {
	mu      sync.Mutex
	last    time.Time // the server's; guarded by mu
	local   time.Time // with the monotonic clock; guarded by mu
	pending clockStep // guarded by mu
}

// clockStep is that the server's clock was set by that much, at some time between two times of the new clock.
type clockStep struct {
	by       time.Duration
	from, to time.Time
}

// saw takes a time of the server's that it has answered just now.
func (w *stepWatch) saw(ms int64, local time.Time) {
	now := time.UnixMilli(ms)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.local.IsZero() && local.Before(w.local) {
		return // an answer to an earlier question
	}
	last, passed := w.last, local.Sub(w.local)
	w.last, w.local = now, local
	if last.IsZero() {
		return
	}
	if by := now.Sub(last) - passed; by < -clockSlack || by > clockSlack {
		w.pending = clockStep{w.pending.by + by, now.Add(-passed), now}
	}
}

// settleClock moves leases and backoffs with the server's clock if that was set: what they have left stays the same.
// All processes see the step; the first one to come moves them, and says so in a table.
func (b *backend) settleClock(ctx context.Context) error {
	w := &b.steps
	w.mu.Lock()
	step := w.pending
	w.pending = clockStep{}
	w.mu.Unlock()
	if step.by == 0 || b.clock != nil {
		return nil
	}
	err := b.change(func(ctx context.Context, tx pgx.Tx) error { return b.moveTimes(ctx, tx, step) })
	if err != nil {
		w.mu.Lock()
		w.pending = clockStep{step.by + w.pending.by, step.from, step.to}
		w.mu.Unlock()
		return err
	}
	b.log.Warn("tasks: the server's clock was set", "by", step.by)
	b.notifier.tell(news{ids: []string{""}, ready: true})
	return ctx.Err()
}

// moveTimes moves what was still to come before the step, and was set before it. A time that the task's creator has set stays.
func (b *backend) moveTimes(ctx context.Context, tx pgx.Tx, step clockStep) error {
	if _, err := tx.Exec(ctx, b.stmt("LOCK TABLE @task_clock_steps IN EXCLUSIVE MODE")); err != nil {
		return err
	}
	var done bool
	if err := tx.QueryRow(ctx, b.stmt("SELECT EXISTS(SELECT 1 FROM @task_clock_steps WHERE at BETWEEN $1 AND $2 AND step BETWEEN $3 AND $4)"),
		step.from.Add(-stepTolerance).UnixMilli(), step.to.Add(stepTolerance).UnixMilli(),
		(step.by - stepTolerance).Milliseconds(), (step.by + stepTolerance).Milliseconds()).Scan(&done); err != nil || done {
		return err
	}
	before, set := step.from.Add(-step.by), step.to.Add(-step.by)
	if step.by > 0 && step.from.Before(set) {
		set = step.from
	}
	by, from, until := step.by.Milliseconds(), before.UnixMilli(), set.Add(stepTolerance).UnixMilli()
	for _, sql := range []string{
		"UPDATE @tasks SET lease_until=lease_until+$1, leased_at=leased_at+$1 WHERE lease_until IS NOT NULL AND lease_until>$2 AND leased_at<=$3",
		"UPDATE @tasks SET run_at=run_at+$1, delayed_at=delayed_at+$1 WHERE status='pending' AND run_at IS NOT NULL AND run_at>$2 AND delayed_at<=$3",
	} {
		if _, err := tx.Exec(ctx, b.stmt(sql), by, from, until); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, b.stmt(logSync), b.name()); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, b.stmt("INSERT INTO @task_clock_steps(at, step) VALUES($1, $2)"), step.to.UnixMilli(), by)
	return err
}
