package taskhttp_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestTaskEvents: a stream tells a task as it is and as it becomes; who resumes hears only what is new, and of its end.
func TestTaskEvents(t *testing.T) {
	s := serve(t)
	ctx := t.Context()
	require.NoError(t, s.Store.Create(ctx, "a", tasks.Form, tasks.Owner("me")))
	e := s.stream(readerToken, "/tasks/a/events")
	first := e.next()
	require.Equal(t, tasks.Pending, decode[taskhttp.Task](t, first.data).Status)
	require.NoError(t, s.Store.Update(ctx, "a", tasks.Processing, nil))
	second := e.next()
	require.Equal(t, tasks.Processing, decode[taskhttp.Task](t, second.data).Status)
	require.NotEqual(t, first.id, second.id)

	knows, missed := s.stream(readerToken, "/tasks/a/events", "Last-Event-ID", second.id), s.stream(readerToken, "/tasks/a/events", "Last-Event-ID", first.id)
	require.Equal(t, second, missed.next())
	require.NoError(t, s.Store.Update(ctx, "a", tasks.Completed, 1))
	require.Equal(t, tasks.Completed, decode[taskhttp.Task](t, knows.next().data).Status)
	require.NoError(t, s.Store.Delete(ctx, "a"))
	require.Equal(t, sseEvent{"deleted", knows.last, `{"id":"a"}`}, knows.next())
	require.Empty(t, knows.line(), "the stream has ended")
}

// TestEvents: a stream tells each task that changes, to those who see it; who resumes hears what it has missed,
// in the same process or in another.
func TestEvents(t *testing.T) {
	s := serve(t)
	ctx := t.Context()
	mine, all := s.stream(readerToken, "/events"), s.stream(adminToken, "/events")
	create := func(id, owner string) {
		require.NoError(t, s.Store.Create(ctx, id, tasks.Form, tasks.Owner(owner)))
	}
	ids := func(e *sse, names ...string) {
		t.Helper()
		for _, name := range names {
			v := e.next()
			require.Equal(t, "task", v.name)
			require.Equal(t, name, decode[taskhttp.Task](t, v.data).ID)
		}
	}
	create("m1", "me")
	ids(all, "m1")
	ids(mine, "m1")
	create("o1", "other")
	ids(all, "o1")
	create("m2", "me")
	ids(all, "m2")
	ids(mine, "m2")
	resume := all.nextID()

	create("m3", "me")
	create("o2", "other")
	require.NoError(t, s.Store.Delete(ctx, "o1"))
	ids(mine, "m3")
	require.NoError(t, s.Store.Delete(ctx, "m1"))
	require.Equal(t, `{"id":"m1"}`, mine.next().data)

	other, err := taskhttp.New(s.Store, testTokens)
	require.NoError(t, err)
	for _, h := range []*served{s, serveHandler(t, s.Store, other)} {
		again := h.stream(adminToken, "/events", "Last-Event-ID", resume)
		missed := map[string]string{}
		for len(missed) < 4 {
			v := again.next()
			missed[decode[taskhttp.Task](t, v.data).ID] = v.name
		}
		require.Equal(t, map[string]string{"m3": "task", "o2": "task", "o1": "deleted", "m1": "deleted"}, missed)
	}
	// Changes that nobody knows any more: the first one, and one of a newer copy of the file.
	forgetFirst(t)
	third, err := taskhttp.New(s.Store, testTokens)
	require.NoError(t, err)
	h := serveHandler(t, s.Store, third)
	for _, id := range []string{"999999", "0"} {
		require.Equal(t, "reset", h.stream(adminToken, "/events", "Last-Event-ID", id).next().name)
	}
	resp, _ := s.call(adminToken, "GET", "/events", "", "Last-Event-ID", "x")
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

// forgetFirst drops the first change from the log, as it is dropped after 10,000 others.
func forgetFirst(t *testing.T) {
	t.Helper()
	c, err := sqlite3.Open("file:" + filepath.ToSlash(statsOf(t).Database))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Exec("DELETE FROM task_changes WHERE seq=1"))
}

// nextID returns the id to resume after, which comes after the last event of those that belong together.
func (e *sse) nextID() string {
	for e.in.Scan() {
		if id, ok := strings.CutPrefix(e.in.Text(), "id: "); ok {
			return id
		}
	}
	return ""
}

// TestHeartbeats: a stream on which nothing happens says that it is there, and ends once its right has.
func TestHeartbeats(t *testing.T) {
	var gone, asked atomicCount
	who := func(r *http.Request) (taskhttp.Principal, error) {
		asked.add()
		if gone.get() > 0 {
			return taskhttp.Principal{}, taskhttp.ErrUnauthorized
		}
		return taskhttp.Principal{Rights: taskhttp.Admin}, nil
	}
	st, _ := onDisk(t)
	h, err := taskhttp.New(st, taskhttp.Authorize(who), taskhttp.Heartbeat(100*time.Millisecond))
	require.NoError(t, err)
	s := serveHandler(t, st, h)
	e := s.stream("", "/events")
	require.Equal(t, "retry: 2000", e.line())
	require.Equal(t, ": connected", e.line())
	require.Equal(t, "id: 0", e.line())
	for range 2 {
		require.Equal(t, ":", e.line())
		require.Equal(t, "id: 0", e.line(), "a heartbeat says from where to resume")
	}
	gone.add()
	for line := e.line(); line != ""; line = e.line() {
	}
	s.until(func() bool { _, n := h.Waiting(); return n == 0 })
}

// TestEventsReachAll: thousands of idle streams are cheap enough to be open at the same time, and an event reaches all.
func TestEventsReachAll(t *testing.T) {
	streams := 1000
	if raceEnabled {
		streams = 100
	}
	s := serve(t, taskhttp.MaxStreams(streams, streams))
	open := make([]*sse, streams)
	for i := range open {
		open[i] = s.stream(adminToken, "/events")
	}
	require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form))
	for _, e := range open {
		require.Equal(t, "task", e.next().name)
	}
}

// TestEventsInParts: who loses the connection after a few events each time hears of all changes in the end,
// however many are told together, kept for others or read from the log.
func TestEventsInParts(t *testing.T) {
	const n, each = 300, 7
	s := serve(t)
	ctx := t.Context()
	keeps := s.stream(adminToken, "/events")
	from := keeps.nextID()
	var list []tasks.NewTask
	for i := range n {
		list = append(list, tasks.NewTask{ID: fmt.Sprint("a", i), Type: tasks.Form})
	}
	require.Nil(t, s.Store.CreateMany(ctx, list))
	for i := range n { // told together with what comes before
		require.NoError(t, s.Store.Update(ctx, fmt.Sprint("a", (i*7)%n), tasks.Processing, nil))
	}
	for range n {
		keeps.next() // all that the feed keeps is what has come
	}
	other, err := taskhttp.New(s.Store, testTokens)
	require.NoError(t, err)
	for name, h := range map[string]*served{"kept": s, "from the log": serveHandler(t, s.Store, other)} {
		heard := map[string]bool{} // as they are now
		last := from
		for connections := 0; len(heard) < n; connections++ {
			require.Less(t, connections, 2*n/each+10, "%s: %d of %d", name, len(heard), n)
			e := h.stream(adminToken, "/events", "Last-Event-ID", last)
			for i := 0; i < each && len(heard) < n; i++ {
				v := e.next()
				if task := decode[taskhttp.Task](t, v.data); task.Status == tasks.Processing {
					heard[task.ID] = true
				}
				last = v.id
			}
			e.resp.Body.Close()
		}
	}
}
