package vfs_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// firstWrite returns where the first write to the WAL went, or -1.
func firstWrite(ops []op) int64 {
	for _, o := range ops {
		if o.kind == "write" && o.file == "wal" {
			return o.off
		}
	}
	return -1
}

// TestRefreshAfterForeignRestart: another process has restarted the WAL since our last sync, and has written to it.
// What was durable was of the WAL before that one.
func TestRefreshAfterForeignRestart(t *testing.T) {
	for _, sql := range []string{"INSERT INTO t VALUES(3)", "PRAGMA async_wait"} {
		t.Run(sql, func(t *testing.T) { refreshAfterForeignRestart(t, sql) })
	}
}

func refreshAfterForeignRestart(t *testing.T, sql string) {
	rec := newRecorder()
	fail := failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec.before = fail.hook
	vfsName := register(t, rec, vfs.Logger(slog.New(slog.DiscardHandler)))
	path := filepath.Join(handlesDir(t), "test.db")
	ours := open(t, path, vfsName, wal, full, noAuto)
	exec(t, ours, "CREATE TABLE t(x)")
	for range 10 {
		exec(t, ours, "INSERT INTO t VALUES(1)")
	}
	theirs := open(t, path, "os", normal, noAuto)
	exec(t, theirs, "PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(2); INSERT INTO t VALUES(2)")
	fail.on.Store(true)
	require.ErrorIs(t, ours.Exec(sql), sqlite3.IOERR_FSYNC)
	fail.on.Store(false)
	require.NoError(t, ours.Close())
	rec.take()

	ours = open(t, path, vfsName, full, noAuto)
	query(t, ours, "SELECT count(*) FROM t")
	require.Equal(t, "ok", query(t, ours, "PRAGMA async_wait"))
	require.Zero(t, firstWrite(rec.take()))
}

// TestRefreshInDoubt: the WAL's header can't be read when a sync fails, or later. Doubt is never an ok.
func TestRefreshInDoubt(t *testing.T) {
	for _, at := range []string{"failure", "reopen"} {
		t.Run(at, func(t *testing.T) {
			rec := newRecorder()
			var bad atomic.Bool
			fail := failing{kind: "sync", file: "wal", err: syscall.EIO}
			rec.before = func(o op) error {
				if err := fail.hook(o); err != nil {
					bad.Store(at == "failure")
					return err
				}
				return nil
			}
			rec.read = func(file string, off int64) error {
				if bad.Load() && file == "wal" && off == 0 {
					return syscall.EIO
				}
				return nil
			}
			vfsName := register(t, rec, vfs.Logger(slog.New(slog.DiscardHandler)))
			path := filepath.Join(handlesDir(t), "test.db")
			c := open(t, path, vfsName, wal, full, noAuto)
			exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
			durable, err := os.Stat(path + "-wal")
			require.NoError(t, err)
			fail.on.Store(true)
			require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(2)"), sqlite3.IOERR_FSYNC)
			fail.on.Store(false)
			require.NoError(t, c.Close())

			bad.Store(at == "reopen")
			c, err = sqlite3.Open(dsn(path, vfsName, full, noAuto))
			if err == nil {
				defer c.Close()
			}
			if at == "reopen" {
				if err == nil {
					err = c.Exec("PRAGMA async_wait")
				}
				require.Error(t, err)
				bad.Store(false)
				c = open(t, path, vfsName, full, noAuto)
			}
			rec.take()
			require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
			require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
			// The salts tell, whenever they are read. What was durable isn't written over: a power cut could tear it.
			require.Equal(t, durable.Size(), firstWrite(rec.take()))
		})
	}
}

// TestPartialCheckpoint: SQLite's own checkpoint brings over a part of the WAL, since somebody reads an older state.
// It says so only once the database file is durable; if that can't be, all of it is brought over once more.
func TestPartialCheckpoint(t *testing.T) {
	for _, fails := range []bool{false, true} {
		rec := newRecorder()
		fail := failing{kind: "sync", file: "db", err: syscall.EIO}
		rec.before = fail.hook
		vfsName := register(t, rec, vfs.Logger(slog.New(slog.DiscardHandler)))
		path := filepath.Join(handlesDir(t), "test.db")
		ours := open(t, path, vfsName, wal, full, noAuto)
		exec(t, ours, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
		theirs := open(t, path, "os", noAuto) // stands for another process, and keeps the WAL-index alive
		exec(t, theirs, "BEGIN; SELECT * FROM t")
		exec(t, ours, "INSERT INTO t VALUES(2)")
		index, err := walindex.Open(path + "-shm")
		require.NoError(t, err)
		defer index.Close()

		rec.take()
		fail.on.Store(fails)
		_, done, _ := ours.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		fail.on.Store(false)
		require.Equal(t, 1, count(rec.take(), "sync", "db"))
		if !fails {
			require.Positive(t, done)
			require.EqualValues(t, done, index.Backfilled())
			require.NoError(t, vfs.Failure(path))
			continue
		}
		require.Error(t, vfs.Failure(path))
		require.Zero(t, index.Backfilled(), "it is taken back while the lock of the checkpoint is held")
		require.NoError(t, ours.Close())
		exec(t, theirs, "COMMIT")
		// The stock VFS brings over all of it.
		all, done, err := theirs.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		require.NoError(t, err)
		require.Equal(t, all, done)
		require.EqualValues(t, done, index.Backfilled())
	}
}
