package taskhttp_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
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
	t     *testing.T
	Store *tasks.Store
	H     *taskhttp.Handler
	URL   string
}

func serve(t *testing.T, opts ...taskhttp.Option) *served {
	t.Helper()
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	h, err := taskhttp.New(st, append([]taskhttp.Option{testTokens}, opts...)...)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(h)
	s.Config = taskhttp.NewServer("", h)
	s.Start()
	t.Cleanup(func() { h.Shutdown(); s.Close() })
	return &served{t, st, h, s.URL}
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

// decode decodes an answer.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}
