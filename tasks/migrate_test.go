package tasks_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/testclock"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// schemas are what files of each version were made with. They never change.
var schemas = []string{
	// The Python module's.
	`CREATE TABLE tasks (
		id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL,
		result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER);`,
	`CREATE TABLE tasks(
		id TEXT PRIMARY KEY,
		type TEXT NOT NULL,
		status TEXT NOT NULL,
		result TEXT,
		created_at INTEGER NOT NULL,
		updated_at INTEGER,
		attempts INTEGER NOT NULL DEFAULT 0, error TEXT, run_at INTEGER, lease_until INTEGER, lease TEXT);
	CREATE INDEX tasks_created ON tasks(created_at, id);
	CREATE INDEX tasks_pending ON tasks(type, created_at, id) WHERE status='pending';
	CREATE INDEX tasks_leased ON tasks(lease_until) WHERE lease_until IS NOT NULL;
	CREATE TABLE task_attempts(
		id TEXT NOT NULL,
		attempt INTEGER NOT NULL,
		started_at INTEGER NOT NULL,
		ended_at INTEGER,
		error TEXT,
		PRIMARY KEY(id, attempt)
	) WITHOUT ROWID;
	CREATE TABLE task_cache(
		type TEXT NOT NULL,
		key TEXT NOT NULL,
		result TEXT,
		created_at INTEGER NOT NULL,
		expires_at INTEGER,
		used_at INTEGER NOT NULL,
		uses INTEGER NOT NULL DEFAULT 0,
		lease_until INTEGER,
		lease TEXT,
		PRIMARY KEY(type, key)
	) WITHOUT ROWID;
	INSERT INTO task_attempts VALUES('old', 1, 1600000000000, 1600000001000, 'first');
	INSERT INTO task_cache(type, key, result, created_at, used_at) VALUES('form', 'k', '7', 0, 0);
	CREATE TABLE tasks_schema(version INTEGER NOT NULL);
	INSERT INTO tasks_schema VALUES(1);`,
}

// sqlFile runs statements on a file, with the stock VFS.
func sqlFile(t *testing.T, path, sql string) {
	t.Helper()
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	require.NoError(t, c.Exec(sql))
	require.NoError(t, c.Close())
}

// TestMigrate: a file of each older version opens, keeps its data, and can do what a new one can.
func TestMigrate(t *testing.T) {
	t.Parallel()
	all := slices.Clone(schemas)
	for version := len(all); version < tasks.SchemaVersion; version++ {
		all = append(all, tasks.SchemaOf(version))
	}
	for version, schema := range all {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tasks.db")
			sqlFile(t, path, schema+`
				INSERT INTO tasks(id, type, status, created_at) VALUES('new', 'form', 'pending', 1600000002);
				INSERT INTO tasks(id, type, status, result, created_at, updated_at) VALUES('old', 'document', 'error', '["名"]', 1600000000, 1600000001);
				CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1); PRAGMA user_version=42;`)
			ctx := t.Context()
			for range 2 { // the second time there is nothing to migrate
				st, err := tasks.Open(ctx, path)
				require.NoError(t, err)
				res, err := st.Result(ctx, "old")
				require.NoError(t, err)
				require.Equal(t, tasks.Result{Info: tasks.Info{
					ID: "old", Type: tasks.Document, Status: tasks.Error,
					CreatedAt: time.Unix(1600000000, 0).UTC(), UpdatedAt: time.Unix(1600000001, 0).UTC(), EndedAt: time.Unix(1600000001, 0).UTC(),
				}, Raw: []byte(`["名"]`)}, res)
				require.NoError(t, st.Close())
			}
			st, err := tasks.Open(ctx, path)
			require.NoError(t, err)
			defer st.Close()
			c, err := st.Claim(ctx, time.Minute)
			require.NoError(t, err)
			require.Equal(t, "new", c.ID)
			require.NoError(t, st.Complete(ctx, c, 1))
			if version == 1 {
				_, err := st.Do(ctx, tasks.Form, nil, never(t), tasks.Key("k"))
				require.NoError(t, err)
			}
			require.NoError(t, st.Delete(ctx, "old"))
			db := openSQL(t, path)
			var n, user int
			require.NoError(t, db.QueryRow("SELECT count(*) FROM task_attempts WHERE id='old'").Scan(&n))
			require.Zero(t, n, "attempts go with their task")
			require.NoError(t, db.QueryRow("SELECT version FROM tasks_schema").Scan(&n))
			require.Equal(t, tasks.SchemaVersion, n)
			require.NoError(t, db.QueryRow("SELECT x, user_version FROM theirs, pragma_user_version").Scan(&n, &user))
			require.Equal(t, []int{1, 42}, []int{n, user})
		})
	}
}

// TestNewLikeMigrated: a new file has what an empty one has after all migrations.
func TestNewLikeMigrated(t *testing.T) {
	t.Parallel()
	look := func(path string) (all []string) {
		st, err := tasks.Open(t.Context(), path)
		require.NoError(t, err)
		require.NoError(t, st.Close())
		rows, err := openSQL(t, path).Query(`SELECT type || ' ' || name || ' ' || iif(type='table', (SELECT group_concat(
				concat_ws(',', cid, x.name, x.type, "notnull", dflt_value, pk, hidden), '; ') FROM pragma_table_xinfo(s.name) x), coalesce(sql, ''))
			FROM sqlite_schema s ORDER BY name`)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var s string
			require.NoError(t, rows.Scan(&s))
			all = append(all, s)
		}
		return all
	}
	old := filepath.Join(t.TempDir(), "old.db")
	sqlFile(t, old, pythonTable)
	migrated := look(old)
	require.Greater(t, len(migrated), 30)
	require.Equal(t, migrated, look(filepath.Join(t.TempDir(), "new.db")))
}

// TestNewerVersion: a file of a newer program is refused, and stays as it is.
func TestNewerVersion(t *testing.T) {
	for _, mode := range []string{"delete", "wal"} {
		path := filepath.Join(t.TempDir(), "tasks.db")
		sqlFile(t, path, "PRAGMA journal_mode="+mode+"; CREATE TABLE tasks_schema(version INTEGER NOT NULL); INSERT INTO tasks_schema VALUES(99)")
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		_, err = tasks.Open(t.Context(), path)
		require.ErrorContains(t, err, "version 99")
		require.ErrorContains(t, err, "tasks.db")
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, before, after, mode)
		require.NoFileExists(t, path+"-wal")
	}
}

// TestOpenNewTogether: stores of one process open the same new file at the same time.
func TestOpenNewTogether(t *testing.T) {
	t.Parallel()
	for range sized(30, 5) {
		path := filepath.Join(t.TempDir(), "tasks.db")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				st, err := tasks.Open(t.Context(), path)
				if err == nil {
					err = st.Create(t.Context(), fmt.Sprint(i), tasks.Form)
					defer st.Close()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// countdown is a context that is cancelled when it is looked at once too often, as those do who wait for a lock.
type countdown struct {
	context.Context
	looks  int32
	cancel context.CancelFunc
}

func (c *countdown) Err() error {
	if atomic.AddInt32(&c.looks, -1) < 0 {
		c.cancel()
	}
	return c.Context.Err()
}

// TestOpenCancelled: a cancelled context ends the wait for somebody who has the file.
func TestOpenCancelled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.db")
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer c.Close()
	for _, lock := range []string{"BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "PRAGMA journal_mode=wal; BEGIN IMMEDIATE"} {
		require.NoError(t, c.Exec(lock))
		for looks := range int32(30) {
			ctx, cancel := context.WithCancel(t.Context())
			_, err := tasks.Open(&countdown{ctx, looks, cancel}, path)
			require.ErrorIs(t, err, context.Canceled)
		}
		require.NoError(t, c.Exec("ROLLBACK"))
	}
	// That isn't a database.
	path = filepath.Join(t.TempDir(), "text.db")
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o600))
	require.NoError(t, os.WriteFile(path, []byte("not a database, but a text that is long enough to have a header's length, and more than a hundred bytes."), 0o600))
	_, err = tasks.Open(t.Context(), path)
	require.ErrorIs(t, err, sqlite3.NOTADB)
	require.ErrorContains(t, err, "text.db")
}

// TestMigrateLeases: what workers of an older version hold and wait for goes on.
func TestMigrateLeases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	c := testclock.New()
	sqlFile(t, path, schemas[1]+fmt.Sprintf(`
		INSERT INTO tasks(id, type, status, created_at, attempts, lease, lease_until) VALUES('held', 'form', 'processing', 1600000000, 1, 'secret', %d);
		INSERT INTO task_attempts VALUES('held', 1, 1600000000000, NULL, NULL);
		INSERT INTO tasks(id, type, status, created_at, attempts, run_at) VALUES('waits', 'form', 'pending', 1600000000, 1, %d);`,
		c.Now().Add(time.Minute).UnixMilli(), c.Now().Add(time.Hour).UnixMilli()))
	ctx := t.Context()
	st, err := tasks.Open(ctx, path, tasks.Clock(c.Now), tasks.Backoff(func(int) time.Duration { return 0 }))
	require.NoError(t, err)
	defer st.Close()
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	counts, err := st.Count(ctx)
	require.NoError(t, err)
	require.Equal(t, map[tasks.Status]int{tasks.Pending: 1, tasks.Processing: 1}, counts[tasks.Form])
	held := tasks.Claimed{Info: tasks.Info{ID: "held"}, Lease: "secret"}
	require.NoError(t, st.Extend(ctx, &held, 2*time.Minute))
	c.Add(2 * time.Minute)
	again, err := st.Claim(ctx, time.Hour)
	require.NoError(t, err)
	require.Equal(t, "held", again.ID)
	require.Equal(t, 2, again.Attempts)
	require.Zero(t, again.Uncounted, "nobody knows of another task of its worker")
	c.Add(58 * time.Minute)
	waits, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "waits", waits.ID)
}

// TestMigrateLabels: labels of an older version are found by what lists are filtered by, also where the file is only looked at,
// and by an older process that had it open before.
func TestMigrateLabels(t *testing.T) {
	t.Parallel()
	const first = 4 // of those that have labels
	for version := first; version < tasks.SchemaVersion; version++ {
		path := filepath.Join(t.TempDir(), "tasks.db")
		sqlFile(t, path, tasks.SchemaOf(version)+`
			INSERT INTO tasks(id, type, status, created_at, owner, labels) VALUES
				('a', 'form', 'error', 1600000000, 'o', '{"k":"v"}'), ('b', 'form', 'pending', 1600000001, '', '{"k":"v"}'), ('c', 'form', 'error', 1600000002, 'o', NULL);
			INSERT INTO task_labels(name, value, created_at, id) SELECT 'k', 'v', created_at, id FROM tasks WHERE labels IS NOT NULL`)
		look := func(opts ...tasks.Option) (found []string) {
			st, err := tasks.Open(t.Context(), path, opts...)
			require.NoError(t, err)
			defer st.Close()
			label := [2]string{"k", "v"}
			for _, q := range []tasks.Query{{Label: label}, {Label: label, Statuses: []tasks.Status{tasks.Error}}, {Label: label, Owner: "o"}, {Label: label, Types: []tasks.Type{tasks.Document}}} {
				list, err := st.List(t.Context(), q)
				require.NoError(t, err)
				for _, i := range list {
					found = append(found, i.ID)
				}
				found = append(found, "|")
			}
			return found
		}
		want := []string{"a", "b", "|", "a", "|", "a", "|", "|"}
		require.Equal(t, want, look(tasks.ReadOnly()), version)
		require.Equal(t, want, look(), version)
		sqlFile(t, path, `INSERT INTO task_labels(name, value, created_at, id) VALUES('k', 'v', 1600000002, 'c')`)
		require.Equal(t, []string{"a", "b", "c", "|", "a", "c", "|", "a", "c", "|", "|"}, look(), version)
	}
}
