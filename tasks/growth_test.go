package tasks_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// work counts what SQLite does for a store: steps of its virtual machine, which visits each row by some of them,
// and steps of scans through a whole table.
type work struct {
	mu         sync.Mutex
	steps      int             // guarded by mu
	scans      int             // guarded by mu
	pages      int             // that were looked at; guarded by mu
	statements map[string]bool // guarded by mu
}

func (w *work) option() tasks.Option {
	return tasks.OnConnect(func(c *sqlite3.Conn) {
		err := c.Trace(sqlite3.TRACE_PROFILE, func(_ sqlite3.TraceEvent, stmt, _ any) error {
			s, ok := stmt.(*sqlite3.Stmt)
			if !ok {
				return nil
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.steps += s.Status(sqlite3.STMTSTATUS_VM_STEP, true)
			w.scans += s.Status(sqlite3.STMTSTATUS_FULLSCAN_STEP, true)
			for _, op := range []sqlite3.DBStatus{sqlite3.DBSTATUS_CACHE_HIT, sqlite3.DBSTATUS_CACHE_MISS} {
				n, _, err := c.Status(op, true)
				if err != nil {
					return err
				}
				w.pages += int(n)
			}
			if sql := s.SQL(); sql != "" {
				w.statements[sql] = true
			}
			return nil
		})
		if err != nil {
			panic(err)
		}
	})
}

// during returns what a call costs.
func (w *work) during(f func()) (steps, scans, pages int) {
	w.mu.Lock()
	w.steps, w.scans, w.pages = 0, 0, 0
	w.mu.Unlock()
	f()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.steps, w.scans, w.pages
}

// grown opens a store beside n tasks of each kind that calls about others have nothing to do with,
// and a few that they have.
func grown(t *testing.T, n int) (*tasks.Store, *work) {
	t.Helper()
	w := &work{statements: map[string]bool{}}
	st, c, path := open(t, w.option(), tasks.MaxAttempts(2))
	ctx := t.Context()
	for i, kind := range []string{
		"'pending', NULL, 0",                      // ready, of a type that nobody asks for
		"'pending', 9000000000000, 1700000000000", // in backoff
		"'pending', 9000000000000, NULL",          // for later
		"'completed', NULL, 0", "'error', NULL, 0", "'processing', NULL, 0",
	} {
		typ := "form"
		if i == 0 {
			typ = "document"
		}
		_, err := openSQL(t, path).Exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?)
			INSERT INTO tasks(id, type, status, run_at, delayed_at, created_at, owner)
			SELECT '%d-'||i, '%s', %s, 1600000000+i/10, CASE i%%2 WHEN 0 THEN 'big' ELSE '' END FROM n`, i, typ, kind), n)
		require.NoError(t, err)
	}
	_, err := openSQL(t, path).Exec("INSERT INTO task_labels(name, value, created_at, id) SELECT 'large', 'v', created_at, id FROM tasks WHERE type='form'")
	require.NoError(t, err)
	// Many tasks have it, and many have failed, but few of those.
	_, err = openSQL(t, path).Exec("INSERT INTO task_labels(name, value, created_at, id) SELECT 'mixed', 'v', created_at, id FROM tasks WHERE status='completed' OR id IN ('4-7', '4-8', '4-50')")
	require.NoError(t, err)
	for i := range 5 {
		require.NoError(t, st.Create(ctx, fmt.Sprint("rare", i), tasks.FormFilling, tasks.Owner("small"), tasks.WithLabels(map[string]string{"k": "v"})))
	}
	c.Add(time.Second)
	return st, w
}

// growing are the calls whose work must not grow.
func growing(t *testing.T, st *tasks.Store) []struct {
	name string
	call func(i int)
} {
	ctx := t.Context()
	list := func(q tasks.Query, want int) func(int) {
		return func(int) {
			got, err := st.List(ctx, q)
			require.NoError(t, err)
			require.Len(t, got, want)
		}
	}
	var held tasks.Claimed
	return []struct {
		name string
		call func(i int)
	}{
		{"idle claim", func(int) {
			_, err := st.Claim(ctx, time.Minute, tasks.Form)
			require.ErrorIs(t, err, tasks.ErrNoTask)
		}},
		{"create", func(i int) { require.NoError(t, st.Create(ctx, fmt.Sprint("new", i), tasks.Form, tasks.Input(1))) }},
		{"create what is there", func(i int) { require.ErrorIs(t, st.Create(ctx, fmt.Sprint("new", i), tasks.Form), tasks.ErrExists) }},
		{"create with a key", func(i int) {
			require.NoError(t, st.Create(ctx, fmt.Sprint("keyed", i), tasks.Document, tasks.UniqueKey(fmt.Sprint(i)), tasks.RunAt(time.Now().AddDate(100, 0, 0))))
		}},
		{"create with a key that is there", func(i int) {
			require.ErrorIs(t, st.Create(ctx, fmt.Sprint("again", i), tasks.Document, tasks.UniqueKey(fmt.Sprint(i))), tasks.ErrExists)
		}},
		{"claim", func(int) {
			c, err := st.Claim(ctx, time.Minute, tasks.Form)
			require.NoError(t, err)
			held = c
		}},
		{"extend", func(int) { require.NoError(t, st.Extend(ctx, &held, time.Minute)) }},
		{"progress", func(int) { require.NoError(t, st.Progress(ctx, held.ID, 1)) }},
		{"report", func(int) { require.NoError(t, st.Report(ctx, held.ID, tasks.Advance{Done: 1})) }},
		{"fail", func(int) { require.NoError(t, st.Fail(ctx, held, errors.New("why"))) }},
		{"cancel", func(i int) { require.NoError(t, st.Cancel(ctx, fmt.Sprint("new", i))) }},
		{"retry", func(i int) { require.NoError(t, st.Retry(ctx, fmt.Sprint("new", i))) }},
		{"complete", func(i int) { require.NoError(t, st.Update(ctx, fmt.Sprint("new", i), tasks.Completed, 1)) }},
		{"status", func(i int) { _, err := st.Status(ctx, fmt.Sprint("new", i)); require.NoError(t, err) }},
		{"result", func(i int) { _, err := st.Result(ctx, fmt.Sprint("new", i)); require.NoError(t, err) }},
		{"attempts", func(i int) { _, err := st.Attempts(ctx, fmt.Sprint("new", i)); require.NoError(t, err) }},
		{"input", func(i int) { _, err := st.Input(ctx, fmt.Sprint("new", i)); require.NoError(t, err) }},
		{"delete", func(i int) { require.NoError(t, st.Delete(ctx, fmt.Sprint("new", i))) }},
		{"count", func(int) { _, err := st.Count(ctx); require.NoError(t, err) }},
		{"count of an owner", func(int) { _, err := st.CountOwner(ctx, "small"); require.NoError(t, err) }},
		{"list", list(tasks.Query{Limit: 10}, 10)},
		{"list newest", list(tasks.Query{Limit: 10, Newest: true}, 10)},
		{"list page", list(tasks.Query{Limit: 10, After: tasks.Info{ID: "x", CreatedAt: time.Unix(1600000002, 0)}}, 10)},
		{"list of a rare type", list(tasks.Query{Types: []tasks.Type{tasks.FormFilling}}, 5)},
		{"list of a status", list(tasks.Query{Statuses: []tasks.Status{tasks.Completed, tasks.Error}, Limit: 10}, 10)},
		{"list of a rare type and status", list(tasks.Query{Types: []tasks.Type{tasks.FormFilling}, Statuses: []tasks.Status{tasks.Pending}}, 5)},
		{"list of an owner", list(tasks.Query{Owner: "small"}, 5)},
		{"list of an owner and a status", list(tasks.Query{Owner: "big", Statuses: []tasks.Status{tasks.Error}, Limit: 10, Newest: true}, 10)},
		{"list of a rare status in a large label", list(tasks.Query{Label: [2]string{"large", "v"}, Types: []tasks.Type{tasks.FormFilling}}, 0)},
		{"list of a rare owner in a large label", list(tasks.Query{Label: [2]string{"large", "v"}, Owner: "small"}, 0)},
		{"list of a rare status in a label", list(tasks.Query{Label: [2]string{"mixed", "v"}, Statuses: []tasks.Status{tasks.Error}}, 3)},
		{"list of an owner's rare status in a label", list(tasks.Query{Label: [2]string{"mixed", "v"}, Owner: "big", Statuses: []tasks.Status{tasks.Error}}, 2)},
		{"list of a label", list(tasks.Query{Label: [2]string{"k", "v"}}, 5)},
		{"cleanup of nothing", func(int) { _, err := st.Cleanup(ctx, 40*365*24*time.Hour); require.NoError(t, err) }},
		{"cleanup of an owner", func(int) {
			n, err := st.CleanupOwner(ctx, "nobody", 0)
			require.NoError(t, err)
			require.Zero(t, n)
		}},
	}
}

// TestGrowth: the work of a call doesn't grow with tasks that it doesn't concern, and no statement goes through a whole table of tasks.
func TestGrowth(t *testing.T) {
	t.Parallel()
	few, fewWork := grown(t, 50)
	n := sized(2500, 500)
	many, manyWork := grown(t, n)
	fewCalls, manyCalls := growing(t, few), growing(t, many)
	for round := range 2 { // the first time, statements are prepared and pages read
		for i, call := range fewCalls {
			a, _, fewPages := fewWork.during(func() { call.call(round) })
			b, scans, manyPages := manyWork.during(func() { manyCalls[i].call(round) })
			if round == 0 {
				continue
			}
			require.NotZero(t, a, call.name)
			// The indexes may be a level or two deeper.
			require.LessOrEqual(t, manyPages, 3*fewPages+5, "%s: %d pages beside 50 tasks of each kind, %d beside %d", call.name, fewPages, manyPages, n)
			require.LessOrEqual(t, b, a+a/5+20, "%s: %d steps beside 50 tasks of each kind, %d beside %d", call.name, a, b, n)
			if strings.HasPrefix(call.name, "list") && !strings.Contains(call.name, " of") || strings.HasPrefix(call.name, "cleanup") {
				continue // they walk as far as they are asked to
			}
			require.LessOrEqual(t, scans, 40, "%s scans", call.name) // the counts, of which there are a dozen
		}
	}
	others(t, many, manyWork)
	plans(t, manyWork)
}

// others makes the calls whose work is that of what they are asked for, to have their statements looked at.
func others(t *testing.T, st *tasks.Store, w *work) {
	ctx := t.Context()
	var failed []tasks.NewTask
	for i := range 3 {
		failed = append(failed, tasks.NewTask{ID: fmt.Sprint("many", i), Type: tasks.FormFilling, Options: []tasks.CallOption{tasks.Input(i)}})
	}
	require.NoError(t, errors.Join(st.CreateMany(ctx, failed)...))
	_, err := st.Changes(ctx, 0, 100)
	require.NoError(t, err)
	_, err = st.RetryMany(ctx, tasks.Filter{Owner: "small", Label: [2]string{"k", "v"}})
	require.NoError(t, err)
	require.NoError(t, st.Settle(ctx))
	_, err = st.StatusSettled(ctx, "many0")
	require.NoError(t, err)
	_, err = st.ResultSettled(ctx, "many0")
	require.NoError(t, err)
	_, err = st.Do(ctx, tasks.Form, 1, func(context.Context) (any, error) { return 1, nil })
	require.NoError(t, err)
	require.NoError(t, st.Warm(ctx, tasks.Form, 2, 2))
	_, err = st.CacheStats(ctx)
	require.NoError(t, err)
	require.NoError(t, st.InvalidateType(ctx, tasks.Form))
	require.NoError(t, st.SetLimits(ctx, tasks.FormFilling, tasks.TypeLimits{Running: 2, PerSecond: 1000}))
	c, err := st.Claim(ctx, time.Minute, tasks.FormFilling)
	require.NoError(t, err)
	require.NoError(t, st.GiveBack(ctx, c, errors.New("why")))
	run, stop := context.WithCancel(ctx)
	require.NoError(t, st.Run(run, map[tasks.Type]tasks.Handler{tasks.FormFilling: func(ctx context.Context, _ tasks.Info) (any, error) {
		defer stop()
		return tasks.Step(ctx, "step", func(context.Context) (int, error) { return 1, nil })
	}}, 1))
	to, _, _ := open(t, w.option())
	_, err = tasks.Copy(ctx, to, st)
	require.NoError(t, err)
}

// TestCopyGrowth: each part of a copy is found where the one before ended.
func TestCopyGrowth(t *testing.T) {
	t.Parallel()
	perTask := func(n int) int {
		from, w := grown(t, n)
		to, _, _ := open(t)
		steps, _, _ := w.during(func() {
			_, err := tasks.Copy(t.Context(), to, from)
			require.NoError(t, err)
		})
		return steps / (6 * n)
	}
	few, many := perTask(100), perTask(sized(2500, 600))
	require.LessOrEqual(t, many, few+few/5, "steps a task")
}

// TestListPlans: whatever a list is to filter by, it finds what it is to, goes into an index, and a page begins where the one before ended:
// the last page is as cheap as the first.
func TestListPlans(t *testing.T) {
	t.Parallel()
	n := sized(1000, 300)
	st, w := grown(t, n)
	ctx := t.Context()
	all := map[bool][]tasks.Info{}
	for _, newest := range []bool{false, true} {
		for q := (tasks.Query{Newest: newest, Limit: 1000}); ; {
			list, err := st.List(ctx, q)
			require.NoError(t, err)
			all[newest] = append(all[newest], list...)
			if len(list) < q.Limit {
				break
			}
			q.After = list[len(list)-1]
		}
		require.Len(t, all[newest], 6*n+5)
	}
	first := map[string]int{}
	for _, newest := range []bool{false, true} {
		for _, types := range [][]tasks.Type{nil, {tasks.Form}, {tasks.Form, tasks.FormFilling}} {
			for _, statuses := range [][]tasks.Status{nil, {tasks.Error}, {tasks.Pending, tasks.Error}} {
				for _, owner := range []string{"", "big", "small"} {
					for _, label := range []string{"", "large", "mixed", "k"} {
						q := tasks.Query{Types: types, Statuses: statuses, Owner: owner, Newest: newest, Limit: 5}
						if label != "" {
							q.Label = [2]string{label, "v"}
						}
						name := fmt.Sprint(newest, types, statuses, owner, label)
						want := slices.DeleteFunc(slices.Clone(all[newest]), func(i tasks.Info) bool {
							large := i.Type == tasks.Form
							mixed := i.Status == tasks.Completed || slices.Contains([]string{"4-7", "4-8", "4-50"}, i.ID)
							return types != nil && !slices.Contains(types, i.Type) || statuses != nil && !slices.Contains(statuses, i.Status) ||
								owner != "" && i.Owner != owner || label == "large" && !large || label == "mixed" && !mixed || label == "k" && i.Type != tasks.FormFilling
						})
						for _, at := range []int{0, 1, len(want) / 2, len(want) - 5} {
							if at < 0 || at >= len(want) {
								continue
							}
							q.After = tasks.Info{}
							if at > 0 {
								q.After = want[at-1]
							}
							steps, _, _ := w.during(func() {
								list, err := st.List(ctx, q)
								require.NoError(t, err)
								require.Equal(t, want[at:min(at+q.Limit, len(want))], list, name)
							})
							first[name] = cmp.Or(first[name], steps)
							require.LessOrEqual(t, steps, 3*first[name]+400, "%s after %d", name, at)
						}
					}
				}
			}
		}
	}
	_, err := st.Cleanup(ctx, 0)
	require.NoError(t, err)
	plans(t, w)
}

// plans looks at the plans of all statements that were run.
func plans(t *testing.T, w *work) {
	t.Helper()
	_, _, path := open(t)
	c, err := sqlite3.Open("file:" + path)
	require.NoError(t, err)
	defer c.Close()
	n := 0
	for sql := range w.statements {
		switch verb, _, _ := strings.Cut(sql, " "); verb {
		case "SELECT", "UPDATE", "DELETE", "INSERT":
		default:
			continue
		}
		s, _, err := c.Prepare("EXPLAIN QUERY PLAN " + sql)
		require.NoError(t, err, sql)
		for s.Step() {
			plan := s.ColumnText(3)
			if strings.HasPrefix(sql, "SELECT EXISTS(SELECT 1 FROM tasks)") {
				continue // it ends at the first row
			}
			for _, table := range []string{"tasks", "task_leases", "task_attempts", "task_inputs", "task_labels", "task_steps", "task_uses", "task_changes"} {
				bad := strings.HasPrefix(plan, "SCAN "+table) && !strings.Contains(plan, "tasks_created")
				require.False(t, bad, "%s: %s", sql, plan)
			}
			if !strings.Contains(sql, "ORDER BY dead DESC") { // what the cache has least use for, once it is too large
				require.NotContains(t, plan, "TEMP B-TREE FOR ORDER BY", sql)
			}
			for _, table := range []string{"tasks", "l"} {
				if strings.Contains(sql, fmt.Sprintf("(%s.created_at, %[1]s.id) ", table)) && strings.HasPrefix(plan, "SEARCH "+table+" USING") {
					require.Contains(t, plan, "(created_at,id)", sql)
				}
			}
			n++
		}
		require.NoError(t, s.Close())
	}
	require.Greater(t, n, 30)
}

// TestDueTasks: tasks that have become due are claimed, in the order of all tasks, also if they are many.
func TestDueTasks(t *testing.T) {
	t.Parallel()
	st, c, _ := open(t, tasks.RelaxedByDefault())
	ctx := t.Context()
	start, n := c.Now(), sized(200, 80)
	var list []tasks.NewTask
	for i := range n {
		list = append(list, tasks.NewTask{ID: fmt.Sprint(i), Type: tasks.Form, Options: []tasks.CallOption{tasks.RunAt(start.Add(time.Hour))}})
	}
	require.Nil(t, st.CreateMany(ctx, list))
	c.Add(time.Hour - time.Millisecond)
	require.NoError(t, st.Create(ctx, "new", tasks.Form))
	got, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "new", got.ID)
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	c.Add(time.Millisecond)
	require.NoError(t, st.Create(ctx, "newest", tasks.Form))
	for i := range n {
		got, err := st.Claim(ctx, time.Minute)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), got.ID)
		require.True(t, got.RunAt.IsZero())
	}
	got, err = st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "newest", got.ID)
}

// TestCountsByWhomever: the counts are right after whatever statements of the Python module and others.
func TestCountsByWhomever(t *testing.T) {
	st, _, path := open(t)
	ctx := context.WithoutCancel(t.Context())
	db := openSQL(t, path)
	for _, sql := range []string{
		"INSERT INTO tasks (id, type, status, created_at) VALUES ('a', 'form', 'pending', 1), ('b', 'form', 'pending', 2)",
		"UPDATE tasks SET status = 'completed', result = '1', updated_at = 3 WHERE id = 'a'",
		"UPDATE tasks SET owner = 'o'",
		"UPDATE tasks SET type = 'document', owner = 'p' WHERE id = 'b'",
		"INSERT INTO tasks (id, type, status, created_at) VALUES ('a', 'form', 'pending', 1) ON CONFLICT DO NOTHING",
		"UPDATE tasks SET id = 'c', status = status",
		"DELETE FROM tasks WHERE created_at < 2",
		"DELETE FROM tasks",
	} {
		_, err := db.Exec(sql)
		if strings.Contains(sql, "'c'") {
			require.Error(t, err) // two of the same id
			continue
		}
		require.NoError(t, err, sql)
		rows, err := db.Query("SELECT '', type, status, count(*) FROM tasks GROUP BY 2, 3 UNION ALL SELECT owner, type, status, count(*) FROM tasks WHERE owner<>'' GROUP BY 1, 2, 3")
		require.NoError(t, err)
		want := map[string]map[tasks.Type]map[tasks.Status]int{"": {}, "o": {}, "p": {}}
		for rows.Next() {
			var owner string
			var typ tasks.Type
			var status tasks.Status
			var n int
			require.NoError(t, rows.Scan(&owner, &typ, &status, &n))
			if want[owner][typ] == nil {
				want[owner][typ] = map[tasks.Status]int{}
			}
			want[owner][typ][status] = n
		}
		require.NoError(t, rows.Err())
		for owner, of := range want {
			got, err := st.Count(ctx)
			if owner != "" {
				got, err = st.CountOwner(ctx, owner)
			}
			require.NoError(t, err)
			require.Equal(t, of, got, "%s: owner %q", sql, owner)
		}
	}
}
