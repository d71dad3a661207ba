package prom_test

import (
	"io"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics/prom"
	"github.com/ncruces/go-sqlite3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// TestScrape: what Prometheus gets has the names and units that its conventions ask for, and the values.
func TestScrape(t *testing.T) {
	reg := prometheus.NewRegistry()
	provider, handler, err := prom.New(reg)
	require.NoError(t, err)
	defer provider.Shutdown(t.Context())
	path := filepath.Join(t.TempDir(), "test.db")
	stop, err := vfsmetrics.Register(provider, vfsmetrics.Databases(path))
	require.NoError(t, err)
	defer stop()
	c, err := sqlite3.Open(vfs.DSN(path))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Exec("CREATE TABLE t(x); INSERT INTO t VALUES(1); PRAGMA wal_checkpoint"))

	m, err := vfsmetrics.NewTasks(provider)
	require.NoError(t, err)
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), tasks.WithHooks(m.Hooks()))
	require.NoError(t, err)
	defer st.Close()
	stopTasks, err := m.Observe(st)
	require.NoError(t, err)
	defer stopTasks()
	require.NoError(t, st.Create(t.Context(), "a", tasks.Document))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	for _, line := range []string{
		`asyncvfs_commits_total{asyncvfs_database="` + path + `"} 2`,
		`asyncvfs_commit_wait_duration_seconds_count{asyncvfs_database="` + path + `"} 2`,
		`asyncvfs_wal_sync_duration_seconds_bucket{asyncvfs_database="` + path + `",le="+Inf"}`,
		`asyncvfs_db_sync_duration_seconds_count{asyncvfs_database="` + path + `"} 1`,
		`asyncvfs_commit_pending_bytes{asyncvfs_database="` + path + `"} 0`,
		`asyncvfs_database_failed{asyncvfs_database="` + path + `"} 0`,
		`tasks_created_total{tasks_type="document"} 1`,
		`tasks_stored{tasks_status="pending",tasks_type="document"} 1`,
		`tasks_pending_age_seconds`,
	} {
		require.Contains(t, string(body), line)
	}
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}
