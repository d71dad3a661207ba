package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"
)

const secret = "secret-0123456789abcdef"

// traffic makes requests, and holds each and its answer against the document.
type traffic struct {
	t         *testing.T
	url       string
	validator validator.Validator
	seen      map[string]bool // operations that have succeeded
}

// call makes a request. Wrong is whether the document shall refuse the request, which then isn't sent as it asks for.
func (c *traffic) call(method, path, body string, status int, headers ...string) string {
	c.t.Helper()
	resp, text := c.do(method, path, body, true, headers...)
	require.Equal(c.t, status, resp.StatusCode, "%s %s: %s", method, path, text)
	return text
}

// wrong makes a request that the document doesn't allow. The answer has to be one that it describes all the same.
func (c *traffic) wrong(method, path, body string, status int, headers ...string) {
	c.t.Helper()
	resp, text := c.do(method, path, body, false, headers...)
	require.Equal(c.t, status, resp.StatusCode, "%s %s: %s", method, path, text)
}

func (c *traffic) do(method, path, body string, allowed bool, headers ...string) (*http.Response, string) {
	c.t.Helper()
	request := func() *http.Request {
		r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
		require.NoError(c.t, err)
		r.Header.Set("Authorization", "Bearer "+secret)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return r
	}
	r := request()
	ok, errs := c.validator.ValidateHttpRequest(r)
	require.Equal(c.t, allowed, ok, "the request %s %s: %v", method, path, errs)
	resp, err := http.DefaultClient.Do(request())
	require.NoError(c.t, err)
	defer resp.Body.Close()
	var text []byte
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		text = make([]byte, 10)
		_, err = io.ReadFull(resp.Body, text)
	} else {
		text, err = io.ReadAll(resp.Body)
	}
	require.NoError(c.t, err)
	resp.Body = io.NopCloser(bytes.NewReader(text))
	if ok, errs := c.validator.ValidateHttpResponse(request(), resp); !ok {
		for _, e := range errs {
			c.t.Errorf("the answer to %s %s, %d: %s: %s %v", method, path, resp.StatusCode, e.Message, e.Reason, e.SchemaValidationErrors)
		}
	}
	if resp.StatusCode < 300 {
		c.seen[method+" "+pattern(path)] = true
	}
	return resp, string(text)
}

// pattern returns the path of the document that a path belongs to.
func pattern(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	if len(parts) > 2 && parts[1] == "tasks" {
		parts[2] = "{id}"
	}
	return strings.Join(parts, "/")
}

// start serves a store and reads the document that is served.
func start(t *testing.T) (*tasks.Store, *traffic) {
	t.Helper()
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	h, err := taskhttp.New(st, taskhttp.Metrics(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "tasks 1\n")
	})), taskhttp.Tokens(taskhttp.Token{Secret: secret, Principal: taskhttp.Principal{Rights: taskhttp.Admin}}))
	require.NoError(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(func() { h.Shutdown(); s.Close() })
	doc, err := libopenapi.NewDocument(taskhttp.OpenAPI())
	require.NoError(t, err)
	v, errs := validator.NewValidator(doc)
	require.Empty(t, errs)
	return st, &traffic{t, s.URL, v, map[string]bool{}}
}

// TestDocument: the document is one of OpenAPI 3.1.
func TestDocument(t *testing.T) {
	_, c := start(t)
	ok, errs := c.validator.ValidateDocument()
	for _, e := range errs {
		t.Errorf("%s: %s %v", e.Message, e.Reason, e.SchemaValidationErrors)
	}
	require.True(t, ok)
}

// TestTraffic: what is asked and answered is what the document says, of every operation and of the errors.
func TestTraffic(t *testing.T) {
	st, c := start(t)
	ctx := t.Context()
	c.call("POST", "/tasks", `{"id":"a","type":"form","input":{"x":[1,null]},"labels":{"k":"v"},"priority":1,"max_attempts":2,"backoff":"1s","timeout":"1m","run_at":"2020-01-01T00:00:00Z","owner":"o"}`, 201, "Idempotency-Key", `"k"`)
	c.call("POST", "/tasks", `{"id":"b","type":"document","from_cache":false}`, 201)
	c.call("POST", "/tasks", `{"id":"b","type":"document"}`, 409)
	c.call("POST", "/tasks", `{"type":"letter"}`, 422)
	c.call("POST", "/tasks", `{"type":"form","owner":"o"}`, 422, "Idempotency-Key", `"k"`)
	c.wrong("POST", "/tasks", `{"type":1}`, 422)
	c.wrong("POST", "/tasks", `{"typ":"form"}`, 422)
	c.wrong("POST", "/tasks", `{`, 400)
	c.call("GET", "/tasks?type=form&type=document&status=pending&order=oldest&limit=1", "", 200)
	c.call("GET", "/tasks?label=k:v&owner=o", "", 200)
	c.wrong("GET", "/tasks?limit=0", "", 400)
	c.wrong("GET", "/tasks?order=up", "", 400)
	c.call("GET", "/tasks?status=done", "", 422)
	c.call("GET", "/tasks/a", "", 200)
	c.call("GET", "/tasks/a?wait=1ms", "", 200)
	c.call("GET", "/tasks/a", "", 304, "If-None-Match", "*")
	c.call("GET", "/tasks/none", "", 404)
	c.call("GET", "/tasks/a/result", "", 202)
	c.call("GET", "/tasks/a/input", "", 200)
	c.call("GET", "/tasks/b/input", "", 204)
	c.call("GET", "/tasks/a/events", "", 200)
	c.call("GET", "/events", "", 200)
	c.wrong("GET", "/tasks", "", 401, "Authorization", "Basic x")

	claimed, err := st.Claim(ctx, time.Minute, tasks.Form)
	require.NoError(t, err)
	require.NoError(t, st.Report(ctx, "a", tasks.Advance{Done: 1, Total: 2, Note: "half"}))
	require.NoError(t, st.Progress(ctx, "a", []int{1}))
	c.call("GET", "/tasks/a", "", 200)
	c.call("GET", "/tasks/a/result?partial=true", "", 200)
	require.NoError(t, st.Complete(ctx, claimed, map[string]string{"text": "é"}))
	c.call("GET", "/tasks/a/result", "", 200)
	c.call("GET", "/tasks/a/attempts", "", 200)
	c.call("POST", "/tasks/a/cancel", "", 409)
	c.call("POST", "/tasks/b/cancel", "", 200)
	c.call("GET", "/tasks/b/result", "", 409)
	c.call("POST", "/tasks/b/retry", "{}", 200)
	require.NoError(t, st.Update(ctx, "b", tasks.Error, nil, tasks.ErrorText("no good")))
	c.call("GET", "/stats", "", 200)
	require.NoError(t, st.Update(ctx, "b", tasks.Completed, nil, tasks.Force()))
	c.call("GET", "/tasks/b/result", "", 204)
	c.call("DELETE", "/tasks/b", "", 204)
	c.call("DELETE", "/tasks/b", "", 404)
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/openapi.json"} {
		c.call("GET", path, "", 200)
	}

	var doc struct {
		Paths map[string]map[string]any
	}
	require.NoError(t, json.Unmarshal(taskhttp.OpenAPI(), &doc))
	for path, methods := range doc.Paths {
		for method := range methods {
			require.True(t, c.seen[strings.ToUpper(method)+" "+path], "%s %s was never asked for", method, path)
		}
	}
}

// TestControl: an answer that isn't what the document says is noticed.
func TestControl(t *testing.T) {
	_, c := start(t)
	for _, body := range []string{`{"id":"a"}`, `{"id":1,"type":"form","status":"pending","created_at":"2020-01-01T00:00:00Z","attempts":0}`,
		`{"id":"a","type":"form","status":"pending","created_at":"2020-01-01T00:00:00Z","attempts":0,"secret":"x"}`} {
		r, err := http.NewRequestWithContext(context.Background(), "GET", c.url+"/tasks/a", nil)
		require.NoError(t, err)
		ok, _ := c.validator.ValidateHttpResponse(r, &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))})
		require.False(t, ok, body)
	}
}
