package tasks_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestForeignTimes: a time in the file that isn't one is an error that names the task; one far away is as it is.
func TestForeignTimes(t *testing.T) {
	t.Parallel()
	st, _, path := open(t)
	ctx := t.Context()
	db := openSQL(t, path)
	for value, want := range map[string]string{ // "" is an error
		"0": "1970-01-01T00:00:00Z", "-1": "1969-12-31T23:59:59Z", "'12'": "1970-01-01T00:00:12Z", "1.75": "1970-01-01T00:00:01Z",
		"-62167219200": "0000-01-01T00:00:00Z", "253402300799": "9999-12-31T23:59:59Z",
		"-62167219201": "", "253402300800": "", "1700000000000": "", "9223372036854775807": "", "-9223372036854775808": "", "1e300": "",
		"'2024-05-06'": "", "''": "", "x'00ff'": "", "'" + strings.Repeat("x", 100) + "'": "",
	} {
		_, err := db.Exec("DELETE FROM tasks; INSERT INTO tasks(id, type, status, created_at, updated_at) VALUES('a', 'form', 'pending', 1, " + value + "), ('b', 'form', 'pending', " + value + ", NULL)")
		require.NoError(t, err)
		for _, id := range []string{"a", "b"} {
			info, err := st.Status(ctx, id)
			if want == "" {
				require.ErrorContains(t, err, `task "`+id+`": `+map[string]string{"a": "updated_at", "b": "created_at"}[id]+" is ", value)
				require.Less(t, len(err.Error()), 200)
				continue
			}
			require.NoError(t, err, value)
			at, err := map[string]time.Time{"a": info.UpdatedAt, "b": info.CreatedAt}[id].MarshalText()
			require.NoError(t, err)
			require.Equal(t, want, string(at))
		}
		list, err := st.List(ctx, tasks.Query{})
		if want == "" {
			require.NoError(t, err)
			require.Empty(t, list, "they don't keep others from being seen")
			_, err = st.Wait(ctx, "a")
			require.Error(t, err)
		} else {
			require.NoError(t, err)
			require.Len(t, list, 2)
			next, err := st.List(ctx, tasks.Query{After: list[0]})
			require.NoError(t, err)
			require.Equal(t, list[1:], next)
		}
		// Such a task can be changed, which makes updated_at good, and doesn't keep workers from the next one.
		require.NoError(t, st.Create(ctx, "good", tasks.Form))
		got := map[string]bool{}
		for range 3 {
			if c, err := st.Claim(ctx, time.Minute); err == nil {
				got[c.ID] = true
			}
		}
		_, err = st.Claim(ctx, time.Minute)
		require.ErrorIs(t, err, tasks.ErrNoTask)
		require.True(t, got["good"], value)
		require.True(t, got["a"])
		require.Equal(t, want != "", got["b"], value)
		if want == "" {
			var status, text string
			require.NoError(t, db.QueryRow("SELECT status, error FROM tasks WHERE id='b'").Scan(&status, &text))
			require.Equal(t, "error", status)
			require.Contains(t, text, "created_at is")
			require.NoError(t, st.Delete(ctx, "b"))
		}
		_, err = st.List(ctx, tasks.Query{})
		require.NoError(t, err)
	}
}

// TestForeignRows: what else others may have written is returned as it is.
func TestForeignRows(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	db := openSQL(t, path)
	for _, row := range []string{
		`'status', 'form', 'archived', NULL`,
		`'type', 'letter', 'completed', NULL`,
		`'json', 'form', 'completed', '{"torn'`,
		`'blob', 'form', 'completed', x'00ff'`,
		`'number', 'form', 'completed', 12`,
		`'empty', 'form', 'completed', ''`,
		`'null', 'form', 'completed', 'null'`,
		`NULL, 'form', 'pending', NULL`,
		`'', 'form', 'pending', NULL`,
		`x'ff', 'form', 'completed', NULL`,
		`'line' || char(10), 'form', 'completed', NULL`,
	} {
		_, err := db.Exec("INSERT INTO tasks(id, type, status, result, created_at) VALUES(" + row + ", 1)")
		require.NoError(t, err, row)
	}
	info, err := st.Status(ctx, "status")
	require.NoError(t, err)
	require.EqualValues(t, "archived", info.Status)
	require.False(t, info.Status.Final())
	var te *tasks.TransitionError
	require.ErrorAs(t, st.Update(ctx, "status", tasks.Completed, nil), &te)
	require.Equal(t, tasks.TransitionError{ID: "status", From: "archived", To: tasks.Completed}, *te)
	require.ErrorIs(t, st.Retry(ctx, "status"), tasks.ErrTransition)
	require.ErrorIs(t, st.Progress(ctx, "status", 1), tasks.ErrTransition)
	info, err = st.Status(ctx, "type")
	require.NoError(t, err)
	require.EqualValues(t, "letter", info.Type)
	for id, raw := range map[string]string{"json": `{"torn`, "blob": "\x00\xff", "number": "12", "null": "null"} {
		res, err := st.Result(ctx, id)
		require.NoError(t, err)
		require.Equal(t, raw, string(res.Raw))
		err = res.Decode(new(any))
		if id == "json" || id == "blob" {
			require.ErrorContains(t, err, `task "`+id+`"`)
		} else {
			require.NoError(t, err)
		}
	}
	res, err := st.Result(ctx, "empty")
	require.NoError(t, err)
	require.Nil(t, res.Raw, "to the Python module, an empty text is no result")
	require.ErrorIs(t, res.Decode(new(any)), tasks.ErrNoResult)
	list, err := st.List(ctx, tasks.Query{})
	require.NoError(t, err)
	require.Len(t, list, 8, "those that have an id")
	counts, err := st.Count(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, counts[tasks.Form]["archived"])
	require.Equal(t, 1, counts["letter"][tasks.Completed])

	// Ids that this package doesn't allow don't hold up workers, and a janitor deletes what has another status.
	require.NoError(t, st.Create(ctx, "good", tasks.Form))
	c, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "good", c.ID)
	cleaning, cancel := context.WithCancel(ctx)
	var deleted int
	require.NoError(t, st.RunJanitor(cleaning, tasks.Janitor{
		Every: time.Millisecond, Default: time.Hour,
		Keep:      map[tasks.Status]time.Duration{tasks.Completed: -1},
		OnCleanup: func(n int, err error) { require.NoError(t, err); deleted = n; cancel() },
	}))
	require.Equal(t, 1, deleted, "what isn't done is spared")
	n, err := st.Cleanup(ctx, time.Hour)
	require.NoError(t, err)
	require.Equal(t, 10, n)
}

// TestFarClock: a clock that is far off changes nothing.
func TestFarClock(t *testing.T) {
	st, c, path := open(t)
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	claimed, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	now := c.Now()
	before, err := st.List(ctx, tasks.Query{})
	require.NoError(t, err)
	tx, err := openSQL(t, path).BeginTx(ctx, nil)
	require.NoError(t, err)
	defer tx.Rollback()
	in, err := st.InTx(tx)
	require.NoError(t, err)
	for _, far := range []time.Time{
		{}, time.Unix(-1, 0), time.Date(9999, 12, 31, 12, 0, 0, 0, time.UTC), time.Date(300_000_000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Unix(math.MaxInt64, 0), time.Unix(math.MinInt64, 0),
	} {
		c.Set(far)
		_, claim := st.Claim(ctx, time.Minute)
		_, cleanup := st.Cleanup(ctx, 0)
		_, do := st.Do(ctx, tasks.Form, 1, never(t))
		for name, err := range map[string]error{
			"Create": st.Create(ctx, "new", tasks.Form), "Update": st.Update(ctx, "b", tasks.Completed, 1),
			"CreateMany": st.CreateMany(ctx, []tasks.NewTask{{ID: "n", Type: tasks.Form}})[0], "Delete": st.Delete(ctx, "b"),
			"Retry": st.Retry(ctx, "b"), "Claim": claim, "Cleanup": cleanup, "Do": do,
			"Extend": st.Extend(ctx, &claimed, time.Minute), "Complete": st.Complete(ctx, claimed, 1),
			"Fail": st.Fail(ctx, claimed, context.Canceled), "Progress": st.Progress(ctx, "a", 1),
			"Warm": st.Warm(ctx, tasks.Form, 1, 1), "Tx": in.Create(ctx, "new", tasks.Form),
		} {
			var input *tasks.InputError
			require.ErrorAs(t, err, &input, "%s at %v", name, far)
			require.Equal(t, "Clock", input.Name)
		}
		list, err := st.List(ctx, tasks.Query{})
		require.NoError(t, err)
		require.Equal(t, before, list)
	}
	c.Set(now)
	require.NoError(t, tx.Rollback()) // it has the write lock: package driver begins with BEGIN IMMEDIATE
	require.NoError(t, st.Complete(ctx, claimed, 1))
}

// TestFarDurations: the longest and the shortest times overflow nowhere.
func TestFarDurations(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	st, c, _ := open(t, tasks.Backoff(func(n int) time.Duration { return map[int]time.Duration{1: -longest, 2: longest}[n] }), tasks.CacheTTL(longest))
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	n, err := st.Cleanup(ctx, longest)
	require.NoError(t, err)
	require.Zero(t, n)
	for _, age := range []time.Duration{-1, -longest, math.MinInt64} {
		_, err = st.Cleanup(ctx, age)
		require.ErrorIs(t, err, tasks.ErrInvalid)
	}
	// A negative backoff is none, and the longest one is longer than 200 years.
	for range 2 {
		claimed, err := st.Claim(ctx, time.Minute)
		require.NoError(t, err)
		require.NoError(t, st.Fail(ctx, claimed, context.Canceled))
	}
	require.NoError(t, st.Warm(ctx, tasks.Form, 1, "warm"))
	require.NoError(t, st.Warm(ctx, tasks.Form, 2, "warm", tasks.TTL(longest)))
	c.Add(200 * 365 * 24 * time.Hour)
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	for i := range 2 {
		_, err = st.Do(ctx, tasks.Form, i+1, never(t))
		require.NoError(t, err)
	}
	n, err = st.Cleanup(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)

	// A janitor with the longest time between cleanups cleans up once at most.
	running, cancel := context.WithCancel(ctx)
	cancel()
	require.NoError(t, st.RunJanitor(running, tasks.Janitor{Every: longest, Default: longest}))
}

// TestForeignStatus: a status that only looks like one of those that a task may come from isn't one.
func TestForeignStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"", " ", "pend", "process", "pending processing x"} {
		st, _, path := open(t)
		_, err := openSQL(t, path).Exec("INSERT INTO tasks(id, type, status, created_at) VALUES('a', 'form', ?, 1)", status)
		require.NoError(t, err)
		var refused *tasks.TransitionError
		require.ErrorAs(t, st.Update(t.Context(), "a", tasks.Completed, nil), &refused, "%q", status)
		require.NoError(t, st.Update(t.Context(), "a", tasks.Completed, nil, tasks.Force()))
	}
}
