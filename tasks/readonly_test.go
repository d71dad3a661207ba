package tasks_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// changing are the calls that a store for reading refuses.
func changing(st *tasks.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Create":   func(ctx context.Context) error { return st.Create(ctx, "new", tasks.Form) },
		"Update":   func(ctx context.Context) error { return st.Update(ctx, "a", tasks.Error, nil) },
		"Retry":    func(ctx context.Context) error { return st.Retry(ctx, "a") },
		"Delete":   func(ctx context.Context) error { return st.Delete(ctx, "a") },
		"Progress": func(ctx context.Context) error { return st.Progress(ctx, "a", 1) },
		"Claim":    func(ctx context.Context) error { _, err := st.Claim(ctx, time.Minute, tasks.FormFilling); return err },
		"Cleanup":  func(ctx context.Context) error { _, err := st.Cleanup(ctx, 1000*time.Hour); return err },
		"Pause":    func(ctx context.Context) error { return st.Pause(ctx, tasks.Form) },
		"Sync":     func(ctx context.Context) error { return st.Sync(ctx) },
		"Do": func(ctx context.Context) error {
			_, err := st.Do(ctx, tasks.Form, "not there", func(context.Context) (any, error) { panic("computed") })
			return err
		},
		"Run": func(ctx context.Context) error {
			return st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) { return nil, nil }}, 1)
		},
		"RunJanitor": func(ctx context.Context) error { return st.RunJanitor(ctx, tasks.Janitor{Every: 1}) },
	}
}

// lookAll makes all calls that look, at a store that has the completed task a and the pending task b.
func lookAll(t *testing.T, st *tasks.Store) {
	t.Helper()
	ctx := t.Context()
	r, err := st.Result(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, tasks.Completed, r.Status)
	require.Equal(t, `"名"`, string(r.Raw))
	info, err := st.Status(ctx, "b")
	require.NoError(t, err)
	require.Equal(t, tasks.Pending, info.Status)
	_, err = st.Status(ctx, "c")
	require.ErrorIs(t, err, tasks.ErrNotFound)
	for _, q := range []tasks.Query{{}, {Newest: true}, {Types: []tasks.Type{tasks.Form}}, {Statuses: []tasks.Status{tasks.Completed, tasks.Pending}}} {
		list, err := st.List(ctx, q)
		require.NoError(t, err)
		require.Len(t, list, 2)
	}
	for _, q := range []tasks.Query{{Owner: "nobody"}, {Label: [2]string{"k", "v"}}} {
		list, err := st.List(ctx, q)
		require.NoError(t, err)
		require.Empty(t, list)
	}
	counts, err := st.Count(ctx)
	require.NoError(t, err)
	require.Equal(t, map[tasks.Type]map[tasks.Status]int{tasks.Form: {tasks.Completed: 1, tasks.Pending: 1}}, counts)
	_, err = st.Attempts(ctx, "a")
	require.NoError(t, err)
	raw, err := st.Input(ctx, "a")
	require.NoError(t, err)
	require.Nil(t, raw)
	_, err = st.Limits(ctx)
	require.NoError(t, err)
	_, err = st.CacheStats(ctx)
	require.NoError(t, err)
	r, err = st.Wait(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, tasks.Completed, r.Status)
}

const twoTasks = `INSERT INTO tasks(id, type, status, result, created_at, updated_at)
	VALUES('a', 'form', 'completed', '"名"', 1600000000, 1600000001), ('b', 'form', 'pending', NULL, 1600000002, NULL);`

// TestReadOnly: a file of any version can be looked at, stays as it is, and what would change it is refused.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	files := map[string]func(path string){"new": func(path string) {
		st, err := tasks.Open(t.Context(), path)
		require.NoError(t, err)
		require.NoError(t, st.Close())
		sqlFile(t, path, twoTasks)
	}}
	for i, schema := range schemas {
		for _, mode := range []string{"delete", "wal"} {
			files[fmt.Sprint("version ", i, " ", mode)] = func(path string) { sqlFile(t, path, "PRAGMA journal_mode="+mode+";"+schema+twoTasks) }
		}
	}
	for name, file := range files {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tasks.db")
			file(path)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			st, err := tasks.Open(t.Context(), path, tasks.ReadOnly())
			require.NoError(t, err)
			lookAll(t, st)
			for name, call := range changing(st) {
				require.ErrorIs(t, call(t.Context()), tasks.ErrReadOnly, name)
			}
			require.NoError(t, st.Close())
			for name, call := range changing(st) {
				require.ErrorIs(t, call(t.Context()), tasks.ErrClosed, name)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, sha256.Sum256(before), sha256.Sum256(after))
		})
	}
}

// TestReadOnlyFollows: who looks at a file sees what others write to it meanwhile, whatever its version, and is told of it.
func TestReadOnlyFollows(t *testing.T) {
	t.Parallel()
	for i, schema := range append([]string{""}, schemas...) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tasks.db")
			if schema == "" {
				st, err := tasks.Open(t.Context(), path)
				require.NoError(t, err)
				defer st.Close()
			} else {
				sqlFile(t, path, "PRAGMA journal_mode=wal;"+schema)
			}
			sqlFile(t, path, twoTasks)
			st, err := tasks.Open(t.Context(), path, tasks.ReadOnly())
			require.NoError(t, err)
			defer st.Close()
			lookAll(t, st)
			next := 0
			for r, err := range st.Watch(t.Context(), "b") {
				require.NoError(t, err)
				if r.Status == tasks.Completed {
					break
				}
				next++
				require.Equal(t, 1, next)
				sqlFile(t, path, "UPDATE tasks SET status='completed', updated_at=1600000003 WHERE id='b'")
			}
		})
	}
}

// TestReadOnlyNone: what isn't there, or isn't a task table, isn't made.
func TestReadOnlyNone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.db")
	_, err := tasks.Open(t.Context(), path, tasks.ReadOnly())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoFileExists(t, path)
	_, err = tasks.Open(t.Context(), filepath.Dir(path), tasks.ReadOnly())
	require.ErrorIs(t, err, tasks.ErrInvalid)
	var table *tasks.TableError
	for _, sql := range []string{"CREATE TABLE theirs(x)", "CREATE TABLE tasks(id INTEGER PRIMARY KEY)"} {
		path := filepath.Join(t.TempDir(), "tasks.db")
		sqlFile(t, path, sql)
		_, err = tasks.Open(t.Context(), path, tasks.ReadOnly())
		require.ErrorAs(t, err, &table)
		require.False(t, errors.Is(err, tasks.ErrReadOnly))
	}
	sqlFile(t, path, "CREATE TABLE tasks_schema(version INTEGER NOT NULL); INSERT INTO tasks_schema VALUES(99)")
	_, err = tasks.Open(t.Context(), path, tasks.ReadOnly())
	require.ErrorContains(t, err, "version 99")
}
