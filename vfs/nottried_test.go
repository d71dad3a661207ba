package vfs_test

import (
	"log/slog"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestSyncNotTried: an error met before a sync fails the commit that waits for it, and the next one tries again.
// TestNewDirectoryEntryFails is the control: an error of the sync itself is final.
func TestSyncNotTried(t *testing.T) {
	for _, errno := range []error{syscall.EMFILE, syscall.ENFILE} {
		for _, kind := range []string{"syncdir", "sync"} {
			t.Run(kind+"/"+errno.Error(), func(t *testing.T) {
				rec := newRecorder()
				f := &failing{kind: kind, file: "wal", err: errno}
				rec.before = f.hook
				path := filepath.Join(t.TempDir(), "test.db")
				c := open(t, path, register(t, rec, vfs.Logger(slog.New(slog.DiscardHandler))), wal, full, slow)
				f.on.Store(kind == "syncdir")
				require.Equal(t, kind == "syncdir", c.Exec("CREATE TABLE t(x)") != nil)
				require.NoError(t, vfs.Failure(path))
				f.on.Store(false)
				exec(t, c, "CREATE TABLE IF NOT EXISTS t(x)")
				f.on.Store(kind == "sync")
				require.Equal(t, kind == "sync", c.Exec("INSERT INTO t VALUES(1)") != nil)
				require.NoError(t, vfs.Failure(path))
				// At NORMAL nobody waits.
				exec(t, c, "PRAGMA synchronous=normal; INSERT INTO t VALUES(1)")
				f.on.Store(false)
				if kind == "sync" {
					// It is tried again without another commit.
					eventually(t, func() bool { return stats(t, path).PendingBytes == 0 })
				}
				exec(t, c, "PRAGMA synchronous=full; INSERT INTO t VALUES(1)")
				require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
				require.Equal(t, "3", query(t, c, "SELECT count(*) FROM t"))
				require.NoError(t, c.Close())
				checkIntegrity(t, path)
			})
		}
	}
}

// TestDeleteNotTried: a WAL was deleted, and its directory can't be synced for want of a descriptor.
// Nothing is written that the WAL would be replayed over, until it can be.
func TestDeleteNotTried(t *testing.T) {
	rec := newRecorder()
	f := &failing{kind: "syncdir", file: "wal", err: syscall.EMFILE}
	rec.before = f.hook
	path, conns := setup(t, rec, 1, []vfs.Option{vfs.Logger(slog.New(slog.DiscardHandler))}, full, "_pragma=locking_mode(normal)")
	c := conns[0]
	f.on.Store(true)
	require.Error(t, c.Exec("PRAGMA journal_mode=delete; INSERT INTO t VALUES(1)"))
	require.NoError(t, vfs.Failure(path))
	rec.take()
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(1)"), sqlite3.IOERR)
	require.Zero(t, count(rec.take(), "write", "db"))
	f.on.Store(false)
	exec(t, c, "PRAGMA journal_mode=delete; INSERT INTO t VALUES(1)")
	require.NoError(t, vfs.Failure(path))
	require.Equal(t, "1", query(t, c, "SELECT count(*) FROM t"))
}
