package taskhttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

const (
	readerToken = "reader-0123456789abcdef"
	writerToken = "writer-0123456789abcdef"
	otherToken  = "other-0123456789abcdef0"
	adminToken  = "admin-0123456789abcdef0"
)

var testTokens = taskhttp.Tokens(
	taskhttp.Token{Secret: readerToken, Principal: taskhttp.Principal{Name: "reader", Rights: taskhttp.Read, Owner: "me"}},
	taskhttp.Token{Secret: writerToken, Principal: taskhttp.Principal{Name: "writer", Rights: taskhttp.Write, Owner: "me"}},
	taskhttp.Token{Secret: otherToken, Principal: taskhttp.Principal{Name: "other", Rights: taskhttp.Write, Owner: "other"}},
	taskhttp.Token{Secret: adminToken, Principal: taskhttp.Principal{Name: "admin", Rights: taskhttp.Admin}},
)

// served is a handler that is served on loopback.
type served struct {
	t      *testing.T
	Store  *tasks.Store
	H      *taskhttp.Handler
	Server *http.Server
	URL    string
}

func serve(t *testing.T, opts ...taskhttp.Option) *served {
	t.Helper()
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return serveStore(t, st, opts...)
}

func serveStore(t *testing.T, st *tasks.Store, opts ...taskhttp.Option) *served {
	t.Helper()
	h, err := taskhttp.New(st, append([]taskhttp.Option{testTokens}, opts...)...)
	require.NoError(t, err)
	return serveHandler(t, st, h)
}

func serveHandler(t *testing.T, st *tasks.Store, h *taskhttp.Handler) *served {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config = taskhttp.NewServer("", h)
	s.Start()
	s.Config.Addr = s.Listener.Addr().String()
	t.Cleanup(func() { h.Shutdown(); s.Close() })
	return &served{t, st, h, s.Config, s.URL}
}

// call makes a request with a token, and headers in pairs.
func (s *served) call(token, method, path, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp, string(text)
}

// sse is a stream of events.
type sse struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Scanner
	last string // id
}

// sseEvent is an event that was dispatched.
type sseEvent struct{ name, id, data string }

// stream opens a stream of events.
func (s *served) stream(token, path string, headers ...string) *sse {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { cancel(); resp.Body.Close() })
	require.Equal(s.t, http.StatusOK, resp.StatusCode)
	return &sse{t: s.t, resp: resp, in: bufio.NewScanner(resp.Body)}
}

// line returns the next line that isn't empty, or "" at the end.
func (e *sse) line() string {
	for e.in.Scan() {
		if e.in.Text() != "" {
			return e.in.Text()
		}
	}
	return ""
}

// next returns the next event.
func (e *sse) next() (v sseEvent) {
	for e.in.Scan() {
		name, value, _ := strings.Cut(e.in.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			e.last = value
		case "event":
			v.name = value
		case "data":
			v.data = value
		case "":
			if v.data != "" && e.in.Text() == "" {
				v.id = e.last
				return v
			}
			if e.in.Text() == "" {
				v = sseEvent{}
			}
		}
	}
	return sseEvent{}
}

// atomicCount is a count.
type atomicCount struct{ n atomic.Int64 }

func (c *atomicCount) add()       { c.n.Add(1) }
func (c *atomicCount) get() int64 { return c.n.Load() }

// decode decodes an answer.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}
