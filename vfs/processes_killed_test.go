package vfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKilled: what a process reported is there after it was killed, at NORMAL too,
// since the page cache outlives it. Whoever opens the database next recovers it.
func TestKilled(t *testing.T) {
	path := filepath.Join(handlesDir(t), "test.db")
	c := open(t, path, "async", wal)
	exec(t, c, processTable)
	require.NoError(t, c.Close())

	rounds := []string{"async", "os", "async", "os", "async", "async"}
	if !startsFast {
		rounds = rounds[:3]
	}
	from, recovered := 1, 0
	for round, next := range rounds {
		p := startWriter(t, processWriter{
			tag: "w", vfs: "async", level: normal, path: path, from: from, to: 1 << 30,
		})
		require.NoError(t, p.begin())
		for range 20 + 37*round {
			more, err := p.next()
			require.NoError(t, err)
			require.True(t, more, "%s", &p.errors)
		}
		require.NoError(t, p.cmd.Process.Kill())
		require.NoError(t, p.readAll()) // what it said before
		require.Error(t, p.cmd.Wait())
		// There is none if it was just about to open its connection anew.
		if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
			recovered++
		}

		c := open(t, path, next)
		rows, gapless := rowsOf(t, c, "w")
		require.True(t, gapless)
		require.GreaterOrEqual(t, rows, p.reported)
		require.LessOrEqual(t, rows, p.reported+1) // the one that it hadn't reported yet
		require.Equal(t, "ok", query(t, c, "PRAGMA integrity_check"))
		exec(t, c, fmt.Sprintf("INSERT INTO t VALUES('w', %d)", rows+1))
		require.NoError(t, c.Close())
		require.NoFileExists(t, path+"-wal")
		checkIntegrity(t, path)
		from = rows + 2
	}
	require.NotZero(t, recovered)
}

// TestWaitForOthers: PRAGMA async_wait is about the commits of other processes too,
// also on a connection that hasn't read anything yet.
func TestWaitForOthers(t *testing.T) {
	for _, read := range []bool{true, false} {
		t.Run(fmt.Sprintf("read=%v", read), func(t *testing.T) {
			rec := newRecorder()
			path := filepath.Join(handlesDir(t), "test.db")
			theirs := open(t, path, "os", wal, normal) // stands for the other process
			exec(t, theirs, processTable)
			ours := open(t, path, register(t, rec))
			if read {
				require.Equal(t, "0", query(t, ours, "SELECT count(*) FROM t"))
				eventually(t, func() bool { return stats(t, path).PendingBytes == 0 }) // the sync of what was there
			}
			exec(t, theirs, "INSERT INTO t VALUES('theirs', 1)")
			rec.take()
			require.Equal(t, "ok", query(t, ours, "PRAGMA async_wait"))
			syncs := count(rec.take(), "sync", "wal")
			require.NotZero(t, syncs)
			if read {
				require.Equal(t, 1, syncs)
			}
		})
	}
}
