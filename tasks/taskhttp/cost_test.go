package taskhttp_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// meter counts the statements of the connections to one database.
type meter struct {
	mu    sync.Mutex
	files map[string][]string // what is run, by the name of the database's file; guarded by mu
}

var meters = meter{files: map[string][]string{}}

func init() {
	sqlite3.AutoExtension(func(c *sqlite3.Conn) error {
		name := filepath.Base(c.Filename("main").String())
		return c.Trace(sqlite3.TRACE_STMT, func(_ sqlite3.TraceEvent, stmt, _ any) error {
			meters.mu.Lock()
			defer meters.mu.Unlock()
			if list, ok := meters.files[name]; ok {
				if s, ok := stmt.(*sqlite3.Stmt); ok && s.SQL() != "PRAGMA data_version" { // that looks for what others change, each 100 ms
					meters.files[name] = append(list, s.SQL())
				}
			}
			return nil
		})
	})
}

// costFile is the name of a database whose statements are counted: no other test's.
const costFile = "cost.db"

// statements returns what a function has a database do.
func statements(name string, f func()) []string {
	meters.mu.Lock()
	meters.files[name] = []string{}
	meters.mu.Unlock()
	f()
	meters.mu.Lock()
	defer meters.mu.Unlock()
	list := meters.files[name]
	delete(meters.files, name)
	return list
}

// TestLookupsCost: who asks for a task costs one statement, and so one transaction, whether it is there or not, has changed or not,
// is seen or not; and no sync where it is durable.
func TestLookupsCost(t *testing.T) {
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), costFile))
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	s := serveStore(t, st)
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form, tasks.Owner("me"), tasks.Input(1)))
	require.NoError(t, st.Create(t.Context(), "done", tasks.Form, tasks.Owner("me")))
	require.NoError(t, st.Update(t.Context(), "done", tasks.Completed, 1))
	resp, _ := s.call(readerToken, "GET", "/tasks/a", "")
	known := resp.Header.Get("ETag")
	for _, c := range []struct {
		name, token, path string
		status, want      int
		headers           []string
	}{
		{"found", readerToken, "/tasks/a", http.StatusOK, 1, nil},
		{"unchanged", readerToken, "/tasks/a", http.StatusNotModified, 1, []string{"If-None-Match", known}},
		{"done", readerToken, "/tasks/done?wait=10s", http.StatusOK, 1, nil},
		{"none", readerToken, "/tasks/none", http.StatusNotFound, 1, nil},
		{"another's", otherToken, "/tasks/a", http.StatusNotFound, 1, nil},
		{"result", readerToken, "/tasks/done/result", http.StatusOK, 1, nil},
		{"no result yet", readerToken, "/tasks/a/result", http.StatusAccepted, 1, nil},
		{"another's result", otherToken, "/tasks/done/result", http.StatusNotFound, 1, nil},
		{"input", readerToken, "/tasks/a/input", http.StatusOK, 3, nil},
		{"waits, and nothing changes", readerToken, "/tasks/a?wait=1ms", http.StatusOK, 1, nil},
	} {
		before := statsOf(t)
		list := statements(costFile, func() {
			resp, body := s.call(c.token, "GET", c.path, "", c.headers...)
			require.Equal(t, c.status, resp.StatusCode, body)
		})
		require.Len(t, list, c.want, c.name)
		require.Equal(t, before.Syncs, statsOf(t).Syncs, c.name)
	}
	// The control: what a status and its durability cost apart.
	require.Len(t, statements(costFile, func() {
		_, err := st.Status(t.Context(), "a")
		require.NoError(t, err)
		require.NoError(t, st.Settle(t.Context()))
	}), 2)
}

// TestUnchangedIsEncodedOnce: a task is encoded when it has changed, not for each who asks, and never told as it was.
func TestUnchangedIsEncodedOnce(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form))
	ask := func() string {
		_, body := s.call(adminToken, "GET", "/tasks/a", "")
		return body
	}
	first := ask()
	require.Equal(t, 1, s.H.Encoded())
	for range 5 {
		require.Equal(t, first, ask())
	}
	require.Equal(t, 1, s.H.Encoded())
	require.NoError(t, s.Store.Update(t.Context(), "a", tasks.Processing, nil))
	require.NotEqual(t, first, ask())
	require.Equal(t, 2, s.H.Encoded())
	require.NoError(t, s.Store.Delete(t.Context(), "a"))
	resp, _ := s.call(adminToken, "GET", "/tasks/a", "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}

// TestFanOutCosts: a change is looked at, encoded and put into words once for all who see the same tasks, however many streams they have open,
// and a stream that comes while others are open costs no look at all.
func TestFanOutCosts(t *testing.T) {
	const each = 20
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), costFile))
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	s := serveStore(t, st, taskhttp.MaxStreams(each, 2*each))
	first := s.stream(adminToken, "/events")
	require.NoError(t, st.Create(t.Context(), "first", tasks.Form))
	require.Equal(t, "task", first.next().name)
	var open []*sse
	s.until(s.H.FeedRests)
	require.NotContains(t, statements(costFile, func() {
		for range each - 1 {
			open = append(open, s.stream(adminToken, "/events"))
		}
		for range each {
			open = append(open, s.stream(readerToken, "/events"))
		}
		for _, e := range open {
			for line := e.line(); line != ": connected"; line = e.line() {
				require.NotEmpty(t, line)
			}
		}
	}), "BEGIN", "with which a look at the log of changes begins; the one for what others commit has none")
	open = append(open, first)
	encoded, written := s.H.Encoded(), s.H.Written()
	looks := 0
	for _, sql := range statements(costFile, func() {
		require.NoError(t, st.Create(t.Context(), "a", tasks.Form, tasks.Owner("me")))
		for _, e := range open {
			require.Equal(t, "a", decode[taskhttp.Task](t, e.next().data).ID)
		}
	}) {
		if strings.HasPrefix(sql, "SELECT") && strings.Contains(sql, "tasks.id=") {
			looks++
		}
	}
	require.Equal(t, 1, looks)
	require.Equal(t, 1, s.H.Encoded()-encoded)
	require.EqualValues(t, 2, s.H.Written()-written, "one for the admin, one for the reader")
}
