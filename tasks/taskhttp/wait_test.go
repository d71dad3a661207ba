package taskhttp_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

// reply is an answer that is waited for.
type reply struct {
	status int
	body   string
	head   http.Header
}

// later makes a request in the background, and returns once it waits.
func (s *served) later(token, path string, headers ...string) <-chan reply {
	s.t.Helper()
	before, _ := s.H.Waiting()
	c := make(chan reply, 1)
	go func() {
		resp, body := s.call(token, "GET", path, "", headers...)
		c <- reply{resp.StatusCode, body, resp.Header}
	}()
	s.until(func() bool { n, _ := s.H.Waiting(); return n > before })
	return c
}

// until returns once something holds that happens soon.
func (s *served) until(holds func() bool) {
	s.t.Helper()
	require.Eventually(s.t, holds, 20*time.Second, time.Millisecond)
}

// TestLongPolls: a poll is answered when the task changes, and not before; one that has nothing to wait for is answered at once.
func TestLongPolls(t *testing.T) {
	for _, poll := range []struct {
		name, path string
		headers    func(etag string) []string
	}{
		{"parameter", "/tasks/a?wait=50s", func(string) []string { return nil }},
		{"parameter and tag", "/tasks/a?wait=50s", func(etag string) []string { return []string{"If-None-Match", `"x", ` + etag} }},
		{"preference", "/tasks/a", func(etag string) []string {
			return []string{"Prefer", "respond-async, wait=50", "If-None-Match", "W/" + etag}
		}},
		{"result", "/tasks/a/result?wait=50s", func(string) []string { return nil }},
	} {
		t.Run(poll.name, func(t *testing.T) {
			s := serve(t)
			require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form, tasks.Owner("me")))
			require.NoError(t, s.Store.Create(t.Context(), "b", tasks.Form))
			resp, _ := s.call(readerToken, "GET", "/tasks/a", "")
			answer := s.later(readerToken, poll.path, poll.headers(resp.Header.Get("ETag"))...)
			require.NoError(t, s.Store.Update(t.Context(), "b", tasks.Completed, 1)) // another's
			if poll.name == "result" {
				require.NoError(t, s.Store.Update(t.Context(), "a", tasks.Processing, nil))
			}
			select {
			case r := <-answer:
				t.Fatal("it was answered though nothing has changed", r)
			case <-time.After(20 * time.Millisecond):
			}
			require.NoError(t, s.Store.Update(t.Context(), "a", tasks.Completed, []int{1}))
			r := <-answer
			require.Equal(t, http.StatusOK, r.status)
			if poll.name == "result" {
				require.Equal(t, "[1]", r.body)
			} else {
				require.Equal(t, tasks.Completed, decode[taskhttp.Task](t, r.body).Status)
			}
			if poll.name == "preference" {
				require.Equal(t, "wait=50", r.head.Get("Preference-Applied"))
			}
			// It is done, or not what the client knows.
			resp, body := s.call(readerToken, "GET", poll.path, "", poll.headers(`"other"`)...)
			require.Equal(t, http.StatusOK, resp.StatusCode, body)
		})
	}
	t.Run("time is over", func(t *testing.T) {
		s := serve(t)
		require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form))
		resp, _ := s.call(adminToken, "GET", "/tasks/a?wait=1ms", "")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		etag := resp.Header.Get("ETag")
		resp, body := s.call(adminToken, "GET", "/tasks/a?wait=1ms", "", "If-None-Match", etag)
		require.Equal(t, http.StatusNotModified, resp.StatusCode)
		require.Empty(t, body)
		resp, _ = s.call(adminToken, "GET", "/tasks/a/result?wait=1ms", "")
		require.Equal(t, http.StatusAccepted, resp.StatusCode)
	})
	t.Run("gone", func(t *testing.T) {
		s := serve(t)
		require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form))
		answer := s.later(adminToken, "/tasks/a?wait=50s")
		require.NoError(t, s.Store.Delete(t.Context(), "a"))
		require.Equal(t, http.StatusNotFound, (<-answer).status)
	})
	t.Run("bad", func(t *testing.T) {
		s := serve(t)
		for _, wait := range []string{"x", "-1s", "30"} {
			resp, _ := s.call(adminToken, "GET", "/tasks/a?wait="+wait, "")
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, wait)
		}
	})
}

// TestWaitingIsLimited: a client has so many long polls and streams, and all together have so many.
func TestWaitingIsLimited(t *testing.T) {
	s := serve(t, taskhttp.MaxWaiting(2, 3), taskhttp.MaxStreams(1, 2))
	for _, owner := range []string{"me", "other"} {
		require.NoError(t, s.Store.Create(t.Context(), owner, tasks.Form, tasks.Owner(owner)))
	}
	waiting := []<-chan reply{s.later(readerToken, "/tasks/me?wait=50s"), s.later(readerToken, "/tasks/me?wait=50s")}
	resp, _ := s.call(readerToken, "GET", "/tasks/me?wait=50s", "")
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	last := s.later(otherToken, "/tasks/other?wait=50s")
	resp, _ = s.call(otherToken, "GET", "/tasks/other?wait=50s", "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	resp, _ = s.call(otherToken, "GET", "/tasks/other", "")
	require.Equal(t, http.StatusOK, resp.StatusCode, "who doesn't wait isn't counted")
	require.NoError(t, s.Store.Delete(t.Context(), "other"))
	require.Equal(t, http.StatusNotFound, (<-last).status)
	require.NoError(t, s.Store.Create(t.Context(), "other", tasks.Form, tasks.Owner("other")))
	waiting = append(waiting, s.later(otherToken, "/tasks/other?wait=50s"))

	s.stream(readerToken, "/events")
	resp, _ = s.call(readerToken, "GET", "/tasks/me/events", "")
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	s.stream(otherToken, "/tasks/other/events")
	resp, _ = s.call(adminToken, "GET", "/events", "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	s.H.Shutdown()
	for _, answer := range waiting {
		require.Equal(t, http.StatusOK, (<-answer).status)
	}
}

// TestShutdown: what waits is answered at once, and the server's own Shutdown comes to its end by that.
func TestShutdown(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form))
	resp, _ := s.call(adminToken, "GET", "/tasks/a", "")
	etag := resp.Header.Get("ETag")
	polls := []<-chan reply{s.later(adminToken, "/tasks/a?wait=50s"), s.later(adminToken, "/tasks/a?wait=50s", "If-None-Match", etag), s.later(adminToken, "/tasks/a/result?wait=50s")}
	streams := []*sse{s.stream(adminToken, "/events"), s.stream(adminToken, "/tasks/a/events")}
	require.NoError(t, s.Server.Shutdown(t.Context()))
	for i, status := range []int{http.StatusOK, http.StatusNotModified, http.StatusAccepted} {
		require.Equal(t, status, (<-polls[i]).status)
	}
	for _, e := range streams {
		var last string
		for line := e.line(); line != ""; line = e.line() {
			last = line
		}
		require.Equal(t, ": the server shuts down", last)
	}
	waits, open := s.H.Waiting()
	require.Zero(t, waits+open)
}

// TestManyPolls: many wait for one task, and all are told by the change.
func TestManyPolls(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form))
	answers := make(chan int)
	const polls = 50
	for range polls {
		go func() {
			resp, _ := s.call(adminToken, "GET", "/tasks/a/result?wait=50s", "")
			answers <- resp.StatusCode
		}()
	}
	s.until(func() bool { n, _ := s.H.Waiting(); return n == polls })
	require.NoError(t, s.Store.Update(t.Context(), "a", tasks.Error, nil, tasks.ErrorText("no good")))
	for i := range polls {
		require.Equal(t, http.StatusConflict, <-answers, fmt.Sprint(i))
	}
}
