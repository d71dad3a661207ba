package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// TestSaysMoreThanThereIs: another process's SQLite has set nBackfill to the number of frames of the WAL before this one.
// What is committed is brought over all the same. The control is SQLite's own checkpoint, with which it isn't.
func TestSaysMoreThanThereIs(t *testing.T) {
	if !walindex.Supported {
		t.Skip("no checkpoints in the background")
	}
	const before, after = 200, 300 // frames of the two WALs
	run := func(t *testing.T, checkpoint string) (rows, check string, log *logs) {
		log = new(logs)
		path := filepath.Join(t.TempDir(), "test.db")
		c := open(t, path, register(t, sqlitevfs.Find(""), vfs.Logger(log.logger())), wal, normal, "checkpoint="+checkpoint)
		exec(t, c, "CREATE TABLE t(x)")
		fill(t, c, "t", before)
		_, _, err := vfs.WALCheckpoint(c, "main", sqlite3.CHECKPOINT_PASSIVE)
		require.NoError(t, err)
		said, done := published(t, path)
		require.Equal(t, said, done)
		require.GreaterOrEqual(t, said, uint32(before))
		fill(t, c, "t", 1)
		frames, done := published(t, path)
		require.Zero(t, done)
		require.Less(t, frames, uint32(before))
		// The end of the other's checkpoint.
		x, err := walindex.Open(path + "-shm")
		require.NoError(t, err)
		x.SetAttempted(said)
		x.SetBackfilled(said)
		require.NoError(t, x.Close())

		exec(t, c, "PRAGMA wal_autocheckpoint=20")
		fill(t, c, "t", 30)
		if checkpoint == "background" {
			eventually(t, func() bool { return log.count("3.51.3") > 0 })
		}
		fill(t, c, "t", after)
		other := open(t, path, "os", full)
		exec(t, other, "PRAGMA wal_checkpoint(TRUNCATE)")
		s, _, err := other.Prepare("PRAGMA integrity_check")
		require.NoError(t, err)
		defer s.Close()
		if s.Step() {
			check = s.ColumnText(0)
		}
		if check == "ok" {
			rows = query(t, other, "SELECT count(*) FROM t")
		}
		return rows, check, log
	}
	t.Run("background", func(t *testing.T) {
		rows, check, log := run(t, "background")
		require.Equal(t, "ok", check)
		require.Equal(t, "531", rows)
		require.Equal(t, 1, log.count("3.51.3"))
	})
	t.Run("control", func(t *testing.T) {
		_, check, _ := run(t, "inline")
		require.NotEqual(t, "ok", check)
	})
}
