package client_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/docusnap/asyncvfs/tasks/taskhttp/client"
	"github.com/stretchr/testify/require"
)

const secret = "secret-0123456789abcdef"

// serve serves a store, behind what a test puts before it.
func serve(t *testing.T, before func(http.Handler) http.Handler) (*tasks.Store, *client.Client) {
	t.Helper()
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	h, err := taskhttp.New(st, taskhttp.Tokens(taskhttp.Token{Secret: secret, Principal: taskhttp.Principal{Rights: taskhttp.Admin}}))
	require.NoError(t, err)
	var over http.Handler = http.StripPrefix("/api", h)
	if before != nil {
		over = before(over)
	}
	s := httptest.NewServer(over)
	t.Cleanup(func() { h.Shutdown(); s.Close() })
	c, err := client.New(s.URL+"/api/", client.Token(secret))
	require.NoError(t, err)
	return st, c
}

// TestClient: the client does all that the handler does, and its errors are those of a store.
func TestClient(t *testing.T) {
	st, c := serve(t, nil)
	ctx := t.Context()
	task, err := c.Create(ctx, taskhttp.NewTask{ID: "a/b c", Type: tasks.Form, Input: json.RawMessage(`{"x":"<ü>"}`), Labels: map[string]string{"k": "v"}, Timeout: taskhttp.Duration(time.Minute)})
	require.NoError(t, err)
	require.Equal(t, "a/b c", task.ID)
	_, err = c.Create(ctx, taskhttp.NewTask{ID: "a/b c", Type: tasks.Form})
	require.ErrorIs(t, err, tasks.ErrExists)
	_, err = c.Create(ctx, taskhttp.NewTask{Type: "letter"})
	require.ErrorIs(t, err, tasks.ErrInvalid)
	got, err := c.Get(ctx, task.ID)
	require.NoError(t, err)
	require.Equal(t, task, got)
	input, err := c.Input(ctx, task.ID)
	require.NoError(t, err)
	require.Equal(t, `{"x":"<ü>"}`, string(input))
	_, err = c.Get(ctx, "none")
	require.ErrorIs(t, err, tasks.ErrNotFound)
	var p *taskhttp.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, "none", p.Task)

	result := make(chan []int)
	go func() {
		var v []int
		if err := c.Result(ctx, task.ID, &v); err != nil {
			t.Error(err)
		}
		result <- v
	}()
	claimed, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.NoError(t, st.Complete(ctx, claimed, []int{1, 2}))
	require.Equal(t, []int{1, 2}, <-result)
	attempts, err := c.Attempts(ctx, task.ID)
	require.NoError(t, err)
	require.Len(t, attempts, 1)
	_, err = c.Cancel(ctx, task.ID)
	require.ErrorIs(t, err, tasks.ErrTransition)

	first, err := c.Create(ctx, taskhttp.NewTask{Type: tasks.Document}, client.IdempotencyKey(`a "key" \`))
	require.NoError(t, err)
	again, err := c.Create(ctx, taskhttp.NewTask{Type: tasks.Document}, client.IdempotencyKey(`a "key" \`))
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = c.Create(ctx, taskhttp.NewTask{Type: tasks.Form}, client.IdempotencyKey(`a "key" \`))
	require.ErrorIs(t, err, tasks.ErrInputDiffers)
	cancelled, err := c.Cancel(ctx, first.ID)
	require.NoError(t, err)
	require.True(t, cancelled.Cancelled)
	require.ErrorIs(t, c.Result(ctx, first.ID, nil), client.ErrFailed)
	pending, err := c.Retry(ctx, first.ID)
	require.NoError(t, err)
	require.Equal(t, tasks.Pending, pending.Status)
	require.NoError(t, st.Update(ctx, first.ID, tasks.Completed, nil))
	require.ErrorIs(t, c.Result(ctx, first.ID, new(int)), tasks.ErrNoResult)
	require.NoError(t, c.Result(ctx, first.ID, nil))

	var seen []string
	q := client.Query{Limit: 1, Oldest: true}
	for {
		page, err := c.List(ctx, q)
		require.NoError(t, err)
		for _, t := range page.Tasks {
			seen = append(seen, t.ID)
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	require.ElementsMatch(t, []string{task.ID, first.ID}, seen)
	page, err := c.List(ctx, client.Query{Types: []tasks.Type{tasks.Form, tasks.FormFilling}, Statuses: []tasks.Status{tasks.Completed}, Label: [2]string{"k", "v"}})
	require.NoError(t, err)
	require.Len(t, page.Tasks, 1)
	stats, err := c.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, stats.Counts[tasks.Form][tasks.Completed])
	require.NoError(t, c.Delete(ctx, task.ID))
	require.ErrorIs(t, c.Delete(ctx, task.ID), tasks.ErrNotFound)

	nobody, err := client.New(c.URL())
	require.NoError(t, err)
	_, err = nobody.Get(ctx, task.ID)
	require.ErrorIs(t, err, client.ErrUnauthorized)
	for _, bad := range []string{"", "host", "ftp://host", "https://user:password@host/", "http://"} {
		_, err := client.New(bad)
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "password@")
	}
}

// short is a connection that breaks after an event.
type short struct {
	http.ResponseWriter
	events int
}

func (s *short) Write(b []byte) (int, error) {
	if s.events > 0 {
		return 0, http.ErrHandlerTimeout
	}
	if bytes.HasPrefix(b, []byte("event:")) {
		s.events++
	}
	return s.ResponseWriter.Write(b)
}

func (s *short) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// TestWatch: a stream whose connection breaks goes on after what was told.
func TestWatch(t *testing.T) {
	var streams atomic.Int64
	st, c := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The first two connections end with their first event.
			if streams.Add(1) <= 2 {
				w = &short{ResponseWriter: w}
			}
			h.ServeHTTP(w, r)
		})
	})
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	var statuses []tasks.Status
	var last error
	for task, err := range c.Watch(ctx, "a") {
		if last = err; err != nil {
			break
		}
		statuses = append(statuses, task.Status)
		switch task.Status {
		case tasks.Pending:
			require.NoError(t, st.Update(ctx, "a", tasks.Processing, nil))
		case tasks.Processing:
			require.NoError(t, st.Update(ctx, "a", tasks.Completed, 1))
		default:
			require.NoError(t, st.Delete(ctx, "a"))
		}
	}
	require.Equal(t, []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed}, statuses)
	require.ErrorIs(t, last, tasks.ErrNotFound)
	for _, err := range c.Watch(ctx, "none") {
		require.ErrorIs(t, err, tasks.ErrNotFound)
	}
}

// TestEvents: changes of all tasks come, also those that were made while the connection was broken.
func TestEvents(t *testing.T) {
	var broken atomic.Bool
	st, c := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if broken.CompareAndSwap(false, true) && r.URL.Path == "/api/events" {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Write([]byte(": connected\nid: 0\n\n")) // and no more
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	require.NoError(t, st.Delete(ctx, "b"))
	var seen []client.Event
	for e, err := range c.Events(ctx) {
		require.NoError(t, err)
		if seen = append(seen, e); len(seen) == 2 {
			break
		}
	}
	require.Equal(t, "a", seen[0].Task.ID)
	require.Equal(t, client.Event{Task: taskhttp.Task{ID: "b"}, Deleted: true}, seen[1])
}

// TestRetries: a request is made again where the server was busy, and not where that could do it twice.
func TestRetries(t *testing.T) {
	var left, asked atomic.Int64
	_, c := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1); left.Add(-1) >= 0 {
				if r.Method == "POST" && r.Header.Get("Idempotency-Key") == "" {
					panic(http.ErrAbortHandler) // whether it was made isn't known
				}
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	left.Store(2)
	_, err := c.Stats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, asked.Load())
	left.Store(10)
	_, err = c.Stats(t.Context())
	require.ErrorIs(t, err, tasks.ErrBusy)
	require.EqualValues(t, 7, asked.Load())
	left.Store(1)
	_, err = c.Create(t.Context(), taskhttp.NewTask{Type: tasks.Form}, client.IdempotencyKey("k"))
	require.NoError(t, err)
	left.Store(1)
	_, err = c.Create(t.Context(), taskhttp.NewTask{Type: tasks.Form})
	require.Error(t, err)
	require.EqualValues(t, 10, asked.Load())
}
