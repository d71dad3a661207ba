package taskhttp_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// set is a row that has what can't be in some of its columns.
func set(columns string) string {
	return "'r', 'form', 'completed', '1', 1600000000, NULL); UPDATE tasks SET " + columns + " WHERE id IN ('r'"
}

// TestForeignEvents: a row that others have written, whatever is in it, holds up no event of the tasks that come after it.
func TestForeignEvents(t *testing.T) {
	for _, row := range []string{
		"'r', 'form', 'completed', NULL, 'yesterday', NULL",
		"'r', 'form', 'completed', NULL, 1, 'yesterday'",
		"'r', 'form', 'completed', NULL, 1700000000000, NULL",
		"'r', 'form', 'completed', NULL, -9223372036854775808, NULL",
		"'r', 'form', 'completed', NULL, 1e300, x'00'",
		"'r', 'form', 'completed', '{\"torn', 1, NULL",
		"'r', 'form', 'completed', x'00ff', 1, NULL",
		"'r', 'form', x'ff', NULL, 1, NULL",
		"'r', x'ff00', 'completed', NULL, 1, NULL",
		"'r' || char(0), 'form', 'completed', NULL, 1, NULL",
		"x'ff', 'form', 'completed', NULL, 1, NULL",
		"NULL, 'form', 'completed', NULL, 1, NULL",
		"'', 'form', 'completed', NULL, 1, NULL",
		"12, 'form', 3.5, 4, 1, NULL",
		set("labels='not JSON'"), set("labels=x'ff'"), set("labels='[1]'"), set(`labels='{"k":{"deep":1}}'`), set("owner=x'ff00'"), set("owner=12"),
		set("priority='high'"), set("priority=9223372036854775807"), set("attempts='many'"), set("attempts=-1"), set("uncounted=1e300"),
		set("done=9e999"), set("done='much'"), set("total=-9e999"), set("total=x'ff', done=1e308"), set("note=x'ff00'"), set("note=7"), set("error=x'ff00'"),
		set("run_at='soon'"), set("run_at=9e999"), set("started_at=x'00'"), set("started_at=-9223372036854775808"), set("ended_at='never'"),
		set("max_attempts='x'"), set("cancelled='perhaps'"), set("unique_key=x'ff'"),
	} {
		t.Run(row, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tasks.db")
			st, err := tasks.Open(t.Context(), path)
			require.NoError(t, err)
			t.Cleanup(func() { st.Close() })
			s := serveStore(t, st)
			e := s.stream(adminToken, "/events")
			from := e.nextID()
			c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, c.Exec("PRAGMA busy_timeout=10000; INSERT INTO tasks(id, type, status, result, created_at, updated_at) VALUES("+row+")"))
			require.NoError(t, st.Create(t.Context(), "after", tasks.Form))
			for _, e := range []*sse{e, s.stream(adminToken, "/events", "Last-Event-ID", from)} {
				for {
					v := e.next()
					require.NotEmpty(t, v.data, "the stream has ended")
					if v.name == "task" && strings.Contains(v.data, `"after"`) {
						break
					}
				}
			}
			resp, text := s.call(adminToken, "GET", "/tasks", "")
			require.Equal(t, 200, resp.StatusCode, text)
			require.Contains(t, text, `"after"`)
			resp, text = s.call(adminToken, "GET", "/stats", "")
			require.Equal(t, 200, resp.StatusCode, text)
			decode[taskhttp.Stats](t, text)
			for _, path := range []string{"/tasks/r", "/tasks/r/result", "/tasks/r/input", "/tasks/r/attempts", "/tasks?status=completed", "/tasks?type=form&newest=true"} {
				resp, text := s.call(adminToken, "GET", path, "")
				if resp.StatusCode == 500 {
					require.Equal(t, "unreadable", decode[*taskhttp.Problem](t, text).Kind(), path)
				}
				require.NotContains(t, text, "Internal error", path)
			}
		})
	}
}
