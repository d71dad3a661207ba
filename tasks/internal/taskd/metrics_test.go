package taskd

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/promtext"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/docusnap/asyncvfs/tasks/taskhttp/client"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

// started runs the program until the test ends, and returns where it serves.
func started(t *testing.T, env func(string) (string, bool), args ...string) (url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		ended <- Run(ctx, nil, append([]string{"-store", filepath.Join(t.TempDir(), "tasks.db"), "-listen", "127.0.0.1:0"}, args...), env, in, &stderr)
		in.Close()
	}()
	t.Cleanup(func() {
		cancel()
		require.Zero(t, <-ended, stderr.String())
		vfs.SetMode(context.Background(), vfs.Async)
	})
	scan := bufio.NewScanner(out)
	require.True(t, scan.Scan())
	return scan.Text()
}

// get asks the program for something with a token, and returns the answer and its body, unless that is a stream.
func get(t *testing.T, url, token string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

// TestLimits: the flags say how many may wait at the same time.
func TestLimits(t *testing.T) {
	const token = "0123456789abcdef"
	file := filepath.Join(t.TempDir(), "tokens.json")
	require.NoError(t, os.WriteFile(file, []byte(`[{"secret":"`+token+`","name":"a","rights":"admin"},{"secret":"`+token+`2","name":"b","rights":"admin"}]`), 0o600))
	url := started(t, noEnv, "-tokens", file, "-streams", "2", "-clientstreams", "1", "-polls", "0")
	for _, c := range []struct {
		token, path string
		status      int
	}{
		{token, "events", http.StatusOK},
		{token, "events", http.StatusTooManyRequests},
		{token + "2", "events", http.StatusOK},
		{token + "2", "tasks/a?wait=10s", http.StatusServiceUnavailable},
	} {
		resp, body := get(t, url+c.path, c.token)
		require.Equal(t, c.status, resp.StatusCode, body)
	}
}

// TestMetrics: what is measured is served to who has the right admin, in Prometheus' format: how many tasks there are and how old the oldest is,
// what workers have done, the cache and the syncs; and also what there is when the store doesn't answer.
func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.txt"), []byte("some text"), 0o600))
	const token = "0123456789abcdef"
	env := func(name string) (string, bool) { return token, name == "TASKD_TOKEN" }
	url := started(t, env, "-types", "scan", "-demo", "-folder", dir, "-rate", "100", "-workers", "50")
	resp, _ := get(t, url+"metrics", "no such token, really")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	c, err := client.New(url, client.Token(token))
	require.NoError(t, err)
	_, err = c.Create(t.Context(), taskhttp.NewTask{ID: "waits", Type: "scan"})
	require.NoError(t, err)
	var values map[string]float64
	require.Eventually(t, func() bool {
		resp, body := get(t, url+"metrics", token)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, promtext.ContentType, resp.Header.Get("Content-Type"))
		values = parse(t, body)
		return values[`tasks_finished_total{tasks_cancelled="false",tasks_status="error",tasks_type="document"}`] > 0 &&
			values[`tasks_cache_hits_total{tasks_type="document"}`] > 0 && values[`tasks_pending_age_seconds`] > 0
	}, 30*time.Second, 20*time.Millisecond)
	require.EqualValues(t, 1, values[`taskd_store_up`])
	require.EqualValues(t, 1, values[`tasks_stored{tasks_status="pending",tasks_type="scan"}`])
	require.EqualValues(t, 1, values[`tasks_created_total{tasks_type="scan"}`])
	require.Zero(t, values[`tasks_claimed_total{tasks_type="scan"}`])
	for _, some := range []string{
		`tasks_claimed_total{tasks_type="document"}`,
		`tasks_attempts_total{tasks_outcome="completed",tasks_type="document"}`,
		`tasks_attempts_total{tasks_outcome="retry",tasks_type="document"}`,
		`tasks_queue_duration_seconds_count{tasks_type="document"}`,
		`tasks_attempt_duration_seconds_sum{tasks_outcome="completed",tasks_type="document"}`,
		`tasks_cache_computed_total`, `tasks_cache_entries`, `tasks_cache_size_bytes`,
	} {
		require.Positive(t, values[some], some)
	}
	for _, none := range []string{`tasks_leases_lost_total{tasks_type="form"}`, `tasks_trouble_total{tasks_operation="claim"}`} {
		require.Contains(t, values, none)
		require.Zero(t, values[none])
	}
	database := promtext.Labels("asyncvfs_database", vfs.AllStats()[0].Database)
	for _, some := range []string{"asyncvfs_commits_total", "asyncvfs_sync_requests_total", "asyncvfs_wal_sync_duration_seconds_count", "asyncvfs_wal_size_bytes"} {
		require.Positive(t, values[some+"{"+database+"}"], some)
	}
	require.Contains(t, values, `asyncvfs_commit_stall_duration_seconds_bucket{`+database+`,asyncvfs_stall_reason="checkpoint",le="+Inf"}`)
}

// TestMetricsOfABrokenStore: the databases, and what was counted, are told of all the same.
func TestMetricsOfABrokenStore(t *testing.T) {
	counts := newTally([]tasks.Type{tasks.Form})
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), tasks.WithHooks(counts.hooks()))
	require.NoError(t, err)
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	require.NoError(t, st.Close())
	var log bytes.Buffer
	w := httptest.NewRecorder()
	(&metrics{counts, st, slog.New(slog.NewTextHandler(&log, nil))}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	values := parse(t, w.Body.String())
	require.Contains(t, values, "taskd_store_up")
	require.Zero(t, values["taskd_store_up"])
	require.EqualValues(t, 1, values[`tasks_created_total{tasks_type="form"}`])
	require.Contains(t, log.String(), "closed")
}

// parse reads metrics. Each has a family that was announced before, and there is none twice.
func parse(t *testing.T, text string) map[string]float64 {
	t.Helper()
	values, family, seen := map[string]float64{}, "", map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			family, _, _ = strings.Cut(rest, " ")
			require.False(t, seen[family], family)
			seen[family] = true
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		require.True(t, i > 0 && strings.HasPrefix(line, family), line)
		require.NotContains(t, values, line[:i])
		v, err := strconv.ParseFloat(line[i+1:], 64)
		require.NoError(t, err, line)
		values[line[:i]] = v
	}
	return values
}
