package vfs_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// unsyncedDB makes a database whose WAL has bytes that a failed sync left,
// and returns its path, the name of its VFS, and where those bytes begin and end.
func unsyncedDB(t *testing.T, rec *recorder) (path, vfsName string, from, to int64) {
	t.Helper()
	fail := failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec.before = fail.hook
	vfsName = register(t, rec, vfs.Logger(slog.New(slog.DiscardHandler)))
	path = filepath.Join(handlesDir(t), "test.db")
	size := func() int64 {
		info, err := os.Stat(path + "-wal")
		require.NoError(t, err)
		return info.Size()
	}
	c := open(t, path, vfsName, wal, full, noAuto)
	exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	from = size()
	fail.on.Store(true)
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(2)"), sqlite3.IOERR_FSYNC)
	to = size()
	require.NoError(t, c.Close())
	require.Greater(t, to, from)
	fail.on.Store(false)
	rec.take()
	return path, vfsName, from, to
}

// table is where the table's only page is in the database file.
const table = 4096

// rewritten returns how far the WAL was written before the table's page went into the database file,
// and whether it was synced before that.
func rewritten(ops []op, from int64) (to int64, synced bool) {
	to = from
	for _, o := range ops {
		switch {
		case o.kind == "write" && o.file == "db" && o.off == table:
			return to, synced
		case o.kind == "write" && o.file == "wal" && o.off == to:
			to += int64(o.size)
		case o.kind == "sync" && o.file == "wal":
			synced = true
		}
	}
	return to, synced
}

// TestRefresh: once the database is opened anew after a failed sync, what wasn't durable by then
// is written once more before anything relies on it.
func TestRefresh(t *testing.T) {
	for name, disabled := range map[string]rules.Set{"on": 0, "off": rules.Refresh} {
		t.Run(name, func(t *testing.T) {
			rec := newRecorder()
			rec.disabled = disabled
			path, vfsName, from, to := unsyncedDB(t, rec)
			// No byte that was durable is touched: a power cut could tear it.
			check := func(ops []op) {
				t.Helper()
				for _, o := range ops {
					require.False(t, o.kind == "write" && o.file == "wal" && o.off < from, "%v", o)
				}
				end, _ := rewritten(ops, from)
				if disabled != 0 {
					require.NotEqual(t, to, end)
				} else {
					require.GreaterOrEqual(t, end, to)
				}
			}
			t.Run("wait", func(t *testing.T) {
				c := open(t, path, vfsName, full, noAuto)
				require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
				require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
				check(rec.take())
				// Only once.
				require.NoError(t, vfs.WaitDurable(context.Background(), path))
				require.Zero(t, count(rec.take(), "write", "wal"))
			})
		})
	}
	for _, c := range []struct{ name, sql string }{
		{"commit", "INSERT INTO t VALUES(3)"},
		{"checkpoint", "PRAGMA wal_checkpoint"},
		{"truncate", "PRAGMA wal_checkpoint(TRUNCATE)"},
		{"close", "SELECT * FROM t"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := newRecorder()
			path, vfsName, from, to := unsyncedDB(t, rec)
			conn := open(t, path, vfsName, full, noAuto)
			exec(t, conn, c.sql)
			if c.name == "close" {
				require.NoError(t, conn.Close())
			}
			ops := rec.take()
			if c.name == "commit" {
				end, _ := rewritten(ops, from)
				require.Greater(t, end, to)
			} else {
				// H1: it is durable before the first page goes into the database file.
				end, synced := rewritten(ops, from)
				require.Equal(t, to, end)
				require.True(t, synced)
				require.NotZero(t, count(ops, "write", "db"))
			}
			require.NoError(t, conn.Close())
			checkIntegrity(t, path)
		})
	}
}

// TestRefreshForgotten: once another process has restarted the WAL there is nothing left to write.
func TestRefreshForgotten(t *testing.T) {
	rec := newRecorder()
	path, vfsName, _, _ := unsyncedDB(t, rec)
	theirs := open(t, path, "os", full, noAuto) // stands for the other process
	exec(t, theirs, "PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(3)")
	ours := open(t, path, vfsName, full, noAuto)
	exec(t, ours, "SELECT * FROM t")
	require.Equal(t, "ok", query(t, ours, "PRAGMA async_wait"))
	require.Zero(t, count(rec.take(), "write", "wal"))
}

// TestRefreshTwice: the sync that was to make up for it fails too.
func TestRefreshTwice(t *testing.T) {
	rec := newRecorder()
	path, vfsName, from, to := unsyncedDB(t, rec)
	fail := failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec.before = fail.hook
	c := open(t, path, vfsName, full, noAuto)
	query(t, c, "SELECT count(*) FROM t")
	eventually(t, func() bool { return stats(t, path).PendingBytes == 0 }) // the sync of what was left
	fail.on.Store(true)
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(3)"), sqlite3.IOERR_FSYNC)
	require.NoError(t, c.Close())
	fail.on.Store(false)
	rec.take()

	c = open(t, path, vfsName, full, noAuto)
	require.Equal(t, "3", query(t, c, "SELECT count(*) FROM t"))
	require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
	end, _ := rewritten(rec.take(), from)
	require.Greater(t, end, to)
}

// TestSpilledFramesTakenForDurable: frames that a savepoint took back were synced, and then written over.
// What is there since isn't durable.
func TestSpilledFramesTakenForDurable(t *testing.T) {
	rec := newRecorder()
	fail := failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec.before = fail.hook
	vfsName := register(t, rec, vfs.Logger(slog.New(slog.DiscardHandler)))
	path := filepath.Join(handlesDir(t), "test.db")
	c := open(t, path, vfsName, wal, full, noAuto)
	exec(t, c, "PRAGMA cache_size=2; CREATE TABLE t(x)")
	const many = "INSERT INTO t WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<20) SELECT zeroblob(3000) FROM n"
	rec.take()
	exec(t, c, "BEGIN; INSERT INTO t VALUES(1); SAVEPOINT s; "+many+"; ROLLBACK TO s; COMMIT")
	var last, end int64 // the last frame, and where the spilled ones ended
	for _, o := range rec.take() {
		if o.kind == "write" && o.file == "wal" {
			last, end = o.off+int64(o.size), max(end, o.off+int64(o.size))
		}
	}
	require.Less(t, last, end)

	fail.on.Store(true)
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(2)"), sqlite3.IOERR_FSYNC)
	fail.on.Store(false)
	require.NoError(t, c.Close())
	rec.take()
	c = open(t, path, vfsName, full, noAuto)
	require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
	require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
	var from int64
	for _, o := range rec.take() {
		if o.kind == "write" && o.file == "wal" {
			from = o.off
			break
		}
	}
	require.Equal(t, last, from)
}

// TestSpilledFramesOfOthers: frames that a rollback took back were synced, and another process has written over them.
// What is there since isn't known to be durable.
func TestSpilledFramesOfOthers(t *testing.T) {
	rec := newRecorder()
	fail := failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec.before = fail.hook
	vfsName := register(t, rec, vfs.Logger(slog.New(slog.DiscardHandler)))
	path := filepath.Join(handlesDir(t), "test.db")
	c := open(t, path, vfsName, wal, full, noAuto)
	theirs := open(t, path, "os", normal, noAuto)
	exec(t, c, "PRAGMA cache_size=2; CREATE TABLE t(x)")
	const many = "INSERT INTO t WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<20) SELECT zeroblob(3000) FROM n"
	exec(t, c, "BEGIN; "+many+"; ROLLBACK")
	rec.take()
	exec(t, c, "INSERT INTO t VALUES(1)")
	var committed int64
	for _, o := range rec.take() {
		if o.kind == "write" && o.file == "wal" {
			committed = o.off + int64(o.size)
		}
	}
	exec(t, theirs, "INSERT INTO t VALUES(2); INSERT INTO t VALUES(3)")

	fail.on.Store(true)
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(4)"), sqlite3.IOERR_FSYNC)
	fail.on.Store(false)
	require.NoError(t, c.Close())
	rec.take()
	c = open(t, path, vfsName, full, noAuto)
	require.Equal(t, "4", query(t, c, "SELECT count(*) FROM t"))
	require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
	require.Equal(t, committed, firstWrite(rec.take()))
}
