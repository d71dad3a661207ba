package vfs_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// Each test here is named after what went wrong once.

// blockVFS writes whole blocks of 512 bytes, as go-sqlite3's encrypting VFSes do.
type blockVFS struct{ sqlitevfs.VFS }

func (v *blockVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, out, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	switch {
	case err != nil:
	case flags&sqlitevfs.OPEN_MAIN_DB != 0:
		file = overAll{overCommits{overUnwrapped{overFile{file}}}}
	case flags&sqlitevfs.OPEN_WAL != 0:
		file = blockFile{file}
	}
	return file, out, err
}

type blockFile struct{ sqlitevfs.File }

func (f blockFile) WriteAt(p []byte, off int64) (int, error) {
	const size = 512
	from, to := off/size*size, (off+int64(len(p))+size-1)/size*size
	blocks := make([]byte, to-from)
	if _, err := f.File.ReadAt(blocks, from); err != nil && err != io.EOF {
		return 0, err
	}
	copy(blocks[off-from:], p)
	if _, err := f.File.WriteAt(blocks, from); err != nil {
		return 0, err
	}
	return len(p), nil
}

// TestBlockWritesHideHeader: under a VFS that writes blocks,
// the WAL's header was taken for part of a frame, and not synced before the first one.
func TestBlockWritesHideHeader(t *testing.T) {
	rec := newRecorder()
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, passthroughRaw(t, &blockVFS{sqlitevfs.Find(register(t, rec))}), wal, full, noAuto)
	exec(t, c, "CREATE TABLE t(x)")
	_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
	require.NoError(t, err)
	rec.take()
	exec(t, c, "INSERT INTO t VALUES(1)")
	ops := rec.take()
	require.Equal(t, "write wal", ops[0].kind+" "+ops[0].file)
	require.Equal(t, "sync wal", ops[1].kind+" "+ops[1].file, "the header isn't durable before the first frame")
	require.Equal(t, "sync wal", ops[len(ops)-1].kind+" "+ops[len(ops)-1].file)
}

// TestAttachedCommitForgotten: where the wait for the main database's sync is cancelled,
// SQLite doesn't tell of the attached one's commit, which it has made visible. Nobody synced it, ever.
func TestAttachedCommitForgotten(t *testing.T) {
	h := newHeldSyncs()
	synced := make(chan string, 100)
	path, conns := setup(t, h.recorder, 1, nil, full)
	c := conns[0]
	aux := filepath.Join(t.TempDir(), "aux.db")
	auxVFS := register(t, newRecorder(), vfs.OnSync(func(e vfs.SyncEvent) { synced <- e.Database }))
	exec(t, c, "ATTACH '"+dsn(aux, auxVFS, "max_delay=1ms")+"' AS aux")
	exec(t, c, "PRAGMA aux.journal_mode=wal; PRAGMA aux.synchronous=normal; CREATE TABLE aux.u(x)")
	require.NoError(t, vfs.WaitDurable(t.Context(), aux))
	before := stats(t, aux)

	ctx, cancel := context.WithCancel(t.Context())
	c.SetInterrupt(ctx)
	h.hold.Store(true)
	done := make(chan error, 1)
	go func() { done <- c.Exec("BEGIN; INSERT INTO main.t VALUES(1); INSERT INTO aux.u VALUES(1); COMMIT") }()
	<-h.started
	cancel()
	require.ErrorIs(t, <-done, vfs.ErrDurabilityUnknown)
	require.Equal(t, "1", query(t, open(t, aux, "os"), "SELECT count(*) FROM u"))
	for stats(t, aux).PendingBytes > 0 {
		require.Equal(t, aux, <-synced)
	}
	s := stats(t, aux)
	require.Equal(t, before.Commits+1, s.Commits)
	require.Greater(t, s.WALSyncs, before.WALSyncs)
	require.Equal(t, uint64(1), stats(t, path).CancelledCommits)

	c.SetInterrupt(context.Background())
	h.hold.Store(false)
	h.release <- nil
}

// TestOffCheckpointPublished: at OFF SQLite says to all processes that the WAL is in the database file,
// which wasn't durable, and another process could then overwrite what was acknowledged at FULL.
func TestOffCheckpointPublished(t *testing.T) {
	rec := newRecorder()
	_, conns := setup(t, rec, 2, nil, full)
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	exec(t, conns[1], "PRAGMA synchronous=off")
	rec.take()
	_, _, err := conns[1].WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	require.NoError(t, err)
	ops := rec.take()
	require.Equal(t, "sync db", ops[len(ops)-1].kind+" "+ops[len(ops)-1].file, ops)
}

// TestHexLevelTakenForOff: SQLite reads 0x1 as 1, which is NORMAL.
func TestHexLevelTakenForOff(t *testing.T) {
	for level, off := range map[string]bool{"0x1": false, "0X01": false, "0x0": true, "0x7": true, "0": true} {
		rec := newRecorder()
		path, conns := setup(t, rec, 1, nil, slow)
		exec(t, conns[0], "PRAGMA synchronous="+level)
		for range 3 {
			exec(t, conns[0], "INSERT INTO t VALUES(1)")
		}
		require.Equal(t, off, stats(t, path).PendingCommits == 0, level)
	}
}

// TestCancelledWaitCounted: cancelled_commits counts commits, and not those who wait for them.
func TestCancelledWaitCounted(t *testing.T) {
	h := newHeldSyncs()
	path, _ := setup(t, h.recorder, 1, nil, full)
	h.hold.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- vfs.WaitDurable(ctx, path) }()
	<-h.started
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Zero(t, stats(t, path).CancelledCommits)
	h.hold.Store(false)
	h.release <- nil
}

// TestRolledBackCounted: a transaction that has spilled to the WAL and is rolled back is no commit,
// nor is an empty one after it.
func TestRolledBackCounted(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 1, nil, full)
	exec(t, conns[0], "PRAGMA cache_size=10; PRAGMA cache_spill=10")
	before := stats(t, path).Commits
	rec.take()
	exec(t, conns[0], `BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 200)
		INSERT INTO t SELECT zeroblob(2000) FROM n; ROLLBACK`)
	require.NotZero(t, count(rec.take(), "write", "wal"))
	exec(t, conns[0], "BEGIN IMMEDIATE; COMMIT")
	require.Equal(t, before, stats(t, path).Commits)
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	require.Equal(t, before+1, stats(t, path).Commits)
}

// TestCloseBehindWait: closing a connection waited for who waited for a sync on another one.
func TestCloseBehindWait(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 2, nil, normal, slow)
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	require.Equal(t, "1", query(t, conns[1], "SELECT count(*) FROM t"))
	h.hold.Store(true)
	done := make(chan error, 1)
	go func() { done <- vfs.WaitDurable(t.Context(), path) }()
	<-h.started
	require.NoError(t, conns[0].Close())
	require.Empty(t, done)
	h.hold.Store(false)
	h.release <- nil
	require.NoError(t, <-done)
}
