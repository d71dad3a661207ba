package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/stretchr/testify/require"
)

// copies is how many tasks are copied: COPY_TASKS, 1,000,000 for the figure of the README.
func copies() int {
	n, err := strconv.Atoi(os.Getenv("COPY_TASKS"))
	if err == nil {
		return n
	}
	if testing.Short() || raceEnabled {
		return 1200
	}
	return 10_000
}

func openFile(t *testing.T, path string) *tasks.Store {
	st, err := tasks.Open(t.Context(), path, tasks.TrackUse())
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st
}

// TestCopy: from a file to PostgreSQL and back, nothing is lost or changed.
func TestCopy(t *testing.T) {
	ctx := t.Context()
	from := openFile(t, filepath.Join(t.TempDir(), "tasks.db"))
	n := copies()
	for begin := 0; begin < n; begin += 1000 {
		var list []tasks.NewTask
		for i := begin; i < min(n, begin+1000); i++ {
			opts := []tasks.CallOption{tasks.Priority(i % 3)}
			if i%10 == 0 {
				opts = append(opts, tasks.Input(fmt.Sprintf("größe %d \x00", i)), tasks.Owner("o"), tasks.UniqueKey(fmt.Sprint("k", i)),
					tasks.WithLabels(map[string]string{"n": fmt.Sprint(i % 7), "größe": "文"}), tasks.TaskBackoff(time.Second), tasks.TaskAttempts(3))
			}
			list = append(list, tasks.NewTask{ID: fmt.Sprint(i), Type: tasks.Form, Options: opts})
		}
		require.Nil(t, from.CreateMany(ctx, list, tasks.Relaxed()))
	}
	for i := range 40 {
		c, err := from.Claim(ctx, time.Hour)
		require.NoError(t, err)
		switch i % 4 {
		case 0:
			require.NoError(t, from.Complete(ctx, c, map[string]any{"n": 1.5, "z": "\x00"}))
			_, err := from.Result(ctx, c.ID) // is used
			require.NoError(t, err)
		case 1:
			require.NoError(t, from.Fail(ctx, c, tasks.Snooze(0, errors.New("why"))))
			c, err = from.Claim(ctx, time.Hour)
			require.NoError(t, err)
			require.NoError(t, from.Fail(ctx, c, errors.New("why")))
		case 2:
			require.NoError(t, from.Report(ctx, c.ID, tasks.Advance{Done: 1, Total: 0.1, Note: "x"}))
		}
	}
	for i := range 700 {
		require.NoError(t, from.Warm(ctx, tasks.Form, i, fmt.Sprint("result ", i), tasks.TTL(time.Duration(i+1)*time.Hour)))
	}
	_, err := from.Do(ctx, tasks.Form, "bad", func(context.Context) (any, error) { return nil, errors.New("kaputt") }, tasks.CacheErrors(time.Hour))
	require.Error(t, err)
	require.NoError(t, from.SetLimits(ctx, tasks.Document, tasks.TypeLimits{Running: 3, PerSecond: 0.5}))

	there := open(t, postgres.Config{})
	broken, cancel := context.WithCancel(ctx)
	_, err = tasks.Copy(broken, there, from, tasks.CopyProgress(func(tasks.Copied) { cancel() }))
	require.ErrorIs(t, err, context.Canceled)
	start := time.Now()
	out, err := tasks.Copy(ctx, there, from)
	require.NoError(t, err)
	t.Logf("%d tasks, %d results, %d bytes to PostgreSQL in %v", out.Tasks, out.Results, out.Bytes, time.Since(start))
	require.Equal(t, n, out.Tasks)
	require.Equal(t, 701, out.Results)
	back := openFile(t, filepath.Join(t.TempDir(), "back.db"))
	start = time.Now()
	_, err = tasks.Copy(ctx, back, there)
	require.NoError(t, err)
	t.Logf("back in %v", time.Since(start))
	// Each copy is compared with what it is made of; the two ends, and the order of claims on the way, here.
	for _, q := range []tasks.Query{{Limit: 1000}, {Limit: 1000, Newest: true}, {Label: [2]string{"n", "3"}, Limit: 1000}, {Owner: "o"},
		{Statuses: []tasks.Status{tasks.Processing}}} {
		want, err := from.List(ctx, q)
		require.NoError(t, err)
		for _, st := range []*tasks.Store{there, back} {
			got, err := st.List(ctx, q)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	for range 30 {
		a, err := from.Claim(ctx, time.Minute)
		require.NoError(t, err)
		b, err := there.Claim(ctx, time.Minute)
		require.NoError(t, err)
		require.Equal(t, a.ID, b.ID)
		require.Equal(t, a.Input, b.Input)
	}
}

// TestCopyPython: a file that the Python module has made goes to PostgreSQL.
func TestCopyPython(t *testing.T) {
	path := filepath.Join(t.TempDir(), "docusnap.db")
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 isn't installed")
	}
	out, err := exec.Command(python, "-c", `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TABLE tasks(id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL, result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER)")
for i in range(100):
    db.execute("INSERT INTO tasks(id, type, status, created_at) VALUES(?, 'form', 'pending', ?)", (str(i), 1700000000 + i))
    if i % 2:
        db.execute("UPDATE tasks SET status='completed', result=?, updated_at=? WHERE id=?", ('{"größe": %d.0}' % i, 1700000100, str(i)))
db.commit()
`, path).CombinedOutput()
	require.NoError(t, err, string(out))
	there := open(t, postgres.Config{})
	done, err := tasks.Copy(t.Context(), there, openFile(t, path))
	require.NoError(t, err)
	require.Equal(t, 100, done.Tasks)
	r, err := there.Result(t.Context(), "7")
	require.NoError(t, err)
	require.Equal(t, `{"größe": 7.0}`, string(r.Raw))
	require.Equal(t, time.Unix(1700000007, 0).UTC(), r.CreatedAt)
	c, err := there.Claim(t.Context(), time.Minute)
	require.NoError(t, err)
	require.Equal(t, "0", c.ID)
}
