package taskhttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

const (
	expiredToken = "expired-0123456789abcdef"
	prefixToken  = "prefix-0123456789abcdef0"
)

// TestWhoMayDoWhat: every endpoint, for everybody who may ask.
func TestWhoMayDoWhat(t *testing.T) {
	st, _ := onDisk(t)
	h, err := taskhttp.New(st, taskhttp.Metrics(http.NotFoundHandler()), taskhttp.Tokens(
		taskhttp.Token{Secret: readerToken, Principal: taskhttp.Principal{Rights: taskhttp.Read, Owner: "me"}},
		taskhttp.Token{Secret: writerToken, Principal: taskhttp.Principal{Rights: taskhttp.Write, Owner: "me"}},
		taskhttp.Token{Secret: otherToken, Principal: taskhttp.Principal{Rights: taskhttp.Write, Owner: "other"}},
		taskhttp.Token{Secret: prefixToken, Principal: taskhttp.Principal{Rights: taskhttp.Write, Prefix: "else/"}},
		taskhttp.Token{Secret: adminToken, Principal: taskhttp.Principal{Rights: taskhttp.Admin}},
		taskhttp.Token{Secret: expiredToken, Principal: taskhttp.Principal{Rights: taskhttp.Admin}, Expires: time.Now().Add(-time.Second)},
	))
	require.NoError(t, err)
	s := serveHandler(t, st, h)

	callers := []struct {
		name, header string
		right        taskhttp.Right
		known, sees  bool
	}{
		{"nobody", "", 0, false, false},
		{"wrong", "Bearer wrong-0123456789abcdef", 0, false, false},
		{"empty", "Bearer ", 0, false, false},
		{"no scheme", adminToken, 0, false, false},
		{"another scheme", "Basic " + adminToken, 0, false, false},
		{"a part of one", "Bearer " + adminToken[:len(adminToken)-1], 0, false, false},
		{"expired", "Bearer " + expiredToken, 0, false, false},
		{"read", "Bearer " + readerToken, taskhttp.Read, true, true},
		{"write", "Bearer " + writerToken, taskhttp.Write, true, true},
		{"admin", "Bearer " + adminToken, taskhttp.Admin, true, true},
		{"another owner", "Bearer " + otherToken, taskhttp.Write, true, false},
		{"another prefix", "Bearer " + prefixToken, taskhttp.Write, true, false},
	}
	n := 0
	for _, e := range taskhttp.Endpoints() {
		for _, who := range callers {
			n++
			id := fmt.Sprintf("task %d", n)
			require.NoError(t, st.Create(t.Context(), id, tasks.Form, tasks.Owner("me"), tasks.Input(1), tasks.Relaxed()))
			if strings.HasSuffix(e.Path, "/retry") {
				require.NoError(t, st.Update(t.Context(), id, tasks.Error, nil, tasks.Relaxed()))
			}
			ofTask := strings.Contains(e.Path, "{id}")
			want := 0
			switch {
			case e.Right == 0:
				want = http.StatusOK
			case !who.known:
				want = http.StatusUnauthorized
			case who.right < e.Right:
				want = http.StatusForbidden
			case ofTask && !who.sees:
				want = http.StatusNotFound
			case e.Method == "POST" && e.Path == "/tasks":
				want = http.StatusCreated
			case e.Method == "DELETE":
				want = http.StatusNoContent
			case strings.HasSuffix(e.Path, "/result"):
				want = http.StatusAccepted
			case e.Path == "/metrics":
				want = http.StatusNotFound // what is served there says so
			default:
				want = http.StatusOK
			}
			name := fmt.Sprintf("%s %s by %s", e.Method, e.Path, who.name)
			body := ""
			if e.Path == "/tasks" && e.Method == "POST" {
				body = `{"type":"form"}`
			}
			req, err := http.NewRequestWithContext(t.Context(), e.Method, s.URL+strings.ReplaceAll(e.Path, "{id}", strings.ReplaceAll(id, " ", "%20")), strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("Content-Type", "application/json")
			if who.header != "" {
				req.Header.Set("Authorization", who.header)
			}
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err, name)
			resp.Body.Close()
			require.Equal(t, want, resp.StatusCode, name)
			require.Equal(t, want == http.StatusUnauthorized, resp.Header.Get("WWW-Authenticate") != "", name)
			require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"), name)
			if e.Right == 0 || !ofTask {
				continue
			}
			// Whoever isn't allowed to has changed nothing.
			info, err := st.Status(t.Context(), id)
			changed := errors.Is(err, tasks.ErrNotFound) || strings.HasSuffix(e.Path, "/cancel") && info.Status == tasks.Error ||
				strings.HasSuffix(e.Path, "/retry") && info.Status == tasks.Pending
			require.Equal(t, e.Right == taskhttp.Write && want < 300, changed, name)
		}
	}
}

// TestOwnTasks: lists, counts and new tasks are one's own.
func TestOwnTasks(t *testing.T) {
	s := serve(t)
	for i := range 3 {
		require.NoError(t, s.Store.Create(t.Context(), fmt.Sprint("m", i), tasks.Form, tasks.Owner("me")))
		require.NoError(t, s.Store.Create(t.Context(), fmt.Sprint("o", i), tasks.Form, tasks.Owner("other")))
	}
	for token, want := range map[string]int{readerToken: 3, otherToken: 3, adminToken: 6} {
		_, body := s.call(token, "GET", "/tasks", "")
		require.Len(t, decode[taskhttp.Page](t, body).Tasks, want)
		_, body = s.call(token, "GET", "/stats", "")
		stats := decode[taskhttp.Stats](t, body)
		require.Equal(t, want, stats.Counts[tasks.Form][tasks.Pending])
		require.Equal(t, token == adminToken, stats.VFS != nil, "what the process does is the administrator's")
	}
	resp, _ := s.call(readerToken, "GET", "/tasks?owner=other", "")
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	resp, _ = s.call(writerToken, "POST", "/tasks", `{"type":"form","owner":"other"}`)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	_, body := s.call(adminToken, "GET", "/tasks?owner=other", "")
	require.Len(t, decode[taskhttp.Page](t, body).Tasks, 3)
	// Who asks for another's task is told what is told of one that isn't there.
	resp, other := s.call(readerToken, "GET", "/tasks/o1", "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	resp, none := s.call(readerToken, "GET", "/tasks/n1", "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.Equal(t, strings.ReplaceAll(other, "o1", "n1"), none)
}

// TestPrefix: who is limited to a prefix sees and creates tasks with it alone, page by page.
func TestPrefix(t *testing.T) {
	st, _ := onDisk(t)
	h, err := taskhttp.New(st, taskhttp.Tokens(taskhttp.Token{Secret: prefixToken, Principal: taskhttp.Principal{Rights: taskhttp.Write, Prefix: "p/"}}))
	require.NoError(t, err)
	s := serveHandler(t, st, h)
	var list []tasks.NewTask
	for i := range 50 {
		list = append(list, tasks.NewTask{ID: fmt.Sprintf("p/%02d", i), Type: tasks.Form}, tasks.NewTask{ID: fmt.Sprintf("q/%02d", i), Type: tasks.Form})
	}
	require.Nil(t, st.CreateMany(t.Context(), list))
	seen, after := 0, ""
	for pages := 0; ; pages++ {
		require.Less(t, pages, 20)
		_, body := s.call(prefixToken, "GET", "/tasks?limit=7&after="+after, "")
		page := decode[taskhttp.Page](t, body)
		for _, task := range page.Tasks {
			require.True(t, strings.HasPrefix(task.ID, "p/"))
			seen++
		}
		if after = page.Next; after == "" {
			break
		}
	}
	require.Equal(t, 50, seen)
	resp, body := s.call(prefixToken, "POST", "/tasks", `{"type":"form"}`)
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	require.True(t, strings.HasPrefix(decode[taskhttp.Task](t, body).ID, "p/"))
	resp, _ = s.call(prefixToken, "POST", "/tasks", `{"type":"form","id":"q/x"}`)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	resp, _ = s.call(prefixToken, "GET", "/tasks/q%2F01", "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}

// TestNewNeedsAnAuthorizer: nothing is served unless it is said who may do what, and that makes sense.
func TestNewNeedsAnAuthorizer(t *testing.T) {
	st, _ := onDisk(t)
	_, err := taskhttp.New(st)
	require.ErrorIs(t, err, taskhttp.ErrNoAuthorizer)
	admin := taskhttp.Principal{Rights: taskhttp.Admin}
	for name, o := range map[string][]taskhttp.Option{
		"two":        {taskhttp.Open(), testTokens},
		"none":       {taskhttp.Tokens()},
		"short":      {taskhttp.Tokens(taskhttp.Token{Secret: "short", Principal: admin})},
		"same":       {taskhttp.Tokens(taskhttp.Token{Secret: adminToken, Principal: admin}, taskhttp.Token{Secret: adminToken, Principal: admin})},
		"no right":   {taskhttp.Tokens(taskhttp.Token{Secret: adminToken})},
		"everything": {taskhttp.Tokens(taskhttp.Token{Secret: adminToken, Principal: taskhttp.Principal{Rights: taskhttp.Read}})},
		"no func":    {taskhttp.Authorize(nil)},
		"body":       {testTokens, taskhttp.MaxBody(0)},
		"wait":       {testTokens, taskhttp.MaxWait(time.Hour)},
		"heartbeat":  {testTokens, taskhttp.Heartbeat(0)},
		"client":     {testTokens, taskhttp.ClientTime(0, time.Minute)},
		"waiting":    {testTokens, taskhttp.MaxWaiting(-1, 1)},
	} {
		_, err := taskhttp.New(st, o...)
		require.Error(t, err, name)
	}
	_, err = taskhttp.New(nil, testTokens)
	require.Error(t, err)
	h, err := taskhttp.New(st, taskhttp.Authorize(func(*http.Request) (taskhttp.Principal, error) { return taskhttp.Principal{}, errors.New("down") }))
	require.NoError(t, err)
	resp, body := serveHandler(t, st, h).call("", "GET", "/tasks", "")
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.NotContains(t, body, "down")
}
