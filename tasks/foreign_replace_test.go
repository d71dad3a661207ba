package tasks_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// wrongs finds what isn't as the tasks are: counts, and rows of tasks that aren't there.
var wrongs = map[string]string{
	"a count": `SELECT * FROM (SELECT '' AS owner, type, status, count(*) AS n FROM tasks GROUP BY 2, 3
		UNION ALL SELECT owner, type, status, count(*) FROM tasks WHERE owner<>'' GROUP BY 1, 2, 3) EXCEPT SELECT owner, type, status, n FROM task_counts`,
	"a count of none": `SELECT owner, type, status, n FROM task_counts WHERE n<>0 EXCEPT SELECT '' AS owner, type, status, count(*) AS n FROM tasks GROUP BY 2, 3
		EXCEPT SELECT owner, type, status, count(*) FROM tasks WHERE owner<>'' GROUP BY 1, 2, 3`,
	"a lease":                  "SELECT id FROM task_leases EXCEPT SELECT id FROM tasks WHERE status='processing'",
	"an attempt":               "SELECT id FROM task_attempts EXCEPT SELECT id FROM tasks",
	"an input":                 "SELECT id FROM task_inputs EXCEPT SELECT id FROM tasks",
	"a label's copy":           "SELECT id, owner, type, status FROM task_labels EXCEPT SELECT id, owner, type, status FROM tasks",
	"a label":                  "SELECT id FROM task_labels EXCEPT SELECT id FROM tasks",
	"a step":                   "SELECT id FROM task_steps EXCEPT SELECT id FROM tasks",
	"a use":                    "SELECT id FROM task_uses EXCEPT SELECT id FROM tasks",
	"what has been in the way": "SELECT task FROM task_replaced WHERE gone",
}

// wrong returns what isn't as the tasks are.
func wrong(t *testing.T, c *sqlite3.Conn) (all []string) {
	t.Helper()
	for what, sql := range wrongs {
		s, _, err := c.Prepare(sql)
		require.NoError(t, err, what)
		for s.Step() {
			all = append(all, what)
		}
		require.NoError(t, s.Close())
	}
	return all
}

// populate makes tasks of each kind: four that workers hold, of which three have an input, labels and steps, owned ones, and others with unique keys.
func populate(t *testing.T, st *tasks.Store, c *sqlite3.Conn) {
	t.Helper()
	ctx := t.Context()
	for i := range 4 {
		opts := []tasks.CallOption{tasks.UniqueKey(fmt.Sprint("key", i)), tasks.Input(i), tasks.WithLabels(map[string]string{"k": "v"})}
		if i%2 == 1 {
			opts = append(opts, tasks.Owner("o"))
		}
		require.NoError(t, st.Create(ctx, fmt.Sprint("held", i), tasks.Form, opts...))
		_, err := st.Claim(ctx, time.Minute, tasks.Form)
		require.NoError(t, err)
		require.NoError(t, st.Create(ctx, fmt.Sprint("waits", i), tasks.Document, opts[1:]...))
	}
	require.NoError(t, c.Exec("INSERT INTO task_steps SELECT id, 's', '1' FROM tasks; INSERT INTO task_uses SELECT id, 1 FROM tasks"))
}

// foreignStatements are what others may do with the table. Some of them fail, and change nothing.
var foreignStatements = []string{
	"INSERT OR REPLACE INTO tasks(id, type, status, created_at) VALUES('held1', 'document', 'pending', 5)",
	"REPLACE INTO tasks(id, type, status, result, created_at) VALUES('held1', 'form', 'completed', '1', 5), ('new', 'form', 'pending', NULL, 5), ('waits0', 'form', 'pending', NULL, 5)",
	"REPLACE INTO tasks(id, type, status, created_at) SELECT id, type, 'error', created_at FROM tasks",
	"REPLACE INTO tasks(id, type, status, created_at, owner, unique_key) VALUES('other', 'form', 'pending', 5, 'o', 'key1')",
	"REPLACE INTO tasks(id, type, status, created_at, owner, unique_key) VALUES('held0', 'form', 'pending', 5, 'o', 'key1')",
	"REPLACE INTO tasks(rowid, id, type, status, created_at) VALUES(1, 'other', 'form', 'pending', 5)",
	"REPLACE INTO tasks(rowid, id, type, status, created_at, owner, unique_key) VALUES(1, 'held1', 'form', 'pending', 5, 'o', 'key3')",
	"INSERT OR IGNORE INTO tasks(id, type, status, created_at) VALUES('held1', 'form', 'pending', 5)",
	"INSERT OR IGNORE INTO tasks(id, type, status, created_at) VALUES('held1', 'form', 'pending', 5), ('new', 'form', 'pending', 5)",
	"INSERT OR IGNORE INTO tasks(id, type, status, created_at) VALUES('held1', 'form', 'pending', 5); DELETE FROM tasks WHERE id='held1'; INSERT INTO tasks(id, type, status, created_at) VALUES('held1', 'form', 'pending', 5)",
	"INSERT OR FAIL INTO tasks(id, type, status, created_at) VALUES('new', 'form', 'pending', 5), ('held1', 'form', 'pending', 5)",
	"INSERT INTO tasks(id, type, status, created_at) VALUES('new', 'form', 'pending', 5), ('held1', 'form', 'pending', 5)",
	"INSERT INTO tasks(id, type, status, created_at) VALUES('held1', 'form', 'pending', 5) ON CONFLICT DO NOTHING",
	"INSERT INTO tasks(id, type, status, created_at) VALUES('held1', 'document', 'pending', 5) ON CONFLICT DO UPDATE SET status='error', type=excluded.type",
	"UPDATE tasks SET id='held2' WHERE id='held1'",
	"UPDATE OR REPLACE tasks SET id='held2' WHERE id='held1'",
	"UPDATE OR IGNORE tasks SET id='held2' WHERE id='held1'",
	"UPDATE OR REPLACE tasks SET id='held2', type='document', status='pending' WHERE id='waits1'",
	"UPDATE OR REPLACE tasks SET owner='o', unique_key='key1' WHERE id='waits2'",
	"UPDATE OR REPLACE tasks SET rowid=1 WHERE id='waits2'",
	"UPDATE OR REPLACE tasks SET _rowid_=1, id='held2' WHERE id='waits3'",
	"UPDATE OR REPLACE tasks SET id='held2', status='pending' WHERE id='held1'",
	"UPDATE OR REPLACE tasks SET id='held2', status='completed', result='1' WHERE id='held1'",
	"UPDATE OR REPLACE tasks SET id='waits2', status='pending' WHERE id='held1'",
	"UPDATE tasks SET rowid=rowid+1000",
	"UPDATE tasks SET id='renamed-'||id",
	"UPDATE tasks SET id=CAST(id AS BLOB) WHERE status='pending'",
	"UPDATE tasks SET id=NULL WHERE status='pending'",
	"UPDATE OR REPLACE tasks SET id='one'",
	"UPDATE tasks SET status='completed', result='1', updated_at=6 WHERE id='held1'",
	"UPDATE tasks SET owner='p', status='error', type='document'",
	"UPDATE tasks SET owner='' WHERE owner<>''",
	"DELETE FROM tasks WHERE id LIKE 'held%'",
	"DELETE FROM tasks",
	"BEGIN; DELETE FROM tasks; ROLLBACK",
	"BEGIN; REPLACE INTO tasks(id, type, status, created_at) VALUES('held1', 'document', 'pending', 5); SAVEPOINT s; DELETE FROM tasks; ROLLBACK TO s; COMMIT",
}

// TestForeignStatements: counts, leases and all that is kept beside tasks is right after whatever statements of others, who use another VFS,
// and what the store makes of it is.
func TestForeignStatements(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"PRAGMA recursive_triggers=0", "PRAGMA recursive_triggers=1"} {
		st, _, path := open(t, tasks.RelaxedByDefault())
		c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.Exec(before))
		for _, sql := range foreignStatements {
			require.NoError(t, c.Exec("DELETE FROM tasks"))
			populate(t, st, c)
			require.Empty(t, wrong(t, c), sql)
			if err := c.Exec(sql); err != nil {
				require.ErrorIs(t, err, sqlite3.CONSTRAINT, sql)
			}
			require.True(t, c.GetAutocommit(), sql)
			require.Empty(t, wrong(t, c), "%s: %s", before, sql)
			listed(t, st, sql)
		}
	}
}

// listed checks that lists by what the counts say find as many tasks as a list of all.
func listed(t *testing.T, st *tasks.Store, msg string) {
	t.Helper()
	ctx := t.Context()
	counts, err := st.Count(ctx)
	require.NoError(t, err)
	n := 0
	for typ, of := range counts {
		for status, many := range of {
			found, err := st.List(ctx, tasks.Query{Types: []tasks.Type{typ}, Statuses: []tasks.Status{status}})
			require.NoError(t, err)
			require.LessOrEqual(t, len(found), many, msg) // others' ids may be no texts
			n += len(found)
		}
	}
	list, err := st.List(ctx, tasks.Query{})
	require.NoError(t, err)
	require.Len(t, list, n, msg)
}

// TestForeignStatementsControl: without the triggers for it, REPLACE leaves what isn't as the tasks are.
func TestForeignStatementsControl(t *testing.T) {
	st, _, path := open(t, tasks.RelaxedByDefault())
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer c.Close()
	populate(t, st, c)
	require.NoError(t, c.Exec("DROP TRIGGER tasks_replaced_insert; REPLACE INTO tasks(id, type, status, created_at) VALUES('held1', 'document', 'pending', 5)"))
	found := wrong(t, c)
	require.Contains(t, found, "a count")
	require.Contains(t, found, "a lease")
}

// TestRenamed: who changes a task's id keeps what belongs to it.
func TestRenamed(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer c.Close()
	populate(t, st, c)
	require.NoError(t, c.Exec("UPDATE tasks SET id='renamed' WHERE id='held1'"))
	info, err := st.Status(ctx, "renamed")
	require.NoError(t, err)
	require.Equal(t, tasks.Processing, info.Status)
	raw, err := st.Input(ctx, "renamed")
	require.NoError(t, err)
	require.Equal(t, "1", string(raw))
	list, err := st.Attempts(ctx, "renamed")
	require.NoError(t, err)
	require.Len(t, list, 1)
	labelled, err := st.List(ctx, tasks.Query{Label: [2]string{"k", "v"}, Owner: "o", Types: []tasks.Type{tasks.Form}})
	require.NoError(t, err)
	require.Len(t, labelled, 2)
	require.Equal(t, "held3", labelled[0].ID)
	require.Equal(t, "renamed", labelled[1].ID)
}

// TestCountsMended: counts that drifted in a file of an older version, and before the triggers, are right again once it is opened.
func TestCountsMended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	sqlFile(t, path, tasks.SchemaOf(5)+`
		INSERT INTO tasks(id, type, status, created_at, owner) VALUES('a', 'form', 'pending', 1, 'o');
		REPLACE INTO tasks(id, type, status, created_at) VALUES('a', 'form', 'completed', 1);`)
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	defer st.Close()
	counts, err := st.Count(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[tasks.Type]map[tasks.Status]int{tasks.Form: {tasks.Completed: 1}}, counts)
	counts, err = st.CountOwner(t.Context(), "o")
	require.NoError(t, err)
	require.Empty(t, counts)
}
