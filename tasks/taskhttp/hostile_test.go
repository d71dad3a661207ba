package taskhttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

// raw sends bytes as they are, and returns the answer.
func (s *served) raw(text string) (*http.Response, string) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Server.Addr)
	require.NoError(s.t, err)
	defer c.Close()
	go io.WriteString(c, text) // the server may answer, and close the connection, before it has read all of it
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp, string(body)
}

// TestPaths: an id is what the path's segment says, and no path leads to another task, or anywhere else.
func TestPaths(t *testing.T) {
	s := serve(t)
	ids := []string{"a", "a/b", "again//x", "../secret", "a/../b", "/", "//", " ", "%", "%2F", "?x=1", "#", "a;b=c", "ü", "u\u0308", "\u202Egnp", "😀", "'\"<b>", `\`, "+", "a.b", "...", strings.Repeat("é", 127)}
	for _, id := range ids {
		require.NoError(t, s.Store.Create(t.Context(), id, tasks.Form, tasks.Input(id)))
	}
	for _, id := range ids {
		resp, body := s.call(adminToken, "GET", "/tasks/"+url.PathEscape(id), "")
		require.Equal(t, http.StatusOK, resp.StatusCode, "%q %s", id, body)
		require.Equal(t, id, decode[taskhttp.Task](t, body).ID)
		resp, body = s.call(adminToken, "GET", "/tasks/"+url.PathEscape(id)+"/input", "")
		require.Equal(t, http.StatusOK, resp.StatusCode, "%q", id)
		require.Equal(t, id, decode[string](t, body))
	}
	for _, path := range []string{
		"/tasks/%00", "/tasks/a%00", "/tasks/%ff", "/tasks/%0A", "/tasks/..", "/tasks/../tasks/a", "/tasks/%2e%2e", "/tasks/./a", "//tasks/a", "/tasks//a", "/tasks/a/",
		"/tasks/" + strings.Repeat("x", 256), "/tasks/a/b", "/TASKS/a", "/tasks/a/../b", "/..%2F..%2Fetc%2Fpasswd", "/tasks/a/result/..", "/favicon.ico", "/tasks/a%2Fresult",
	} {
		resp, body := s.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n")
		require.Equal(t, http.StatusNotFound, resp.StatusCode, "%s %s", path, body)
	}
	for _, path := range []string{"/tasks/%", "/tasks/%zz"} {
		resp, _ := s.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n")
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, path)
	}
}

// TestCrossSite: a page of another site can't change anything, whatever the browser sends along.
func TestCrossSite(t *testing.T) {
	st, _ := onDisk(t)
	h, err := taskhttp.New(st, taskhttp.Open())
	require.NoError(t, err)
	s := serveHandler(t, st, h)
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://elsewhere.example"}, {"Origin", "null"},
	} {
		for _, e := range taskhttp.Endpoints() {
			if e.Right == taskhttp.Write {
				resp, _ := s.call("", e.Method, strings.ReplaceAll(e.Path, "{id}", "a"), "", headers...)
				require.Equal(t, http.StatusForbidden, resp.StatusCode, "%s %s %q", e.Method, e.Path, headers)
			}
		}
	}
	// A form can't send JSON.
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		req, err := http.NewRequest("POST", s.URL+"/tasks", strings.NewReader(`{"type":"form"}`))
		require.NoError(t, err)
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusUnsupportedMediaType, resp.StatusCode, kind)
	}
	resp, _ := s.call("", "POST", "/tasks", `{"type":"form"}`, "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	// No other site reads anything, nor shows it in a frame.
	require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
}

// TestNoCredentialsInURLs: a token in a URL, which is logged, isn't taken for one.
func TestNoCredentialsInURLs(t *testing.T) {
	s := serve(t)
	for _, name := range []string{"access_token", "token", "authorization"} {
		resp, _ := s.call("", "GET", "/tasks?"+name+"="+adminToken, "")
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	}
}

// TestBodies: bodies that are too large, or never come, hold nothing.
func TestBodies(t *testing.T) {
	s := serve(t, taskhttp.MaxBody(2000), taskhttp.ClientTime(time.Second, time.Second))
	resp, body := s.call(adminToken, "POST", "/tasks", `{"type":"form","input":"`+strings.Repeat("x", 3000)+`"}`)
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode, body)
	resp, _ = s.call(adminToken, "POST", "/tasks/a/cancel", strings.Repeat(" ", 3000))
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	deep := `{"type":"form","input":` + strings.Repeat("[", 900) + strings.Repeat("]", 900) + `}`
	resp, _ = s.call(adminToken, "POST", "/tasks", deep)
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	head := "POST /tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + adminToken + "\r\nContent-Type: application/json\r\n"
	resp, _ = s.raw(head + "Content-Length: 100\r\n\r\n{\"type\":")
	require.Equal(t, http.StatusRequestTimeout, resp.StatusCode, "the rest doesn't come")
	resp, _ = s.raw(head + "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n" + strings.Repeat("x", 5000))
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	resp, _ = s.raw(head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, "one of the two is a lie")

	st, _ := onDisk(t, tasks.MaxResult(100))
	small := serveStore(t, st)
	resp, body = small.call(adminToken, "POST", "/tasks", `{"type":"form","input":"`+strings.Repeat("x", 200)+`"}`)
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode, body)
}

// TestHeaders: a flood of headers is refused.
func TestHeaders(t *testing.T) {
	s := serve(t)
	var flood strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&flood, "X-%d: %s\r\n", i, strings.Repeat("x", 20))
	}
	resp, _ := s.raw("GET /tasks HTTP/1.1\r\nHost: x\r\n" + flood.String() + "\r\n")
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
	resp, _ = s.raw("GET /tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + adminToken + "\r\nAuthorization: Bearer " + readerToken + "\r\n\r\n")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "which of the two is it?")
}

// TestMarkup: what tasks hold comes as JSON, which no browser takes for markup.
func TestMarkup(t *testing.T) {
	s := serve(t)
	const markup = `<script>alert(1)</script><img src=x onerror=alert(2)>`
	require.NoError(t, s.Store.Create(t.Context(), markup, tasks.Form, tasks.Input(markup), tasks.WithLabels(map[string]string{markup: markup})))
	require.NoError(t, s.Store.Update(t.Context(), markup, tasks.Error, markup, tasks.ErrorText(markup)))
	id := url.PathEscape(markup)
	for _, path := range []string{"/tasks", "/tasks/" + id, "/tasks/" + id + "/result", "/tasks/" + id + "/input", "/stats", "/tasks/" + id + "x", "/" + id} {
		resp, _ := s.call(adminToken, "GET", path, "", "Accept", "text/html")
		require.Contains(t, []string{"application/json", "application/problem+json"}, resp.Header.Get("Content-Type"), path)
		require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"), path)
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'", path)
	}
}

// TestMethods: a path has its methods, HEAD is GET without the body, and others are refused with those that there are.
func TestMethods(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form))
	resp, body := s.call(adminToken, "HEAD", "/tasks/a", "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Empty(t, body)
	require.NotEmpty(t, resp.Header.Get("ETag"))
	for _, method := range []string{"PUT", "PATCH", "OPTIONS", "TRACE", "BREW"} {
		resp, _ = s.call(adminToken, method, "/tasks/a", "")
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, method)
		require.Equal(t, "GET, HEAD, DELETE", resp.Header.Get("Allow"))
	}
}
