package vfs_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestBusyPragma: PRAGMA busy_timeout is what it is with the stock VFS,
// before and after the first commit, which is when this VFS takes over.
func TestBusyPragma(t *testing.T) {
	script := []string{
		"PRAGMA busy_timeout", "PRAGMA busy_timeout=17", "PRAGMA main.busy_timeout", "PRAGMA busy_timeout(-3)", "PRAGMA busy_timeout",
		"PRAGMA Busy_Timeout='40x'", "PRAGMA busy_timeout", "PRAGMA busy_timeout=0", "PRAGMA busy_timeout=99999999999", "PRAGMA busy_timeout=+1000",
	}
	run := func(vfsName string, commit bool, timeout string) (got []string) {
		c, err := sqlite3.Open("file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "test.db")) + "?vfs=" + vfsName + "&" + wal + timeout)
		require.NoError(t, err)
		defer c.Close()
		exec(t, c, "CREATE TABLE t(x)")
		if commit {
			exec(t, c, "INSERT INTO t VALUES(1)")
		}
		for _, sql := range script {
			got = append(got, query(t, c, sql))
		}
		require.NoError(t, c.BusyTimeout(3*time.Second))
		exec(t, c, "INSERT INTO t VALUES(1)")
		return append(got, query(t, c, "PRAGMA busy_timeout"))
	}
	for _, commit := range []bool{false, true} {
		for _, timeout := range []string{"", "&_pragma=busy_timeout(5000)"} {
			require.Equal(t, run("os", commit, timeout), run("async", commit, timeout), "%v %q", commit, timeout)
		}
	}
}

// TestBusy: who waits for the write lock gets SQLITE_BUSY after its timeout, at once without one,
// and an interrupt when its context ends; a busy handler of the application's is the one that is asked.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal)
	exec(t, c, "CREATE TABLE t(x)")
	for _, holder := range []string{"async", "os"} { // a connection of this process, and as one of another
		h := open(t, path, holder)
		exec(t, h, "BEGIN IMMEDIATE")
		for _, ms := range []string{"0", "30"} {
			exec(t, c, "PRAGMA busy_timeout="+ms)
			require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(1)"), sqlite3.BUSY)
		}
		exec(t, c, "PRAGMA busy_timeout=60000")
		ctx, cancel := context.WithCancel(t.Context())
		old := c.SetInterrupt(ctx)
		time.AfterFunc(20*time.Millisecond, cancel)
		require.Error(t, c.Exec("INSERT INTO t VALUES(1)"))
		c.SetInterrupt(old)

		// It goes on when the lock is released, by a commit or a rollback.
		for _, end := range []string{"COMMIT", "ROLLBACK"} {
			done := make(chan error)
			go func() { done <- c.Exec("INSERT INTO t VALUES(1)") }()
			exec(t, h, "INSERT INTO t VALUES(2); "+end)
			require.NoError(t, <-done)
			exec(t, h, "BEGIN IMMEDIATE")
		}

		calls := 0
		require.NoError(t, c.BusyHandler(func(_ context.Context, count int) bool {
			calls++
			return count < 3
		}))
		require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(1)"), sqlite3.BUSY)
		require.Equal(t, 4, calls)
		require.NoError(t, h.Close())
	}
}

// TestBusySnapshot: a transaction that has read what is old by now can't write, and isn't kept waiting.
func TestBusySnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	a, b := open(t, path, "async", wal, normal), open(t, path, "async", normal)
	exec(t, a, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	exec(t, b, "INSERT INTO t VALUES(1); BEGIN; SELECT * FROM t")
	exec(t, a, "INSERT INTO t VALUES(2)")
	require.ErrorIs(t, b.Exec("INSERT INTO t VALUES(3)"), sqlite3.BUSY_SNAPSHOT)
	exec(t, b, "ROLLBACK; INSERT INTO t VALUES(3)")
}
