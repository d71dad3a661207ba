package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

func TestLevels(t *testing.T) {
	for _, tt := range []struct {
		level string
		syncs int // of the WAL, by a commit
	}{
		{"_pragma=synchronous(extra)", 1},
		{full, 1},
		{normal, 0},
		{off, 0},
	} {
		t.Run(tt.level, func(t *testing.T) {
			rec := newRecorder()
			path := filepath.Join(t.TempDir(), "test.db")
			c := open(t, path, register(t, rec), wal, tt.level, noAuto, slow)
			exec(t, c, "CREATE TABLE t(x)")
			exec(t, c, "PRAGMA async_wait")
			rec.take()
			for range 5 {
				exec(t, c, "INSERT INTO t VALUES(1)")
			}
			ops := rec.take()
			// The first commit at NORMAL is synced at once, by the syncer.
			if tt.syncs == 1 {
				require.Equal(t, 5, count(ops, "sync", "wal"))
				require.Equal(t, "sync", ops[len(ops)-1].kind)
			} else {
				require.LessOrEqual(t, count(ops, "sync", "wal"), 1)
			}
			s, err := vfs.Stats(path)
			require.NoError(t, err)
			if tt.syncs == 1 {
				require.Zero(t, s.PendingBytes)
				require.Equal(t, s.Commits, s.DurableCommits)
			} else {
				require.NotZero(t, s.PendingBytes)
			}
			exec(t, c, "PRAGMA async_wait")
			s, _ = vfs.Stats(path)
			require.Zero(t, s.PendingBytes)
			require.Zero(t, s.PendingCommits)
			require.NoError(t, c.Close())
			checkIntegrity(t, path)
		})
	}
}

// TestOffFromTheName: synchronous=OFF in the name of the database is OFF: its commits ask for no sync.
func TestOffFromTheName(t *testing.T) {
	path, conns := setup(t, newRecorder(), 1, nil, off)
	requests := stats(t, path).SyncRequests
	for range 10 {
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
	}
	require.Equal(t, requests, stats(t, path).SyncRequests)
	require.Zero(t, stats(t, path).PendingCommits)
}
