package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
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

const (
	lookOne  = "SELECT " + infoColumns + " FROM @tasks WHERE id=$1"
	lookMany = "SELECT " + infoColumnsT + " FROM unnest($1::text[]) i(id) JOIN @tasks t ON t.id=i.id"
	getOne   = "SELECT " + infoColumns + ", result FROM @tasks WHERE id=$1"
	getInput = "SELECT input FROM @tasks WHERE id=$1"
)

// Look is one query, whatever the number of tasks.
func (b *backend) Look(ctx context.Context, ids []string) ([]tasks.Info, []error) {
	infos, errs := make([]tasks.Info, len(ids)), make([]error, len(ids))
	err := b.read(ctx, func(ctx context.Context) error {
		if len(ids) == 1 {
			var r infoRow
			err := b.pool.QueryRow(ctx, b.stmt(lookOne), ids[0]).Scan(r.dest()...)
			switch {
			case errors.Is(err, pgx.ErrNoRows):
				errs[0] = tasks.ErrNotFound
				return nil
			case err == nil:
				infos[0] = r.info()
			}
			return err
		}
		rows, err := b.pool.Query(ctx, b.stmt(lookMany), ids)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, scanInfo)
		if err != nil {
			return err
		}
		byID := make(map[string]tasks.Info, len(found))
		for _, t := range found {
			byID[t.ID] = t
		}
		for i, id := range ids {
			if t, ok := byID[id]; ok {
				infos[i] = t
			} else {
				errs[i] = tasks.ErrNotFound
			}
		}
		return nil
	})
	if err != nil {
		return infos, slices.Repeat([]error{err}, len(ids))
	}
	return infos, errs
}

func scanInfo(row pgx.CollectableRow) (tasks.Info, error) {
	var r infoRow
	if err := row.Scan(r.dest()...); err != nil {
		return tasks.Info{}, err
	}
	return r.info(), nil
}

// Get reads the result too.
func (b *backend) Get(ctx context.Context, id string) (res tasks.Result, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		var r infoRow
		var raw *string
		err := b.pool.QueryRow(ctx, b.stmt(getOne), id).Scan(append(r.dest(), &raw)...)
		if err == nil {
			res = tasks.Result{Info: r.info()}
			if raw != nil {
				res.Raw = json.RawMessage(*raw)
			}
		}
		return err
	})
	return res, notFound(err)
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

// kinds finds which types and statuses there are, by a step into an index for each. Its arguments are the owner, types and statuses, or NULL.
func kinds(owned bool) string {
	where := ""
	if owned {
		where = "owner<>'' AND owner=$1 AND "
	}
	next := func(after string) string {
		return "SELECT type, status FROM @tasks WHERE " + where + after + " ORDER BY type, status LIMIT 1"
	}
	return `WITH RECURSIVE k(type, status) AS ((` + next("true") + `)
		UNION ALL SELECT x.type, x.status FROM k CROSS JOIN LATERAL (` + next("(type, status)>(k.type, k.status)") + `) x),
	w AS (SELECT type, status FROM k WHERE $1::text IS NOT NULL AND ($2::text[] IS NULL OR type=ANY($2)) AND ($3::text[] IS NULL OR status=ANY($3)))`
}

// listSQL returns the query of a list, and its arguments. It walks an index in the list's order; of types and statuses it walks
// a part of it for each, so that none walks past tasks that aren't asked for.
func listSQL(q tasks.Query) (string, []any) {
	args := []any{q.Owner, strs(q.Types), strs(q.Statuses), q.Limit}
	order, after := "", ">"
	if q.Newest {
		order, after = " DESC", "<"
	}
	page := func(table string) string { return "" }
	if q.After.ID != "" {
		args = append(args, q.After.CreatedAt.Unix(), q.After.ID)
		page = func(table string) string {
			return " AND (" + table + "created_at, " + table + "id)" + after + "($5, $6)"
		}
	}
	by := func(table string) string {
		return " ORDER BY " + table + "created_at" + order + ", " + table + "id" + order + " LIMIT $4"
	}
	switch {
	case q.Label[0] != "":
		n := len(args)
		args = append(args, q.Label[0], q.Label[1])
		return "SELECT " + infoColumnsT + " FROM @task_labels l CROSS JOIN LATERAL (SELECT * FROM @tasks t WHERE t.id=l.id OFFSET 0) t WHERE l.name=$" + strconv.Itoa(n+1) +
			" AND l.value=$" + strconv.Itoa(n+2) + page("l.") + " AND ($1='' OR t.owner=$1) AND ($2::text[] IS NULL OR t.type=ANY($2))" +
			" AND ($3::text[] IS NULL OR t.status=ANY($3))" + by("l."), args
	case q.Owner == "" && len(q.Types) == 0 && len(q.Statuses) == 0:
		return "SELECT " + infoColumns + " FROM @tasks WHERE $1::text IS NOT NULL AND $2::text[] IS NULL AND $3::text[] IS NULL" + page("") + by(""), args
	}
	where := "t.type=w.type AND t.status=w.status"
	if q.Owner != "" {
		where = "t.owner<>'' AND t.owner=$1 AND " + where
	}
	return kinds(q.Owner != "") + " SELECT x.* FROM w CROSS JOIN LATERAL (SELECT " + infoColumnsT + " FROM @tasks t WHERE " + where + page("t.") + by("t.") + ") x" + by("x."), args
}

func strs[S ~string](list []S) []string {
	if len(list) == 0 {
		return nil
	}
	return column(list, func(s S) string { return string(s) })
}

// List is one query.
func (b *backend) List(ctx context.Context, q tasks.Query) (list []tasks.Info, err error) {
	sql, args := listSQL(q)
	err = b.read(ctx, func(ctx context.Context) error {
		rows, err := b.pool.Query(ctx, b.stmt(sql), args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanInfo)
		return err
	})
	return list, err
}

func countSQL(owned bool) string {
	if owned {
		return "SELECT type, status, count(*) FROM @tasks WHERE owner<>'' AND owner=$1 GROUP BY type, status"
	}
	return "SELECT type, status, count(*) FROM @tasks WHERE $1='' GROUP BY type, status"
}

// Count reads an index, as long as it is: to count all the time would have all changes wait for the same row.
func (b *backend) Count(ctx context.Context, owner string) (counts map[tasks.Type]map[tasks.Status]int, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		counts = map[tasks.Type]map[tasks.Status]int{}
		rows, err := b.pool.Query(ctx, b.stmt(countSQL(owner != "")), owner)
		if err != nil {
			return err
		}
		var t, s string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&t, &s, &n}, func() error {
			if counts[tasks.Type(t)] == nil {
				counts[tasks.Type(t)] = map[tasks.Status]int{}
			}
			counts[tasks.Type(t)][tasks.Status(s)] = n
			return nil
		})
		return err
	})
	return counts, err
}

// Use leaves out tasks that have gone.
func (b *backend) Use(ctx context.Context, at map[string]time.Time) error {
	var ids []string
	var used []int64
	for id := range at {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		used = append(used, at[id].Unix())
	}
	return b.one(ctx, false, 0, &job{sql: `WITH n AS (SELECT $1::bigint, $2::text)
		INSERT INTO @task_uses AS u (id, used_at) SELECT t.id, i.at FROM unnest($3::text[], $4::bigint[]) i(id, at) JOIN @tasks t ON t.id=i.id
		ON CONFLICT(id) DO UPDATE SET used_at=greatest(u.used_at, excluded.used_at)`, args: []any{ids, used}})
}

// cleanupPage is how many tasks are deleted at once.
const cleanupPage = 500

func cleanupSQL(q tasks.CleanupQuery) string {
	owned := q.Owner != ""
	where := "t.type=w.type AND t.status=w.status AND t.created_at<=(SELECT ms/1000 FROM n)-$5::bigint"
	if owned {
		where = "t.owner<>'' AND t.owner=$1 AND " + where
	}
	if q.ByUse {
		where += " AND NOT EXISTS(SELECT 1 FROM @task_uses u WHERE u.id=t.id AND u.used_at>(SELECT ms/1000 FROM n)-$5::bigint)"
	}
	// The owner is $1 of kinds, and the time the sixth argument here.
	return kinds(owned) + strings.ReplaceAll(`, n AS (SELECT {now} AS ms),
	old AS MATERIALIZED (SELECT x.id FROM w CROSS JOIN LATERAL (SELECT t.id FROM @tasks t WHERE `+where+`
		ORDER BY t.created_at, t.id LIMIT $6 FOR UPDATE SKIP LOCKED) x LIMIT $6),
	did AS (DELETE FROM @tasks t USING old WHERE t.id=old.id RETURNING t.id),
	log AS (INSERT INTO @task_changes(xid, writer, ids) SELECT pg_current_xact_id()::text::bigint, $4, array_agg(id) FROM did HAVING count(*)>0)
	SELECT count(*) FROM did`, "{now}", strings.ReplaceAll(nowMS, "$1", "$7"))
}

// Cleanup deletes in parts. A task that somebody changes at the same time is left for the next part.
func (b *backend) Cleanup(ctx context.Context, q tasks.CleanupQuery) (deleted int, err error) {
	if err := b.enter(ctx); err != nil {
		return 0, err
	}
	defer b.leave()
	sql := cleanupSQL(q)
	for {
		n := 0
		err := b.again(func(context.Context) error {
			call, cancel := context.WithTimeout(ctx, b.timeout)
			defer cancel()
			if err := ctx.Err(); err != nil {
				return &notSentError{err}
			}
			return b.relaxedly(call, step{sql: sql,
				args: []any{q.Owner, []string(nil), strs(q.Statuses), b.name(), int64(q.Age / time.Second), cleanupPage, b.now()},
				row:  func(rows pgx.Rows) error { return rows.Scan(&n) }})
		})
		if ctx.Err() != nil {
			return deleted, ctx.Err()
		}
		if err != nil {
			return deleted, err
		}
		deleted += n
		if n == 0 {
			break
		}
		b.notifier.everybody()
	}
	if deleted == 0 {
		return 0, nil
	}
	return deleted, b.durable.do(ctx, &request{sync: true})[0]
}
