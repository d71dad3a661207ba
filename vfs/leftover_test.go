package vfs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// leftover returns a database with a WAL as a process leaves them that is killed.
func leftover(t testing.TB) string {
	dir := handlesDir(t)
	path := filepath.Join(dir, "test.db")
	c := open(t, path, "os", wal, noAuto)
	exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	require.NoError(t, err)
	exec(t, c, "INSERT INTO t VALUES(2)") // in the WAL only
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "left.db"+suffix), b, 0o600))
	}
	return filepath.Join(dir, "left.db")
}

// TestLeftover: a WAL that a killed process has left is made durable by who only reads, and counts as pending until then.
func TestLeftover(t *testing.T) {
	path := leftover(t)
	h := newHeldSyncs()
	h.hold.Store(true)
	c := open(t, path, register(t, h.recorder), normal, noAuto)
	require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
	<-h.started
	info, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	require.EqualValues(t, info.Size(), stats(t, path).PendingBytes)
	h.hold.Store(false)
	h.release <- nil
	eventually(t, func() bool { return stats(t, path).PendingBytes == 0 })
	require.EqualValues(t, 1, stats(t, path).WALSyncs)
	// One is enough, also for the next connection.
	require.Equal(t, "2", query(t, open(t, path, "async", normal, noAuto), "SELECT count(*) FROM t"))
	require.EqualValues(t, 1, stats(t, path).WALSyncs)
}

// TestLeftoverFails: it is a sync like any other (H5).
func TestLeftoverFails(t *testing.T) {
	path := leftover(t)
	rec := newRecorder()
	f := &failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec.before = f.hook
	f.on.Store(true)
	c := open(t, path, register(t, rec), normal, noAuto)
	require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
	eventually(t, func() bool { return vfs.Failure(path) != nil })
	f.on.Store(false)
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(3)"), sqlite3.IOERR_FSYNC)
	require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), syscall.EIO)
}

// TestNoLeftover: a new WAL asks for no sync.
func TestNoLeftover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, off, noAuto)
	query(t, c, "SELECT count(*) FROM sqlite_schema")
	require.Zero(t, stats(t, path).SyncRequests)
	require.Zero(t, stats(t, path).PendingBytes)
}

// TestFullfsync: each sync is as strict as the PRAGMA asks for, also of a WAL that was there before, of the database file
// in the background's checkpoint, and of one attached later.
func TestFullfsync(t *testing.T) {
	for _, tt := range []struct {
		pragma string
		full   bool
	}{
		{"_pragma=fullfsync(1)", true}, {"_pragma=checkpoint_fullfsync(on)", true}, {"_pragma=fullfsync(YES)", true},
		{"_pragma=fullfsync(0)", false}, {"_pragma=fullfsync", false}, {"_pragma=fullfsync(full)", false}, {"", false},
	} {
		t.Run("pragma"+tt.pragma, func(t *testing.T) {
			path, aux := leftover(t), leftover(t)
			rec := newRecorder()
			name := register(t, rec)
			c := open(t, path, name, tt.pragma, normal, "_pragma=wal_autocheckpoint(20)")
			query(t, c, "SELECT count(*) FROM t")
			fill(t, c, "t", 30)
			eventually(t, func() bool { return stats(t, path).DBSyncs > 0 })
			exec(t, c, "ATTACH '"+dsn(aux, name)+"' AS aux; SELECT count(*) FROM aux.t")
			exec(t, c, "PRAGMA aux.async_wait")
			synced := map[string]int{}
			for _, o := range rec.take() {
				if o.kind == "sync" {
					require.Equal(t, tt.full, o.full, o)
					synced[o.file]++
				}
			}
			require.NotZero(t, synced["wal"])
			require.NotZero(t, synced["db"])
		})
	}
}

// TestReplacedWAL: who opens a database whose WAL was removed, or is another file by now, is told what is wrong, and of which file.
func TestReplacedWAL(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		path := filepath.Join(handlesDir(t), "test.db")
		c := open(t, path, "async", wal, full)
		exec(t, c, "CREATE TABLE t(x)")
		if err := os.Rename(path+"-wal", path+"-old"); err != nil {
			t.Skip("files that are open can't be renamed: ", err)
		}
		if replaced {
			require.NoError(t, os.WriteFile(path+"-wal", nil, 0o600))
		}
		err := handlesTry(path, "async", "SELECT * FROM t")
		require.ErrorIs(t, err, sqlite3.CANTOPEN)
		require.ErrorContains(t, err, path+"-wal isn't the file any more that this process has open")
		require.NotContains(t, err.Error(), "is not allowed")
		require.NoError(t, os.Rename(path+"-old", path+"-wal"))
	}
}
