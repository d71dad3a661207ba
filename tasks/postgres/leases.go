package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

const finishTasks = `WITH i AS (SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::boolean[])
		WITH ORDINALITY AS i(id, lease, status, result, error, delay, uncounted, ord)),
	n AS (SELECT {now} AS ms),
	l AS (SELECT t.id FROM i JOIN @tasks t ON t.id=i.id AND t.lease=i.lease ORDER BY t.id FOR UPDATE OF t),
	did AS (UPDATE @tasks t SET status=i.status, result=coalesce(i.result, t.result), error=coalesce(i.error, t.error), updated_at=ms/1000,
			run_at=CASE WHEN i.delay>0 THEN ms+i.delay END, delayed_at=CASE WHEN i.delay>0 THEN ms END,
			ended_at=CASE WHEN i.status IN ('completed', 'error') THEN ms END, uncounted=t.uncounted+i.uncounted::int, suspect=false,
			attempt_ended_at=greatest(ms, t.attempt_started_at), attempt_error=i.error, attempt_uncounted=i.uncounted, ` + endLease + `
		FROM n, i JOIN l ON l.id=i.id WHERE t.id=i.id
		RETURNING t.id, t.status),
	steps AS (DELETE FROM @task_steps s USING did WHERE s.id=did.id AND did.status='completed')` + logged + `
	SELECT i.ord FROM i JOIN did USING(id)`

// finishes are attempts to end.
type finishes struct {
	ids  []string
	list []tasks.Outcome
	to   []*error
}

func (f *finishes) add(o tasks.Outcome, to *error) {
	f.ids, f.list, f.to = append(f.ids, o.ID), append(f.list, o), append(f.to, to)
}

func (f *finishes) step(r *round) step {
	list, to, made := f.list, f.to, make([]bool, len(f.ids))
	ready := slices.ContainsFunc(list, func(o tasks.Outcome) bool { return o.Status == tasks.Pending })
	return step{sql: finishTasks, ids: f.ids, ready: ready, args: []any{r.now, r.writer, f.ids,
		column(list, func(o tasks.Outcome) string { return o.Lease }),
		column(list, func(o tasks.Outcome) string { return string(o.Status) }),
		column(list, func(o tasks.Outcome) *string { return text(o.Result) }),
		column(list, func(o tasks.Outcome) *string { return text(o.Error) }),
		column(list, func(o tasks.Outcome) int64 {
			if o.Status != tasks.Pending {
				return 0
			}
			return o.Delay.Milliseconds()
		}),
		column(list, func(o tasks.Outcome) bool { return o.Uncounted }),
	}, row: func(rows pgx.Rows) error {
		var ord int64
		err := rows.Scan(&ord)
		if err == nil {
			made[ord-1] = true
		}
		return err
	}, end: func() error {
		for i, ok := range made {
			if !ok {
				*to[i] = tasks.ErrLeaseLost
			}
		}
		return nil
	}}
}

// Finish is merged with others.
func (b *backend) Finish(ctx context.Context, o tasks.Outcome, durable bool) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	return b.lane(durable).do(ctx, &request{finish: &o, bytes: len(o.Result) + len(o.Error)})[0]
}

// Extending is no change that anybody waits for.
const extendLease = `WITH n AS (SELECT {now} AS ms, $2::text)
	UPDATE @tasks t SET lease_until=ms+$5::bigint, leased_at=ms, shared=false FROM n WHERE id=$3 AND lease=$4 RETURNING lease_until`

func extendJob(id, lease string, by time.Duration, until *time.Time) *job {
	return &job{sql: extendLease, args: []any{id, lease, by.Milliseconds()}, none: tasks.ErrLeaseLost, row: func(rows pgx.Rows) error {
		var ms int64
		err := rows.Scan(&ms)
		*until = time.UnixMilli(ms).UTC()
		return err
	}}
}

// Extend is one statement.
func (b *backend) Extend(ctx context.Context, id, lease string, by time.Duration) (until time.Time, err error) {
	if err := b.settleClock(ctx); err != nil {
		return until, err
	}
	var t time.Time
	if err = b.one(ctx, false, 0, extendJob(id, lease, by, &t)); err == nil {
		until = t
	}
	return until, err
}

// Holds is a look.
func (b *backend) Holds(ctx context.Context, id, lease string) (held bool, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		return b.pool.QueryRow(ctx, b.stmt("SELECT EXISTS(SELECT 1 FROM @tasks WHERE id=$1 AND lease=$2)"), id, lease).Scan(&held)
	})
	return held, err
}

// processing is a statement that changes a task that is Processing, and whose holder's lease is $4 unless that is empty.
func processing(set string) string {
	return `WITH n AS (SELECT {now} AS ms),
	l AS (SELECT id, status FROM @tasks WHERE id=$3 AND ($4='' OR lease=$4) FOR UPDATE),
	did AS (UPDATE @tasks t SET updated_at=ms/1000, ` + set + ` FROM n, l WHERE t.id=l.id AND l.status='processing' RETURNING t.id)` + logged + `
	SELECT l.status, did.id IS NOT NULL FROM l LEFT JOIN did ON did.id=l.id`
}

var (
	setProgress = processing("result=$5")
	setReport   = processing("done=$5, total=$6, note=$7")
)

// processingJob makes a job of such a statement. What refused points to is why it has changed nothing, if it hasn't.
func processingJob(sql, id, lease string, refused *error, args ...any) *job {
	none := tasks.ErrLeaseLost
	if lease == "" {
		none = tasks.ErrNotFound
	}
	return &job{sql: sql, args: append([]any{id, lease}, args...), none: none, ids: []string{id}, row: func(rows pgx.Rows) error {
		var status string
		var ok bool
		err := rows.Scan(&status, &ok)
		*refused = nil
		if err == nil && !ok {
			*refused = &tasks.TransitionError{ID: id, From: tasks.Status(status), To: tasks.Processing}
			if lease != "" {
				*refused = tasks.ErrLeaseLost
			}
		}
		return err
	}}
}

// refusable runs a job that may be refused.
func (b *backend) refusable(ctx context.Context, durable bool, bytes int, refused *error, j *job) error {
	if err := b.one(ctx, durable, bytes, j); err != nil {
		return err
	}
	return *refused
}

// Progress leaves the lease as it is.
func (b *backend) Progress(ctx context.Context, id, lease string, result json.RawMessage, durable bool) error {
	var refused error
	return b.refusable(ctx, durable, len(result), &refused, processingJob(setProgress, id, lease, &refused, string(result)))
}

// Report is like Progress.
func (b *backend) Report(ctx context.Context, id, lease string, a tasks.Advance, durable bool) error {
	var refused error
	return b.refusable(ctx, durable, len(a.Note), &refused, processingJob(setReport, id, lease, &refused, a.Done, a.Total, text(a.Note)))
}

// Step reads one row.
func (b *backend) Step(ctx context.Context, id, step string) (raw json.RawMessage, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		var s string
		err := b.pool.QueryRow(ctx, b.stmt("SELECT result FROM @task_steps WHERE id=$1 AND step=$2"), id, step).Scan(&s)
		if err == nil {
			raw = json.RawMessage(s)
		}
		return orNone(err)
	})
	return raw, err
}

const setStep = `WITH n AS (SELECT $1::bigint, $2::text), l AS (SELECT id FROM @tasks WHERE id=$3 AND lease=$4 FOR SHARE)
	INSERT INTO @task_steps(id, step, result) SELECT id, $5, $6 FROM l ON CONFLICT(id, step) DO UPDATE SET result=excluded.result RETURNING id`

// SetStep checks the lease in the same statement.
func (b *backend) SetStep(ctx context.Context, id, lease, step string, result json.RawMessage, durable bool) error {
	return b.one(ctx, durable, len(result), &job{sql: setStep, args: []any{id, lease, step, string(result)}, none: tasks.ErrLeaseLost})
}
