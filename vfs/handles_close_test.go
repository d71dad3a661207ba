package vfs_test

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// handlesPending makes two commits at NORMAL on a connection, which stay pending:
// they come while the sync of a commit at FULL, on another connection, is held.
func handlesPending(t *testing.T, h *heldSyncs, path string, normal, full *sqlite3.Conn) {
	t.Helper()
	exec(t, full, "PRAGMA synchronous=full")
	h.hold.Store(true)
	done := commits(t, []*sqlite3.Conn{full})
	<-h.started
	err := errors.Join(normal.Exec("INSERT INTO t VALUES(1)"), normal.Exec("INSERT INTO t VALUES(1)"))
	h.hold.Store(false)
	h.release <- nil
	require.NoError(t, errors.Join(err, <-done))
	require.Equal(t, uint64(2), stats(t, path).PendingCommits)
}

// TestLastClose: closing the last connection makes what it did durable, and deletes the WAL.
func TestLastClose(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 3, nil, normal, slow)
	handlesPending(t, h, path, conns[0], conns[1])
	require.NoError(t, conns[0].Close())
	require.NoError(t, conns[1].Close())
	require.Equal(t, uint64(2), stats(t, path).PendingCommits) // neither was the last
	require.FileExists(t, path+"-wal")
	h.take()
	require.NoError(t, conns[2].Close())

	ops := h.take()
	require.Equal(t, 1, count(ops, "sync", "wal"))
	var order []string
	for _, o := range ops {
		order = append(order, o.kind+" "+o.file)
	}
	order = handlesCompact(order)
	require.Equal(t, []string{
		"sync wal", "write db", "truncate db", "sync db", "close wal", "delete wal", "syncdir wal", "close db",
	}, order)
	require.NoFileExists(t, path+"-wal")
	require.Zero(t, handlesListed(path))
	require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), vfs.ErrNotOpen)
	checkIntegrity(t, path)
	require.Equal(t, "3", query(t, open(t, path, "os"), "SELECT count(*) FROM t"))
}

// handlesCompact leaves out what repeats the one before.
func handlesCompact(in []string) (out []string) {
	for _, s := range in {
		if len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

// TestLastCloseBesideReader: where another process keeps SQLite from deleting the WAL,
// the last close makes it durable all the same.
func TestLastCloseBesideReader(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 2, nil, normal, slow)
	other := open(t, path, "os") // stands for the other process
	require.Equal(t, "0", query(t, other, "SELECT count(*) FROM t"))
	handlesPending(t, h, path, conns[0], conns[1])
	require.NoError(t, conns[1].Close())
	require.Equal(t, uint64(2), stats(t, path).PendingCommits)
	h.take()
	require.NoError(t, conns[0].Close())
	ops := h.take()
	require.Zero(t, count(ops, "delete", "wal"))
	require.Equal(t, 1, count(ops, "sync", "wal"), ops)
	require.Equal(t, "3", query(t, other, "SELECT count(*) FROM t"))
}

// TestPersistWAL: SQLITE_FCNTL_PERSIST_WAL keeps the WAL, durable.
func TestPersistWAL(t *testing.T) {
	path := filepath.Join(handlesDir(t), "test.db")
	var synced atomic.Int32
	name := register(t, nil, vfs.OnSync(func(vfs.SyncEvent) { synced.Add(1) }))
	c := open(t, path, name, wal, normal, noAuto, slow)
	_, err := c.FileControl("main", sqlite3.FCNTL_PERSIST_WAL, true)
	require.NoError(t, err)
	exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	exec(t, c, "INSERT INTO t VALUES(1)")
	before := synced.Load()
	require.NoError(t, c.Close())
	require.Greater(t, synced.Load(), before)
	require.FileExists(t, path+"-wal")
	require.Zero(t, handlesListed(path))

	c = open(t, path, name, normal)
	require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
	require.NoError(t, c.Close())
	require.NoFileExists(t, path+"-wal")
	checkIntegrity(t, path)
}
