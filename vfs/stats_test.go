package vfs_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

// TestHistogramsOfStatistics: each histogram counts what the counters count.
func TestHistogramsOfStatistics(t *testing.T) {
	path, conns := setup(t, newRecorder(), 1, nil, full, "max_pending=4KiB", slow)
	c := conns[0]
	before := stats(t, path)
	for range 5 {
		exec(t, c, "INSERT INTO t VALUES(1)")
	}
	exec(t, c, "PRAGMA wal_checkpoint")
	exec(t, c, "PRAGMA synchronous=normal; INSERT INTO t VALUES(randomblob(20000)); PRAGMA async_wait")
	s := stats(t, path)
	require.EqualValues(t, 5, s.CommitWait.Since(before.CommitWait).Count)
	require.EqualValues(t, s.WALSyncs, s.WALSyncTime.Count)
	require.EqualValues(t, s.DBSyncs, s.DBSyncTime.Count)
	require.NotZero(t, s.DBSyncTime.Count)
	require.EqualValues(t, 1, s.StallTime.Count)
	require.Equal(t, s.Stalls, s.StallTime.Count)
	require.Equal(t, s.SyncMicros, s.WALSyncTime.SumMicros+s.DBSyncTime.SumMicros)
	require.Equal(t, s.MaxSyncMicros, max(s.WALSyncTime.MaxMicros, s.DBSyncTime.MaxMicros))
	require.NotZero(t, s.MaxSyncMicros)

	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(query(t, c, "PRAGMA async_stats")), &object))
	for _, name := range []string{"wal_sync_time", "db_sync_time", "commit_wait", "loss_window", "stall_time", "hold_time"} {
		h, ok := object[name].(map[string]any)
		require.True(t, ok, name)
		require.Len(t, h["buckets"], len(vfs.HistogramBounds())+1)
		for _, field := range []string{"count", "sum_us", "max_us", "recent_max_us"} {
			require.Contains(t, h, field)
		}
	}
	var again vfs.Statistics
	require.NoError(t, json.Unmarshal([]byte(s.String()), &again))
	require.Equal(t, s, again)
}

// TestLossWindowOfStatistics: the window of commits at NORMAL is counted once for each sync, and lately's maximum falls.
func TestLossWindowOfStatistics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, conns := setup(t, newRecorder(), 1, nil, normal, "max_delay=40ms")
		c := conns[0]
		time.Sleep(time.Second)
		before := stats(t, path).LossWindow
		exec(t, c, "INSERT INTO t VALUES(1)")
		exec(t, c, "PRAGMA async_wait")
		exec(t, c, "INSERT INTO t VALUES(1)") // after a sync: due after three quarters of its time
		exec(t, c, "INSERT INTO t VALUES(1)")
		time.Sleep(time.Second)
		w := stats(t, path).LossWindow
		require.EqualValues(t, 2, w.Since(before).Count)
		require.Equal(t, 30*time.Millisecond, time.Duration(w.MaxMicros)*time.Microsecond)
		require.Equal(t, w.MaxMicros, w.RecentMaxMicros)
		require.Equal(t, w.MaxMicros, stats(t, path).MaxWindowMicros)
		time.Sleep(2 * time.Minute)
		require.Zero(t, stats(t, path).LossWindow.RecentMaxMicros)
		require.Equal(t, w.MaxMicros, stats(t, path).LossWindow.MaxMicros)
		c.Close()
	})
}

// TestHoldTimeOfStatistics: what commits wait for checkpoints is counted, by the sum that there was before.
func TestHoldTimeOfStatistics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal, "_pragma=wal_autocheckpoint(10)")
	exec(t, c, "CREATE TABLE t(x)")
	eventually(t, func() bool {
		exec(t, c, "INSERT INTO t VALUES(randomblob(30000))")
		return stats(t, path).HoldTime.Count > 0
	})
	s := stats(t, path)
	require.Equal(t, s.HoldTime.SumMicros, s.HeldMicros)
	require.Equal(t, s.HoldTime.MaxMicros, s.MaxHeldMicros)
}
