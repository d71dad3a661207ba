package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/foreign"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// infoColumns are the columns of an Info; infoColumnsT are those of a table t.
const (
	infoColumns = "id, type, status, created_at, updated_at, attempts, error, uncounted, cancelled, started_at, ended_at, run_at, " +
		"owner, priority, labels, done, total, note"
	infoColumnsT = "t.id, t.type, t.status, t.created_at, t.updated_at, t.attempts, t.error, t.uncounted, t.cancelled, t.started_at, t.ended_at, t.run_at, " +
		"t.owner, t.priority, t.labels, t.done, t.total, t.note"
)

// infoRow is where the columns go. All may be NULL, for the rows of outer joins.
// Into these types pgx reads without a pointer to a pointer, which it would plan anew for each column.
type infoRow struct {
	id, typ, status, text, owner, labels, note pgtype.Text
	created, updated, started, ended, runAt    pgtype.Int8
	attempts, uncounted, priority              pgtype.Int4
	cancelled                                  pgtype.Bool
	done, total                                pgtype.Float8
}

func (r *infoRow) dest() []any {
	return []any{&r.id, &r.typ, &r.status, &r.created, &r.updated, &r.attempts, &r.text, &r.uncounted, &r.cancelled, &r.started, &r.ended,
		&r.runAt, &r.owner, &r.priority, &r.labels, &r.done, &r.total, &r.note}
}

func (r *infoRow) info() tasks.Info {
	t := tasks.Info{
		ID: r.id.String, Type: tasks.Type(r.typ.String), Status: tasks.Status(r.status.String), CreatedAt: secondsOf(r.created.Int64),
		Attempts: int(r.attempts.Int32), Uncounted: int(r.uncounted.Int32), Cancelled: r.cancelled.Bool, Owner: r.owner.String,
		Priority: int(r.priority.Int32), StartedAt: millisOf(r.started), EndedAt: millisOf(r.ended), RunAt: millisOf(r.runAt),
		Advance: tasks.Advance{Done: foreign.Number(r.done.Float64), Total: foreign.Number(r.total.Float64), Note: r.note.String},
		Error:   r.text.String,
	}
	if r.updated.Valid {
		t.UpdatedAt = secondsOf(r.updated.Int64)
	}
	if r.labels.Valid {
		_ = json.Unmarshal([]byte(r.labels.String), &t.Labels) // what this package has written
	}
	return t
}

func millisOf(ms pgtype.Int8) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return timeOf(&ms.Int64)
}

func timeOf(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return known(time.UnixMilli(*ms))
}

func secondsOf(s int64) time.Time { return known(time.Unix(s, 0)) }

// known returns no time for one that JSON has no form for. Nothing of this package writes that.
func known(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// read runs a query, again if the server has gone meanwhile.
func (b *backend) read(ctx context.Context, f func(ctx context.Context) error) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	return b.retry(ctx, f)
}

// orNone is the error of a query that may find no row.
func orNone(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// Statements that read tasks have the number of each among those that were asked for.
const (
	lookOne  = "SELECT 1::bigint, " + infoColumns + " FROM @tasks WHERE id=$1"
	getOne   = "SELECT 1::bigint, " + infoColumns + ", result FROM @tasks WHERE id=$1"
	lookMany = "SELECT i.n, " + infoColumnsT + " FROM unnest($1::text[]) WITH ORDINALITY i(id, n) JOIN @tasks t ON t.id=i.id"
	getMany  = "SELECT i.n, " + infoColumnsT + ", t.result FROM unnest($1::text[]) WITH ORDINALITY i(id, n) JOIN @tasks t ON t.id=i.id"
	getInput = "SELECT input FROM @tasks WHERE id=$1"
)

// many reads tasks by one query, with their results or without, and hands over what it finds of each.
// What is handed over isn't so again if the query is made again.
func (b *backend) many(ctx context.Context, ids []string, results bool, found func(int, tasks.Result, error)) {
	var n int64
	var r infoRow
	var raw pgtype.Text
	dest := append([]any{&n}, r.dest()...)
	one, many := lookOne, lookMany
	if results {
		one, many, dest = getOne, getMany, append(dest, &raw)
	}
	handed := make([]bool, len(ids))
	err := b.read(ctx, func(ctx context.Context) error {
		sql, arg := many, any(ids)
		if len(ids) == 1 {
			sql, arg = one, ids[0]
		}
		rows, err := b.pool.Query(ctx, b.stmt(sql), arg)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := rows.Scan(dest...); err != nil {
				return err
			}
			i := int(n - 1)
			if handed[i] {
				continue
			}
			handed[i] = true
			t := tasks.Result{Info: r.info()}
			if raw.Valid {
				t.Raw = json.RawMessage(raw.String)
			}
			found(i, t, nil)
		}
		return rows.Err()
	})
	if err == nil {
		err = tasks.ErrNotFound
	}
	for i := range ids {
		if !handed[i] {
			found(i, tasks.Result{}, err)
		}
	}
}

// Look is one query, whatever the number of tasks.
func (b *backend) Look(ctx context.Context, ids []string) ([]tasks.Info, []error) {
	infos, errs := make([]tasks.Info, len(ids)), make([]error, len(ids))
	b.many(ctx, ids, false, func(i int, r tasks.Result, err error) { infos[i], errs[i] = r.Info, err })
	return infos, errs
}

// GetMany is one query, too.
func (b *backend) GetMany(ctx context.Context, ids []string, found func(int, tasks.Result, error)) {
	b.many(ctx, ids, true, found)
}

// Get reads one task.
func (b *backend) Get(ctx context.Context, id string) (res tasks.Result, err error) {
	b.many(ctx, []string{id}, true, func(_ int, r tasks.Result, e error) { res, err = r, e })
	return res, err
}

func scanInfo(row pgx.CollectableRow) (tasks.Info, error) {
	var r infoRow
	if err := row.Scan(r.dest()...); err != nil {
		return tasks.Info{}, err
	}
	return r.info(), nil
}

func notFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return tasks.ErrNotFound
	}
	return err
}

// Input reads one column.
func (b *backend) Input(ctx context.Context, id string) (raw json.RawMessage, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		var s *string
		err := b.pool.QueryRow(ctx, b.stmt(getInput), id).Scan(&s)
		if err == nil && s != nil {
			raw = json.RawMessage(*s)
		}
		return err
	})
	return raw, notFound(err)
}

const getAttempts = `SELECT attempt, started_at, ended_at, error, uncounted FROM (
	SELECT attempt, started_at, ended_at, error, uncounted FROM @task_attempts WHERE id=$1
	UNION ALL SELECT attempts, attempt_started_at, attempt_ended_at, attempt_error, attempt_uncounted FROM @tasks
		WHERE id=$1 AND attempt_started_at IS NOT NULL) a ORDER BY attempt`

// Attempts reads the last one from the task, and the others from their table.
func (b *backend) Attempts(ctx context.Context, id string) (list []tasks.Attempt, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		var batch pgx.Batch // one transaction, and one trip
		batch.Queue(b.stmt("SELECT 1 FROM @tasks WHERE id=$1"), id)
		batch.Queue(b.stmt(getAttempts), id)
		results := b.pool.SendBatch(ctx, &batch)
		defer results.Close()
		var one int
		if err := results.QueryRow().Scan(&one); err != nil {
			return err
		}
		rows, err := results.Query()
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a tasks.Attempt, err error) {
			var started int64
			var ended *int64
			var s *string
			err = row.Scan(&a.Number, &started, &ended, &s, &a.Uncounted)
			a.StartedAt, a.EndedAt = time.UnixMilli(started).UTC(), timeOf(ended)
			if s != nil {
				a.Error = *s
			}
			return a, err
		})
		return err
	})
	return list, notFound(err)
}
