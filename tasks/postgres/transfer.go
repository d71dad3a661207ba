package postgres

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

var _ tasks.TransferBackend = (*backend)(nil)

const (
	// transferRows and transferBytes bound how much is handed over at once.
	transferRows  = 500
	transferBytes = 4 << 20

	recordColumns = infoColumnsT + `, t.result, t.input, t.delayed_at, t.suspect, t.max_attempts, t.backoff, t.timeout, coalesce(t.unique_key, ''),
		t.attempt_started_at, t.attempt_ended_at, coalesce(t.attempt_error, ''), t.attempt_uncounted, t.lease, t.worker, t.leased_at, t.lease_until, t.held, t.shared,
		(SELECT used_at FROM @task_uses u WHERE u.id=t.id)`
	exportTasks   = "SELECT " + recordColumns + " FROM @tasks t WHERE (t.created_at, t.id)>($1, $2) ORDER BY t.created_at, t.id LIMIT $3"
	exportRecords = "SELECT " + recordColumns + " FROM unnest($1::text[]) i(id) JOIN @tasks t ON t.id=i.id WHERE $2::int IS NOT NULL"
)

// Export walks the tasks by the time of their creation, and by id where that is the same.
func (b *backend) Export(ctx context.Context, after tasks.Record) ([]tasks.Record, error) {
	at := int64(math.MinInt64)
	if after.ID != "" {
		at = after.CreatedAt.Unix()
	}
	return b.records(ctx, exportTasks, transferBytes, at, after.ID, transferRows)
}

// Records looks for each id.
func (b *backend) Records(ctx context.Context, ids []string) ([]tasks.Record, error) {
	return b.records(ctx, exportRecords, 1<<62, ids, 0)
}

func (b *backend) records(ctx context.Context, sql string, most int, args ...any) (list []tasks.Record, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		list = nil
		tx, err := b.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx))
		rows, err := tx.Query(ctx, b.stmt(sql), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		at := map[string]int{}
		var ids []string
		for bytes := 0; bytes < most && rows.Next(); {
			r, err := scanRecord(rows)
			if err != nil {
				return err
			}
			bytes += len(r.Raw) + len(r.New.Input)
			at[r.ID] = len(list)
			list, ids = append(list, r), append(ids, r.ID)
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
		return b.rest(ctx, tx, ids, func(id string) *tasks.Record { return &list[at[id]] })
	})
	return list, err
}

func scanRecord(rows pgx.Rows) (r tasks.Record, err error) {
	var in infoRow
	var raw, input, lease, worker *string
	var delayed, started, ended, leasedAt, until, used *int64
	var backoff, timeout int64
	var last tasks.Attempt
	var held, shared bool
	if err := rows.Scan(append(in.dest(), &raw, &input, &delayed, &r.Suspect, &r.New.MaxAttempts, &backoff, &timeout, &r.New.UniqueKey,
		&started, &ended, &last.Error, &last.Uncounted, &lease, &worker, &leasedAt, &until, &held, &shared, &used)...); err != nil {
		return r, err
	}
	r.Info = in.info()
	if raw != nil {
		r.Raw = json.RawMessage(*raw)
	}
	if input != nil {
		r.New.Input = json.RawMessage(*input)
	}
	r.DelayedAt = timeOf(delayed)
	r.New.Owner, r.New.Priority, r.New.Labels = r.Owner, r.Priority, r.Labels.Map()
	r.New.Backoff, r.New.Timeout = time.Duration(backoff)*time.Millisecond, time.Duration(timeout)*time.Millisecond
	if started != nil {
		last.Number, last.StartedAt, last.EndedAt = r.Info.Attempts, timeOf(started), timeOf(ended)
		r.Attempts = []tasks.Attempt{last}
	}
	if until != nil {
		r.Lease = &tasks.LeaseRecord{Lease: *lease, LeasedAt: timeOf(leasedAt), Until: timeOf(until), Suspect: held, Shared: shared}
		if worker != nil {
			r.Lease.Worker = *worker
		}
	}
	if used != nil {
		r.UsedAt = time.Unix(*used, 0).UTC()
	}
	return r, nil
}

// rest reads what other tables have.
func (b *backend) rest(ctx context.Context, tx pgx.Tx, ids []string, of func(id string) *tasks.Record) error {
	rows, err := tx.Query(ctx, b.stmt(`SELECT a.id, a.attempt, a.started_at, a.ended_at, coalesce(a.error, ''), a.uncounted
		FROM unnest($1::text[]) i(id) JOIN @task_attempts a ON a.id=i.id ORDER BY a.id, a.attempt DESC`), ids)
	if err != nil {
		return err
	}
	var id, text string
	var n int
	var started int64
	var ended *int64
	var uncounted bool
	if _, err := pgx.ForEachRow(rows, []any{&id, &n, &started, &ended, &text, &uncounted}, func() error {
		r := of(id)
		r.Attempts = append([]tasks.Attempt{{Number: n, StartedAt: timeOf(&started), EndedAt: timeOf(ended), Error: text, Uncounted: uncounted}}, r.Attempts...)
		return nil
	}); err != nil {
		return err
	}
	rows, err = tx.Query(ctx, b.stmt("SELECT s.id, s.step, s.result FROM unnest($1::text[]) i(id) JOIN @task_steps s ON s.id=i.id"), ids)
	if err != nil {
		return err
	}
	var step, result string
	_, err = pgx.ForEachRow(rows, []any{&id, &step, &result}, func() error {
		r := of(id)
		if r.Steps == nil {
			r.Steps = map[string]json.RawMessage{}
		}
		r.Steps[step] = json.RawMessage(result)
		return nil
	})
	return err
}

// Import is one transaction, durable. The order of the tasks is that of the list.
func (b *backend) Import(ctx context.Context, list []tasks.Record) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	return b.retry(ctx, func(ctx context.Context) error {
		return b.durably(ctx, func(batch *pgx.Batch) { b.importTasks(batch, list) })
	})
}

// durably makes a transaction that may be made again, and is durable.
func (b *backend) durably(ctx context.Context, fill func(*pgx.Batch)) error {
	var batch pgx.Batch
	if b.commit == "off" {
		batch.Queue(b.stmt(setDurable))
	}
	fill(&batch)
	return b.pool.SendBatch(ctx, &batch).Close()
}

func (b *backend) importTasks(batch *pgx.Batch, list []tasks.Record) {
	ids := column(list, func(r tasks.Record) string { return r.ID })
	batch.Queue(b.stmt("DELETE FROM @tasks t USING unnest($1::text[]) i(id) WHERE t.id=i.id"), ids)
	strings := func(f func(r tasks.Record) string) []*string {
		return column(list, func(r tasks.Record) *string { return text(f(r)) })
	}
	times := func(f func(r tasks.Record) time.Time) []*int64 {
		return column(list, func(r tasks.Record) *int64 { return milli(f(r)) })
	}
	numbers := func(f func(r tasks.Record) int64) []int64 { return column(list, f) }
	bools := func(f func(r tasks.Record) bool) []bool { return column(list, f) }
	lease := func(r tasks.Record) tasks.LeaseRecord {
		if r.Lease == nil {
			return tasks.LeaseRecord{}
		}
		return *r.Lease
	}
	last := func(r tasks.Record) (a tasks.Attempt) {
		if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Number == r.Info.Attempts {
			a = r.Attempts[n-1]
		}
		return a
	}
	batch.Queue(b.stmt(`INSERT INTO @tasks(id, type, status, rank, created_at, updated_at, attempts, error, uncounted, cancelled, started_at, ended_at, run_at,
			owner, priority, labels, done, total, note, result, input, delayed_at, suspect, max_attempts, backoff, timeout, unique_key,
			attempt_started_at, attempt_ended_at, attempt_error, attempt_uncounted, lease, worker, leased_at, lease_until, held, shared)
		SELECT id, type, status, created_at-3600*priority, created_at, updated_at, attempts, error, uncounted, cancelled, started_at, ended_at, run_at,
			owner, priority, labels, done, total, note, result, input, delayed_at, suspect, max_attempts, backoff, timeout, unique_key,
			attempt_started_at, attempt_ended_at, attempt_error, attempt_uncounted, lease, worker, leased_at, lease_until, held, shared
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::boolean[], $10::bigint[],
			$11::bigint[], $12::bigint[], $13::text[], $14::bigint[], $15::text[], $16::float8[], $17::float8[], $18::text[], $19::text[], $20::text[],
			$21::bigint[], $22::boolean[], $23::bigint[], $24::bigint[], $25::bigint[], $26::text[], $27::bigint[], $28::bigint[], $29::text[], $30::boolean[],
			$31::text[], $32::text[], $33::bigint[], $34::bigint[], $35::boolean[], $36::boolean[]) WITH ORDINALITY AS
			i(id, type, status, created_at, updated_at, attempts, error, uncounted, cancelled, started_at, ended_at, run_at, owner, priority, labels, done, total,
			note, result, input, delayed_at, suspect, max_attempts, backoff, timeout, unique_key, attempt_started_at, attempt_ended_at, attempt_error,
			attempt_uncounted, lease, worker, leased_at, lease_until, held, shared, ord) ORDER BY ord`),
		ids, column(list, func(r tasks.Record) string { return string(r.Type) }), column(list, func(r tasks.Record) string { return string(r.Status) }),
		numbers(func(r tasks.Record) int64 { return r.CreatedAt.Unix() }),
		column(list, func(r tasks.Record) *int64 {
			if r.UpdatedAt.IsZero() {
				return nil
			}
			s := r.UpdatedAt.Unix()
			return &s
		}),
		numbers(func(r tasks.Record) int64 { return int64(r.Info.Attempts) }), strings(func(r tasks.Record) string { return r.Error }),
		numbers(func(r tasks.Record) int64 { return int64(r.Uncounted) }), bools(func(r tasks.Record) bool { return r.Cancelled }),
		times(func(r tasks.Record) time.Time { return r.StartedAt }), times(func(r tasks.Record) time.Time { return r.EndedAt }),
		times(func(r tasks.Record) time.Time { return r.RunAt }), column(list, func(r tasks.Record) string { return r.Owner }),
		numbers(func(r tasks.Record) int64 { return int64(r.Priority) }), column(list, func(r tasks.Record) *string { return labelText(r.Labels.Map()) }),
		column(list, func(r tasks.Record) float64 { return r.Done }), column(list, func(r tasks.Record) float64 { return r.Total }),
		strings(func(r tasks.Record) string { return r.Note }), strings(func(r tasks.Record) string { return string(r.Raw) }),
		strings(func(r tasks.Record) string { return string(r.New.Input) }), times(func(r tasks.Record) time.Time { return r.DelayedAt }),
		bools(func(r tasks.Record) bool { return r.Suspect }), numbers(func(r tasks.Record) int64 { return int64(r.New.MaxAttempts) }),
		numbers(func(r tasks.Record) int64 { return r.New.Backoff.Milliseconds() }), numbers(func(r tasks.Record) int64 { return r.New.Timeout.Milliseconds() }),
		strings(func(r tasks.Record) string { return r.New.UniqueKey }), times(func(r tasks.Record) time.Time { return last(r).StartedAt }),
		times(func(r tasks.Record) time.Time { return last(r).EndedAt }), strings(func(r tasks.Record) string { return last(r).Error }),
		bools(func(r tasks.Record) bool { return last(r).Uncounted }), strings(func(r tasks.Record) string { return lease(r).Lease }),
		strings(func(r tasks.Record) string { return lease(r).Worker }), times(func(r tasks.Record) time.Time { return lease(r).LeasedAt }),
		times(func(r tasks.Record) time.Time { return lease(r).Until }), bools(func(r tasks.Record) bool { return lease(r).Suspect }),
		bools(func(r tasks.Record) bool { return lease(r).Shared }))
	b.importRest(batch, list, last)
	batch.Queue(b.stmt("INSERT INTO @task_changes(xid, writer, ids) VALUES(pg_current_xact_id()::text::bigint, $1, $2)"), anybody, ids)
}

// importRest writes what other tables have.
func (b *backend) importRest(batch *pgx.Batch, list []tasks.Record, last func(tasks.Record) tasks.Attempt) {
	for _, r := range list {
		if !r.UsedAt.IsZero() {
			batch.Queue(b.stmt("INSERT INTO @task_uses(id, used_at) VALUES($1, $2)"), r.ID, r.UsedAt.Unix())
		}
		for name, value := range r.Labels.All() {
			batch.Queue(b.stmt("INSERT INTO @task_labels(name, value, created_at, id, owner, type, status) VALUES($1, $2, $3, $4, $5, $6, $7)"),
				name, value, r.CreatedAt.Unix(), r.ID, r.Owner, string(r.Type), string(r.Status))
		}
		for step, result := range r.Steps {
			batch.Queue(b.stmt("INSERT INTO @task_steps(id, step, result) VALUES($1, $2, $3)"), r.ID, step, string(result))
		}
		for _, a := range r.Attempts {
			if a != last(r) {
				batch.Queue(b.stmt("INSERT INTO @task_attempts(id, attempt, started_at, ended_at, error, uncounted) VALUES($1, $2, $3, $4, $5, $6)"),
					r.ID, a.Number, a.StartedAt.UnixMilli(), milli(a.EndedAt), text(a.Error), a.Uncounted)
			}
		}
	}
}

// ExportCache leaves out leases.
func (b *backend) ExportCache(ctx context.Context, after tasks.CacheKey) (list []tasks.CacheRecord, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		list = nil
		rows, err := b.pool.Query(ctx, b.stmt(`SELECT type, key, failed, result, created_at, expires_at, used_at, uses FROM @task_cache
			WHERE (type, key)>($1, $2) AND result IS NOT NULL ORDER BY type, key LIMIT $3`), string(after.Type), after.Key, transferRows)
		if err != nil {
			return err
		}
		defer rows.Close()
		for bytes := 0; bytes < transferBytes && rows.Next(); {
			var r tasks.CacheRecord
			var typ, raw string
			var failed bool
			var created, used int64
			var expires *int64
			if err := rows.Scan(&typ, &r.Key, &failed, &raw, &created, &expires, &used, &r.Uses); err != nil {
				return err
			}
			r.Type, r.Raw, r.State = tasks.Type(typ), []byte(raw), tasks.CacheStored
			if failed {
				r.State = tasks.CacheFailed
			}
			r.CreatedAt, r.ExpiresAt, r.UsedAt = timeOf(&created), timeOf(expires), timeOf(&used)
			bytes += len(raw)
			list = append(list, r)
		}
		rows.Close()
		return rows.Err()
	})
	return list, err
}

// ImportCache is one transaction.
func (b *backend) ImportCache(ctx context.Context, list []tasks.CacheRecord) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	return b.retry(ctx, func(ctx context.Context) error {
		return b.durably(ctx, func(batch *pgx.Batch) {
			batch.Queue(b.stmt(`INSERT INTO @task_cache(type, key, failed, result, created_at, expires_at, used_at, uses)
				SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
				ON CONFLICT(type, key) DO UPDATE SET failed=excluded.failed, result=excluded.result, created_at=excluded.created_at,
					expires_at=excluded.expires_at, used_at=excluded.used_at, uses=excluded.uses, lease=NULL, lease_until=NULL`),
				column(list, func(r tasks.CacheRecord) string { return string(r.Type) }), column(list, func(r tasks.CacheRecord) string { return r.Key }),
				column(list, func(r tasks.CacheRecord) bool { return r.State == tasks.CacheFailed }),
				column(list, func(r tasks.CacheRecord) string { return string(r.Raw) }),
				column(list, func(r tasks.CacheRecord) int64 { return r.CreatedAt.UnixMilli() }),
				column(list, func(r tasks.CacheRecord) *int64 { return milli(r.ExpiresAt) }),
				column(list, func(r tasks.CacheRecord) int64 { return r.UsedAt.UnixMilli() }),
				column(list, func(r tasks.CacheRecord) int64 { return int64(r.Uses) }))
		})
	})
}
