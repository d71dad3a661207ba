package vfs_test

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/stretchr/testify/require"
)

// TestFinishStartedOver: another process starts the WAL over while the checkpointer syncs it, and makes it as long as it was.
// What that sync covers is none of it, so nothing of it may get into the database file before another sync (H1).
func TestFinishStartedOver(t *testing.T) {
	if !walindex.Supported {
		t.Skip("no checkpoints in the background")
	}
	rec := newRecorder()
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, rec), wal, normal, often, slow)
	exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(0)")
	other := open(t, path, "os", noAuto, normal, impatient)
	query(t, other, "SELECT x FROM t")
	index, err := walindex.Open(path + "-shm")
	require.NoError(t, err)
	defer index.Close()
	frames := func() uint32 {
		h, _ := index.Header()
		return h.MaxFrame
	}

	var startedOver, early atomic.Int64
	var unsynced, busy, over atomic.Bool
	defer over.Store(true)
	rec.before = func(o op) error {
		switch {
		case o.kind == "write" && o.file == "db" && o.own && unsynced.Load():
			early.Add(1)
		case o.kind == "sync" && o.file == "wal" && o.own && busy.CompareAndSwap(false, true):
			defer busy.Store(false)
			unsynced.Store(false)
			// A sync of the checkpointer's: the WAL is past its limit, and the commits that it holds back are at rest.
			if over.Load() {
				return nil
			}
			n := frames()
			if n < 30 || other.Exec("PRAGMA wal_checkpoint(RESTART)") != nil {
				return nil
			}
			for other.Exec("UPDATE t SET x=x+1") == nil && frames() < n {
			}
			if frames() == n {
				startedOver.Add(1)
				unsynced.Store(true)
			}
		}
		return nil
	}
	for range 900 {
		exec(t, c, "UPDATE t SET x=x+1")
	}
	over.Store(true)
	require.NotZero(t, startedOver.Load())
	require.Zero(t, early.Load())
	exec(t, c, "PRAGMA wal_checkpoint")
	checkIntegrity(t, path)
}
