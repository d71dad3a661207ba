// Package taskhttptest checks that package taskhttp does over a store what it has to, whatever backend that has:
//
//	func TestHTTP(t *testing.T) {
//		taskhttptest.Run(t, func(t testing.TB, opts ...tasks.Option) *tasks.Store {
//			st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), opts...)
//			require.NoError(t, err)
//			return st
//		})
//	}
package taskhttptest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/docusnap/asyncvfs/tasks/taskhttp/client"
	"github.com/stretchr/testify/require"
)

// Open opens a store on a fresh and empty backend. The tests close it.
type Open func(t testing.TB, opts ...tasks.Option) *tasks.Store

const (
	mine   = "mine-0123456789abcdef"
	others = "others-0123456789abcdef"
	admins = "admins-0123456789abcdef"
)

// env is what a test works on.
type env struct {
	*testing.T
	st               *tasks.Store
	me, other, admin *client.Client
	restarted        func() *client.Client // another handler on the same store, as me
}

// Run runs all tests.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		run  func(*env)
	}{
		{"Life", life}, {"Results", results}, {"Lists", lists}, {"Owners", owners}, {"Idempotency", idempotency},
		{"Waits", waits}, {"Watch", watch}, {"Events", events}, {"Resume", resume}, {"Errors", errorsOf}, {"Bytes", bytesOf}, {"Workers", workers},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := open(t)
			t.Cleanup(func() { st.Close() })
			serve := func() string {
				h, err := taskhttp.New(st, taskhttp.Tokens(
					taskhttp.Token{Secret: mine, Principal: taskhttp.Principal{Rights: taskhttp.Write, Owner: "me"}},
					taskhttp.Token{Secret: others, Principal: taskhttp.Principal{Rights: taskhttp.Write, Owner: "other"}},
					taskhttp.Token{Secret: admins, Principal: taskhttp.Principal{Rights: taskhttp.Admin}}))
				require.NoError(t, err)
				s := httptest.NewServer(h)
				t.Cleanup(func() { h.Shutdown(); s.Close() })
				return s.URL
			}
			url := serve()
			as := func(url, token string) *client.Client {
				c, err := client.New(url, client.Token(token), client.Retries(0))
				require.NoError(t, err)
				return c
			}
			e := &env{T: t, st: st, me: as(url, mine), other: as(url, others), admin: as(url, admins)}
			e.restarted = func() *client.Client { return as(serve(), mine) }
			c.run(e)
		})
	}
}

// create creates a task of mine.
func (e *env) create(id string) taskhttp.Task {
	e.Helper()
	task, err := e.me.Create(e.Context(), taskhttp.NewTask{ID: id, Type: tasks.Form, Input: json.RawMessage(`{"of":1}`)})
	require.NoError(e, err)
	return task
}

func life(e *env) {
	ctx := e.Context()
	made := e.create("a/b c")
	got, err := e.me.Get(ctx, made.ID)
	require.NoError(e, err)
	require.Equal(e, made, got)
	require.Equal(e, tasks.Pending, got.Status)
	require.Equal(e, "me", got.Owner)
	input, err := e.me.Input(ctx, made.ID)
	require.NoError(e, err)
	require.JSONEq(e, `{"of":1}`, string(input))
	cancelled, err := e.me.Cancel(ctx, made.ID)
	require.NoError(e, err)
	require.True(e, cancelled.Cancelled)
	pending, err := e.me.Retry(ctx, made.ID)
	require.NoError(e, err)
	require.Equal(e, tasks.Pending, pending.Status)
	require.NoError(e, e.me.Delete(ctx, made.ID))
	_, err = e.me.Get(ctx, made.ID)
	require.ErrorIs(e, err, tasks.ErrNotFound)
}

func results(e *env) {
	ctx := e.Context()
	e.create("done")
	e.create("failed")
	require.NoError(e, e.st.Update(ctx, "done", tasks.Completed, map[string]any{"text": "é"}))
	require.NoError(e, e.st.Update(ctx, "failed", tasks.Error, nil, tasks.ErrorText("no good")))
	var v map[string]string
	require.NoError(e, e.me.Result(ctx, "done", &v))
	require.Equal(e, "é", v["text"])
	err := e.me.Result(ctx, "failed", nil)
	require.ErrorIs(e, err, client.ErrFailed)
	require.ErrorContains(e, err, "no good")
}

func lists(e *env) {
	ctx := e.Context()
	for i := range 7 {
		e.create(fmt.Sprint("t", i))
	}
	require.NoError(e, e.st.Update(ctx, "t3", tasks.Completed, nil))
	var seen []string
	for q := (client.Query{Limit: 3}); ; {
		page, err := e.me.List(ctx, q)
		require.NoError(e, err)
		for _, t := range page.Tasks {
			seen = append(seen, t.ID)
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	require.ElementsMatch(e, []string{"t0", "t1", "t2", "t3", "t4", "t5", "t6"}, seen)
	page, err := e.me.List(ctx, client.Query{Statuses: []tasks.Status{tasks.Completed}})
	require.NoError(e, err)
	require.Len(e, page.Tasks, 1)
	stats, err := e.me.Stats(ctx)
	require.NoError(e, err)
	require.Equal(e, map[tasks.Status]int{tasks.Pending: 6, tasks.Completed: 1}, stats.Counts[tasks.Form])
}

func owners(e *env) {
	ctx := e.Context()
	e.create("a")
	for name, err := range map[string]error{
		"get":    second(e.other.Get(ctx, "a")),
		"cancel": second(e.other.Cancel(ctx, "a")),
		"delete": e.other.Delete(ctx, "a"),
		"result": e.other.Result(ctx, "a", nil),
	} {
		require.ErrorIs(e, err, tasks.ErrNotFound, name)
	}
	page, err := e.other.List(ctx, client.Query{})
	require.NoError(e, err)
	require.Empty(e, page.Tasks)
	page, err = e.admin.List(ctx, client.Query{Owner: "me"})
	require.NoError(e, err)
	require.Len(e, page.Tasks, 1)
	_, err = e.me.List(ctx, client.Query{Owner: "other"})
	require.ErrorIs(e, err, client.ErrUnauthorized)
}

func second[T any](_ T, err error) error { return err }

func idempotency(e *env) {
	ctx := e.Context()
	n := taskhttp.NewTask{Type: tasks.Form, Input: json.RawMessage(`1`), Labels: map[string]string{"k": "v"}}
	first, err := e.me.Create(ctx, n, client.IdempotencyKey("key"))
	require.NoError(e, err)
	// Many at once, to two handlers: in flight is told, and no other task comes of it.
	again := e.restarted()
	var wg sync.WaitGroup
	for range 5 {
		for _, c := range []*client.Client{e.me, again} {
			wg.Go(func() {
				for {
					task, err := c.Create(ctx, n, client.IdempotencyKey("key"))
					if err == nil {
						if task.ID != first.ID {
							e.Errorf("%s instead of %s", task.ID, first.ID)
						}
						return
					}
					var p *taskhttp.Problem
					if !errors.As(err, &p) || p.Kind() != "idempotency-key-in-flight" {
						e.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	n.Priority = 1
	_, err = again.Create(ctx, n, client.IdempotencyKey("key"))
	require.ErrorIs(e, err, tasks.ErrInputDiffers)
	theirs, err := e.other.Create(ctx, n, client.IdempotencyKey("key"))
	require.NoError(e, err)
	require.NotEqual(e, first.ID, theirs.ID)
}

func waits(e *env) {
	ctx := e.Context()
	e.create("a")
	done := make(chan error)
	for range 5 {
		go func() {
			var v int
			err := e.me.Result(ctx, "a", &v)
			if err == nil && v != 7 {
				err = fmt.Errorf("%d instead of 7", v)
			}
			done <- err
		}()
	}
	require.NoError(e, e.st.Update(ctx, "a", tasks.Completed, 7))
	for range 5 {
		require.NoError(e, <-done)
	}
}

func watch(e *env) {
	ctx := e.Context()
	e.create("a")
	var last error
	var statuses []tasks.Status
	for task, err := range e.me.Watch(ctx, "a") {
		if last = err; err != nil {
			break
		}
		switch statuses = append(statuses, task.Status); task.Status {
		case tasks.Pending:
			require.NoError(e, e.st.Update(ctx, "a", tasks.Processing, nil))
		case tasks.Processing:
			require.NoError(e, e.st.Update(ctx, "a", tasks.Completed, 1))
		default:
			require.NoError(e, e.st.Delete(ctx, "a"))
		}
	}
	require.Equal(e, []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed}, statuses)
	require.ErrorIs(e, last, tasks.ErrNotFound)
}

// events: a change reaches a stream: by itself, or, where the backend keeps no log of changes, as a word that something has changed.
func events(e *env) {
	ctx, cancel := context.WithCancel(e.Context())
	defer cancel()
	seen := make(chan client.Event, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for v, err := range e.me.Events(ctx) {
			if err != nil {
				return
			}
			seen <- v
		}
	}()
	for n := 0; ; n++ {
		e.create(fmt.Sprint("a", n)) // again, until the stream is open
		select {
		case v := <-seen:
			require.True(e, v.Reset || v.Task.Owner == "me", "%+v", v)
			cancel()
			<-ended
			return
		case <-time.After(50 * time.Millisecond):
			require.Less(e, n, 400)
		}
	}
}

// resume: where the backend keeps a log of changes, a stream goes on after a break, at another process too, and misses nothing.
func resume(e *env) {
	c, err := e.st.Changes(e.Context(), -1, 1)
	if errors.Is(err, tasks.ErrNoChanges) {
		e.Skip("the backend keeps no log of changes")
	}
	require.NoError(e, err)
	e.create("before")
	e.create("after")
	last, seen := fmt.Sprint(c.Last), map[string]bool{}
	for _, next := range []tasks.Status{tasks.Processing, tasks.Completed} {
		ctx, cancel := context.WithTimeout(e.Context(), 20*time.Second)
		req, err := http.NewRequestWithContext(ctx, "GET", e.restarted().URL()+"/events", nil)
		require.NoError(e, err)
		req.Header.Set("Authorization", "Bearer "+mine)
		req.Header.Set("Last-Event-ID", last)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(e, err)
		require.Equal(e, http.StatusOK, resp.StatusCode)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			require.NotEqual(e, "event: reset", lines.Text())
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var t taskhttp.Task
				require.NoError(e, json.Unmarshal([]byte(data), &t))
				seen[t.ID] = true
			}
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				last = id
				if seen["before"] && seen["after"] {
					break
				}
			}
		}
		cancel()
		resp.Body.Close()
		require.True(e, seen["before"] && seen["after"], "%v", seen)
		// The break: what comes now, the next stream has to tell.
		delete(seen, "after")
		require.NoError(e, e.st.Update(e.Context(), "after", next, nil))
	}
}

func errorsOf(e *env) {
	ctx := e.Context()
	e.create("a")
	_, err := e.me.Create(ctx, taskhttp.NewTask{ID: "a", Type: tasks.Form})
	require.ErrorIs(e, err, tasks.ErrExists)
	_, err = e.me.Create(ctx, taskhttp.NewTask{Type: "letter"})
	require.ErrorIs(e, err, tasks.ErrInvalid)
	_, err = e.me.Retry(ctx, "a")
	require.ErrorIs(e, err, tasks.ErrTransition)
	require.NoError(e, e.st.Close())
	_, err = e.me.Get(ctx, "a")
	require.ErrorIs(e, err, tasks.ErrBusy) // 503
}

// bytesOf: results and inputs come back byte by byte.
func bytesOf(e *env) {
	ctx := e.Context()
	for i, text := range []string{`{"b":1,"a":1.0,"a":2}`, `1e400`, `"\u0000"`, `"é\u2028😀"`, `12345678901234567890`, `[]`} {
		id := fmt.Sprint("t", i)
		_, err := e.me.Create(ctx, taskhttp.NewTask{ID: id, Type: tasks.Form, Input: json.RawMessage(text)})
		require.NoError(e, err, text)
		input, err := e.me.Input(ctx, id)
		require.NoError(e, err)
		require.NoError(e, e.st.Update(ctx, id, tasks.Completed, json.RawMessage(text)))
		var result json.RawMessage
		require.NoError(e, e.me.Result(ctx, id, &result))
		want, err := e.st.Result(ctx, id)
		require.NoError(e, err)
		require.Equal(e, string(want.Raw), string(result))
		require.Equal(e, string(want.Raw), string(input))
	}
}

func workers(e *env) {
	ctx, cancel := context.WithCancel(e.Context())
	ended := make(chan error)
	go func() {
		ended <- e.st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(ctx context.Context, t tasks.Info) (any, error) {
			var in struct{ Of int }
			err := tasks.DecodeInput(ctx, &in)
			return in.Of + 1, err
		}}, 2)
	}()
	e.create("a")
	var v int
	require.NoError(e, e.me.Result(e.Context(), "a", &v))
	require.Equal(e, 2, v)
	attempts, err := e.me.Attempts(e.Context(), "a")
	require.NoError(e, err)
	require.Len(e, attempts, 1)
	cancel()
	require.NoError(e, <-ended)
}
