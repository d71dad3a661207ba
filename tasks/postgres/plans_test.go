package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder remembers the statements that a pool has run, with their arguments.
type recorder struct {
	tracerBase
	mu   sync.Mutex
	seen map[string][]any // guarded by mu
	n    int              // guarded by mu
	on   bool             // guarded by mu
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	r.add(d.SQL, d.Args)
	return ctx
}
func (r *recorder) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	r.add(d.SQL, d.Args)
}

func (r *recorder) add(sql string, args []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.on || !strings.Contains(sql, "task") || strings.HasPrefix(sql, "LISTEN") {
		return
	}
	r.n++
	r.seen[sql] = args
}

func (r *recorder) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on, r.seen, r.n = true, map[string][]any{}, 0
}

func (r *recorder) stop() (seen map[string][]any, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on = false
	return r.seen, r.n
}

// recorded opens a store over a pool whose statements are recorded.
func recorded(t *testing.T, c postgres.Config, opts ...tasks.Option) (*tasks.Store, *pgxpool.Pool, *recorder) {
	r := &recorder{seen: map[string][]any{}}
	st, pool := traced(t, c, r, opts...)
	return st, pool, r
}

// traced opens a store over a pool whose statements a tracer is told of.
func traced(t *testing.T, c postgres.Config, tracer pgx.QueryTracer, opts ...tasks.Option) (*tasks.Store, *pgxpool.Pool) {
	pc, err := pgxpool.ParseConfig(server.URL("postgres"))
	require.NoError(t, err)
	pc.ConnConfig.Tracer = tracer
	postgres.Prepare(pc)
	pool, err := pgxpool.NewWithConfig(t.Context(), pc)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	st, err := c.New(t.Context(), pool, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st, pool
}

// everything makes every kind of call.
func everything(t *testing.T, st *tasks.Store) {
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Create(ctx, "b", tasks.Form, tasks.Input("x"), tasks.UniqueKey("k"), tasks.Owner("o"), tasks.WithLabels(map[string]string{"l": "v"})))
	require.ErrorIs(t, st.Create(ctx, "c", tasks.Form, tasks.UniqueKey("k"), tasks.Owner("o")), tasks.ErrExists)
	require.NoError(t, st.Create(ctx, "due", tasks.FormFilling, tasks.RunAt(time.Now().Add(-time.Hour))))
	require.NoError(t, st.Update(ctx, "a", tasks.Error, "r"))
	require.NoError(t, st.Retry(ctx, "a"))
	_, err := st.Claim(ctx, time.Minute, tasks.Document)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	c, err := st.Claim(ctx, time.Minute, tasks.Form, tasks.Document)
	require.NoError(t, err)
	require.NoError(t, st.Extend(ctx, &c, time.Minute))
	require.NoError(t, st.Progress(ctx, c.ID, 1))
	require.NoError(t, st.Report(ctx, c.ID, tasks.Advance{}))
	require.NoError(t, st.Complete(ctx, c, "done"))
	_, err = st.Claim(ctx, time.Minute, tasks.FormFilling) // the careful way
	require.NoError(t, err)
	_, err = st.Attempts(ctx, "a")
	require.NoError(t, err)
	_, err = st.Status(ctx, "a")
	require.NoError(t, err)
	_, err = st.Result(ctx, "a")
	require.NoError(t, err)
	_, err = st.Input(ctx, "b")
	require.NoError(t, err)
	for _, q := range []tasks.Query{{}, {Newest: true, After: tasks.Info{ID: "x", CreatedAt: time.Now()}}, {Statuses: []tasks.Status{tasks.Error}},
		{Types: []tasks.Type{tasks.Form}, After: tasks.Info{ID: "x", CreatedAt: time.Now()}}, {Owner: "o"}} {
		_, err = st.List(ctx, q)
		require.NoError(t, err)
		q.Label = [2]string{"l", "v"}
		_, err = st.List(ctx, q)
		require.NoError(t, err)
	}
	_, err = st.Changes(ctx, 0, 100)
	require.NoError(t, err)
	require.NoError(t, st.Settle(ctx))
	_, err = st.CountOwner(ctx, "o")
	require.NoError(t, err)
	_, err = st.CleanupOwner(ctx, "o", time.Hour)
	require.NoError(t, err)
	_, err = st.Cleanup(ctx, 10000*time.Hour)
	require.NoError(t, err)
	_, err = st.Do(ctx, tasks.Form, "x", func(context.Context) (any, error) { return 1, nil })
	require.NoError(t, err)
	_, err = st.Do(ctx, tasks.Form, "y", func(context.Context) (any, error) { return 1, nil })
	require.NoError(t, err)
	_, err = st.StatusSettled(ctx, "a")
	require.NoError(t, err)
	_, errs := st.StatusesSettled(ctx, []string{"a", "b"})
	require.NoError(t, errors.Join(errs...))
	_, err = st.ResultSettled(ctx, "a")
	require.NoError(t, err)
	limited(t, st)
	worked(t, st)
	together(t, st)
	copied(t, st)
	require.NoError(t, st.Invalidate(ctx, tasks.Form, "x"))
	require.NoError(t, st.Delete(ctx, "a"))
}

// limited claims tasks of a type that has limits, and takes back one whose worker is gone.
func limited(t *testing.T, st *tasks.Store) {
	ctx := t.Context()
	const typ = tasks.Document
	require.NoError(t, st.SetLimits(ctx, typ, tasks.TypeLimits{Running: 2, PerSecond: 1000}))
	for _, id := range []string{"l1", "l2", "l3"} {
		require.NoError(t, st.Create(ctx, id, typ))
	}
	_, err := st.Claim(ctx, time.Second, typ)
	require.NoError(t, err)
	_, err = st.Claim(ctx, time.Second, typ)
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := st.Claim(ctx, time.Minute, typ); return err == nil }, 10*time.Second, 100*time.Millisecond)
	require.NoError(t, st.Pause(ctx, typ))
	_, err = st.Claim(ctx, time.Minute, typ)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	_, err = st.Limits(ctx)
	require.NoError(t, err)
	require.NoError(t, st.Resume(ctx, typ))
}

// worked has a worker keep a step, beside somebody who waits for tasks.
func worked(t *testing.T, st *tasks.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const typ = tasks.FormFilling
	done := make(chan error, 1)
	begun, told := make(chan struct{}), make(chan struct{})
	go func() {
		done <- st.Run(ctx, map[tasks.Type]tasks.Handler{typ: func(ctx context.Context, task tasks.Info) (any, error) {
			if task.ID == "cancelled" {
				close(begun)
				<-ctx.Done() // by a look at its lease
				close(told)
				return nil, ctx.Err()
			}
			return tasks.Step(ctx, "step", func(context.Context) (int, error) { return 1, nil })
		}}, 2)
	}()
	require.NoError(t, st.Create(ctx, "cancelled", typ))
	<-begun
	require.NoError(t, st.Cancel(ctx, "cancelled"))
	<-told
	const waiters = 30 // so that some of them are looked for together
	for i := range waiters {
		id := fmt.Sprint("w", i)
		require.NoError(t, st.Create(ctx, id, typ, tasks.Relaxed()))
		go func() { _, err := st.Wait(ctx, id); done <- err }()
	}
	for range waiters {
		require.NoError(t, <-done)
	}
	cancel()
	<-done
}

// together has many look at tasks at the same time, so that some of them share a query.
func together(t *testing.T, st *tasks.Store) {
	for range 20 {
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				_, err := st.Status(t.Context(), fmt.Sprint("w", i))
				assert.NoError(t, err)
				_, err = st.Result(t.Context(), fmt.Sprint("w", i))
				assert.NoError(t, err)
			})
		}
		all.Wait()
	}
}

// copied copies a store to itself.
func copied(t *testing.T, st *tasks.Store) {
	_, err := tasks.Copy(t.Context(), st, st)
	require.NoError(t, err)
}

// countsAll is of statements that count all there is, and say so.
func countsAll(sql string) bool {
	return strings.Contains(sql, "GROUP BY type, status") || strings.Contains(sql, "ORDER BY dead DESC") || strings.Contains(sql, "SELECT count(*), coalesce(sum(octet_length(result))")
}

// exempt are statements whose plans aren't looked at, or not here.
func exempt(sql string) bool {
	return strings.Contains(sql, "tasks_schema") || // when a store is opened
		strings.Contains(sql, "ORDER BY xid DESC OFFSET $1") || // once a minute, through as much of the log as is kept
		strings.Contains(sql, "task_clock_steps") || // when a clock was set: there is a row for each time
		strings.HasPrefix(strings.TrimSpace(sql), "INSERT INTO") // what they are given: there is nothing to plan
}

// growths is how many tasks there are that nobody asks for.
func growths() int {
	if testing.Short() || raceEnabled {
		return 20_000
	}
	return 100_000
}

// TestPlans: with many tasks, waiting and done, the plan of each statement visits as few rows as with none,
// also if it was made while the tables were empty: such a plan is kept.
func TestPlans(t *testing.T) {
	schema := server.NewSchema()
	st, pool, r := recorded(t, postgres.Config{Schema: schema}.TrimEvery(time.Millisecond))
	r.start()
	everything(t, st)
	statements, _ := r.stop()
	for sql, at := range statementsOf(t) {
		if _, ok := statements[postgres.Render(schema, sql)]; !ok && !exempt(sql) {
			t.Errorf("%v: nobody has looked at the plan of %.100s", at, sql)
		}
	}
	explain := func(when string) {
		for sql, args := range statements {
			if countsAll(sql) || exempt(sql) {
				continue
			}
			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			plan := plan(t, tx, "SET LOCAL plan_cache_mode=force_generic_plan", sql, args)
			require.NoError(t, tx.Rollback(t.Context()))
			plan = strings.ReplaceAll(plan, "Seq Scan on task_types", "of which there is a row for each type")
			require.NotRegexp(t, `Seq Scan on task|Seq Scan on "task|Hash Join|Merge Join`, plan, "%s: %s", when, sql)
			for _, m := range regexp.MustCompile(`Index (?:Only )?Scan(?: Backward)? using \S+ on \S+.*rows=(\d+) loops`).FindAllStringSubmatch(plan, -1) {
				var rows int
				fmt.Sscan(m[1], &rows)
				require.LessOrEqual(t, rows, 501, "%s: %s\n%s", when, sql, plan)
			}
			for _, m := range regexp.MustCompile(`Rows Removed by (?:Filter|Index Recheck): (\d+)`).FindAllStringSubmatch(plan, -1) {
				var rows int
				fmt.Sscan(m[1], &rows)
				require.LessOrEqual(t, rows, 10, "%s: %s\n%s", when, sql, plan)
			}
		}
	}
	explain("empty tables")
	n := growths()
	for _, sql := range []string{
		`INSERT INTO %s.tasks(id, type, status, rank, created_at, result) SELECT 'done'||i, 'form', 'completed', i, 1700000000+i/10, '"x"' FROM generate_series(1, $1::int) i`,
		`INSERT INTO %s.tasks(id, type, status, rank, created_at) SELECT 'wait'||i, 'form', 'pending', 1700000000+i/10, 1700000000+i/10 FROM generate_series(1, $1::int) i`,
		`INSERT INTO %s.tasks(id, type, status, rank, created_at, run_at) SELECT 'later'||i, 'form', 'pending', 1700000000, 1700000000, 99999999999999 FROM generate_series(1, $1::int) i`,
		`INSERT INTO %[1]s.task_labels(name, value, created_at, id, type, status, owner) SELECT 'l', 'v', created_at, id, type, status, owner FROM %[1]s.tasks ON CONFLICT DO NOTHING`,
		`INSERT INTO %s.task_changes(xid, writer, ids) SELECT -i, 'x', '{a}' FROM generate_series(1, $1::int/10) i`,
		`INSERT INTO %s.task_cache(type, key, created_at, used_at) SELECT 'form', i::text, 1, 1 FROM generate_series(1, $1::int/10) i`,
	} {
		args := []any{n}
		if !strings.Contains(sql, "$1") {
			args = nil
		}
		_, err := pool.Exec(t.Context(), fmt.Sprintf(sql, schema), args...)
		require.NoError(t, err)
	}
	explain("many tasks, of which the planner doesn't know")
	_, err := pool.Exec(t.Context(), "VACUUM ANALYZE")
	require.NoError(t, err)
	explain("many tasks")
}

// plan runs a statement in a transaction, and returns its plan.
func plan(t *testing.T, tx pgx.Tx, set, sql string, args []any) string {
	t.Cleanup(func() { tx.Rollback(context.Background()) }) // so that the pool can be closed if it fails
	_, err := tx.Exec(t.Context(), set)
	require.NoError(t, err)
	rows, err := tx.Query(t.Context(), "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "+sql, args...)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err, sql)
	return strings.Join(lines, "\n")
}
