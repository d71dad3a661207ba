package taskhttp_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

// TestGoneClientIsNoFailure: a request that fails because its client has gone isn't logged as a failure of the server's.
func TestGoneClientIsNoFailure(t *testing.T) {
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	require.NoError(t, err)
	defer st.Close()
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	var log bytes.Buffer
	h, err := taskhttp.New(st, testTokens, taskhttp.Logger(slog.New(slog.NewTextHandler(&log, nil))))
	require.NoError(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	ask := func(ctx context.Context, path string) int {
		r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+adminToken)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for _, path := range []string{"/tasks", "/tasks/a", "/tasks/a/result", "/tasks/a/attempts", "/stats"} {
		ask(gone, path)
		require.Empty(t, log.String(), path)
	}
	require.NoError(t, st.Close())
	require.GreaterOrEqual(t, ask(t.Context(), "/tasks"), 500)
	require.Contains(t, log.String(), "request failed", "the control")
}
