package tasks_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// pythonModule has the statements of DocuSnap's Python module, which connects anew for each operation.
const pythonModule = `
import json, sqlite3, sys, time
path, what, args = sys.argv[1], sys.argv[2], sys.argv[3:]

def run(f):
    db = sqlite3.connect(path, timeout=30)
    try:
        out = f(db.cursor())
        db.commit()
        return out
    finally:
        db.close()

def init(c):
    c.execute("""CREATE TABLE IF NOT EXISTS tasks (
        id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL,
        result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER)""")

def create(id, type):
    run(lambda c: c.execute("INSERT INTO tasks (id, type, status, created_at) VALUES (?, ?, ?, ?)",
        (id, type, "pending", int(time.time()))))

def update(id, status, result):
    run(lambda c: c.execute("UPDATE tasks SET status = ?, result = ?, updated_at = ? WHERE id = ?",
        (status, json.dumps(result, ensure_ascii=False), int(time.time()), id)))

def get(c):
    c.execute("SELECT status, result, created_at, updated_at FROM tasks WHERE id = ?", (args[0],))
    return c.fetchone()

if what == "init": run(init)
elif what == "create": create(*args)
elif what == "update": update(args[0], args[1], json.loads(args[2]))
elif what == "get":
    row = run(get)
    print(row[0], json.loads(row[1]) if row[1] else None)
elif what == "cleanup":
    def cleanup(c):
        c.execute("DELETE FROM tasks WHERE created_at < ?", (int(time.time()) - int(args[0]),))
        return c.rowcount
    print(run(cleanup))
elif what == "run": run(lambda c: [c.execute(sql) for sql in args])
elif what == "many":
    for i in range(int(args[1])):
        create("%s%d" % (args[0], i), "form")
        update("%s%d" % (args[0], i), "completed", {"n": i, "name": "名"})
`

// python runs the module on a database.
func python(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := pythonCommand(t, path, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.TrimSpace(string(out))
}

func pythonCommand(t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := exec.LookPath("python3")
	if err == nil {
		err = exec.Command(exe, "-c", "import sqlite3").Run()
	}
	if err != nil {
		t.Skip("there is no Python 3 with sqlite3: ", err)
	}
	cmd := exec.Command(exe, append([]string{"-c", pythonModule, path}, args...)...)
	cmd.Env = append(cmd.Environ(), "PYTHONIOENCODING=utf-8")
	return cmd
}

// TestPython: the Python module goes on working, on a database of its own making and on ours.
func TestPython(t *testing.T) {
	t.Parallel()
	for _, maker := range []string{"python", "go"} {
		t.Run(maker, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tasks.db")
			if maker == "python" {
				python(t, path, "init")
				python(t, path, "create", "old", "document")
				python(t, path, "update", "old", "completed", `{"name": "名前", "n": 1}`)
			}
			st, err := tasks.Open(t.Context(), path)
			require.NoError(t, err)
			defer st.Close()
			ctx := t.Context()
			if maker == "python" {
				res, err := st.Result(ctx, "old")
				require.NoError(t, err)
				require.Equal(t, tasks.Completed, res.Status)
				require.Equal(t, `{"name": "名前", "n": 1}`, string(res.Raw))
				require.WithinDuration(t, time.Now(), res.UpdatedAt, time.Minute)
			}
			python(t, path, "init")
			python(t, path, "create", "theirs", "form_filling")
			require.NoError(t, st.Update(ctx, "theirs", tasks.Processing, nil))
			require.NoError(t, st.Create(ctx, "ours", tasks.Form))
			require.NoError(t, st.Update(ctx, "ours", tasks.Completed, []any{"文件", 1.5, nil}))
			require.Equal(t, "completed ['文件', 1.5, None]", python(t, path, "get", "ours"))
			require.Equal(t, "processing None", python(t, path, "get", "theirs"))

			// Both at the same time.
			theirs, ours := sized(40, 20), sized(200, 50)
			cmd := pythonCommand(t, path, "many", "p", fmt.Sprint(theirs))
			require.NoError(t, cmd.Start())
			for i := range ours {
				id := fmt.Sprint("g", i)
				require.NoError(t, st.Create(ctx, id, tasks.Form, tasks.Relaxed()))
				require.NoError(t, st.Update(ctx, id, tasks.Completed, i, tasks.Relaxed()))
			}
			require.NoError(t, cmd.Wait())
			counts, err := st.Count(ctx)
			require.NoError(t, err)
			require.Equal(t, theirs+ours+1, counts[tasks.Form][tasks.Completed])
			for i := range theirs {
				res, err := st.Result(ctx, fmt.Sprint("p", i))
				require.NoError(t, err)
				var v struct {
					N    int
					Name string
				}
				require.NoError(t, res.Decode(&v))
				require.Equal(t, i, v.N)
				require.Equal(t, "名", v.Name)
			}
			require.Equal(t, "0", python(t, path, "cleanup", "1000"))
			require.NotEqual(t, "0", python(t, path, "cleanup", "-1000"))
			_, err = st.Status(ctx, "ours")
			require.ErrorIs(t, err, tasks.ErrNotFound)
		})
	}
}

// TestPythonReplaces: what a Python program replaces, gives other ids or deletes is counted, and takes its leases and attempts along.
// Its SQLite is another one, with other defaults.
func TestPythonReplaces(t *testing.T) {
	t.Parallel()
	st, _, path := open(t)
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer c.Close()
	populate(t, st, c)
	for i, sql := range []string{
		"INSERT OR REPLACE INTO tasks (id, type, status, created_at) VALUES ('held1', 'form', 'pending', 7)",
		"REPLACE INTO tasks (id, type, status, created_at) SELECT id, 'document', status, created_at FROM tasks",
		"UPDATE OR REPLACE tasks SET id = 'held2' WHERE id = 'held1'",
		"UPDATE tasks SET id = 'p-' || id",
		"INSERT OR IGNORE INTO tasks (id, type, status, created_at) VALUES ('p-held2', 'form', 'pending', 7)",
		"DELETE FROM tasks WHERE status = 'pending'",
		"DELETE FROM tasks",
	} {
		python(t, path, "run", sql)
		require.Empty(t, wrong(t, c), sql)
		listed(t, st, sql)
		if i%3 > 0 {
			continue // a Python takes its time to start
		}
		python(t, path, "create", fmt.Sprint("theirs", i), "form")
		python(t, path, "update", fmt.Sprint("theirs", i), "completed", "1")
		require.Empty(t, wrong(t, c), sql)
	}
}
