package vfs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// failing makes operations of a kind on a file fail while it is set.
type failing struct {
	on   atomic.Bool
	kind string
	file string
	err  error
}

func (f *failing) hook(o op) error {
	if f.on.Load() && o.kind == f.kind && o.file == f.file {
		return f.err
	}
	return nil
}

// TestSyncFails: every waiter gets the error, and it is final (H5).
func TestSyncFails(t *testing.T) {
	h := newHeldSyncs()
	var log bytes.Buffer
	var events atomic.Pointer[vfs.SyncEvent]
	path, conns := setup(t, h.recorder, 4, []vfs.Option{
		vfs.Logger(slog.New(slog.NewJSONHandler(&log, nil))),
		vfs.OnSync(func(e vfs.SyncEvent) {
			if e.Err != nil {
				events.Store(&e)
			}
		}),
	}, full)
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	durable := stats(t, path).Commits

	// One leads, two wait for the next sync.
	h.hold.Store(true)
	first := commits(t, conns[:1])
	<-h.started
	others := commits(t, conns[1:3])
	eventually(t, func() bool { return stats(t, path).Commits == durable+3 })
	h.hold.Store(false)
	h.release <- syscall.EIO
	for _, done := range []<-chan error{first, others, others} {
		require.ErrorIs(t, <-done, sqlite3.IOERR_FSYNC)
	}

	var failure *vfs.SyncError
	require.ErrorAs(t, vfs.Failure(path), &failure)
	require.ErrorIs(t, failure, syscall.EIO)
	require.Equal(t, path, failure.Database)
	require.Equal(t, "wal", failure.File)
	require.Equal(t, durable, failure.DurableCommits)
	require.Equal(t, durable+3, failure.Commits)
	require.Equal(t, failure.Error(), stats(t, path).Failed)
	require.ErrorIs(t, events.Load().Err, syscall.EIO)
	require.Contains(t, log.String(), `"err":"input/output error"`)
	require.Contains(t, log.String(), path)

	// The disk is well again, and the database still failed.
	for _, sql := range []string{
		"INSERT INTO t VALUES(2)",
		"PRAGMA async_wait",
		"PRAGMA synchronous=normal; INSERT INTO t VALUES(2)",
		"PRAGMA synchronous=off; INSERT INTO t VALUES(2)",
	} {
		require.ErrorIs(t, conns[3].Exec(sql), sqlite3.IOERR_FSYNC, sql)
	}
	require.ErrorIs(t, conns[3].Exec("PRAGMA async_wait"), syscall.EIO)
	require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), syscall.EIO)
	require.ErrorIs(t, vfs.Flush(t.Context()), syscall.EIO)
	h.take()
	_, _, err := conns[3].WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	require.ErrorIs(t, err, sqlite3.IOERR_FSYNC)
	require.Zero(t, count(h.take(), "write", "db"))
	// Reads go on.
	require.Equal(t, "4", query(t, conns[3], "SELECT count(*) FROM t"))
	c := open(t, path, register(t, h.recorder))
	require.Equal(t, "4", query(t, c, "SELECT count(*) FROM t"))
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(3)"), sqlite3.IOERR_FSYNC)

	// Only closing every handle clears it, and that deletes nothing.
	for _, c := range append(conns, c) {
		require.NoError(t, c.Close())
	}
	require.Zero(t, count(h.take(), "delete", "wal"))
	require.ErrorIs(t, vfs.Failure(path), vfs.ErrNotOpen)
	c = open(t, path, register(t, h.recorder), full)
	exec(t, c, "INSERT INTO t VALUES(4)")
	require.NoError(t, vfs.Failure(path))
	require.Equal(t, "5", query(t, c, "SELECT count(*) FROM t"))
	require.NoError(t, c.Close())
	checkIntegrity(t, path)
}

// TestSyncFailsControl: with H5 switched off, a second sync “succeeds”, and the database goes on.
func TestSyncFailsControl(t *testing.T) {
	rec := newRecorder()
	rec.disabled = rules.FailureIsFinal
	f := &failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec.before = f.hook
	_, conns := setup(t, rec, 1, nil, full)
	f.on.Store(true)
	require.ErrorIs(t, conns[0].Exec("INSERT INTO t VALUES(1)"), sqlite3.IOERR_FSYNC)
	f.on.Store(false)
	require.NoError(t, conns[0].Exec("INSERT INTO t VALUES(2)"))
}

// TestEverySyncFails lets each kind of sync fail in turn.
func TestEverySyncFails(t *testing.T) {
	mode := &failing{kind: "sync", file: "wal"}
	for _, tt := range []struct {
		name  string
		fail  *failing
		level string
		file  string // that SyncError names
		do    func(t *testing.T, c *sqlite3.Conn) error
	}{
		{"background", &failing{kind: "sync", file: "wal"}, normal, "wal", func(t *testing.T, c *sqlite3.Conn) error {
			exec(t, c, "INSERT INTO t VALUES(1)") // reported made, and it is
			return c.Exec("PRAGMA async_wait")
		}},
		{"checkpoint-wal", &failing{kind: "sync", file: "wal"}, off, "wal", func(t *testing.T, c *sqlite3.Conn) error {
			exec(t, c, "INSERT INTO t VALUES(1)")
			_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
			return err
		}},
		{"checkpoint-db", &failing{kind: "sync", file: "db"}, full, "db", func(t *testing.T, c *sqlite3.Conn) error {
			exec(t, c, "INSERT INTO t VALUES(1)")
			_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
			return err
		}},
		{"restart-db", &failing{kind: "sync", file: "db"}, off, "db", func(t *testing.T, c *sqlite3.Conn) error {
			exec(t, c, "INSERT INTO t VALUES(1)")
			if _, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART); err != nil {
				return err
			}
			return c.Exec("INSERT INTO t VALUES(1)")
		}},
		{"truncate-db", &failing{kind: "sync", file: "db"}, off, "db", func(t *testing.T, c *sqlite3.Conn) error {
			exec(t, c, "INSERT INTO t VALUES(1)")
			_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
			return err
		}},
		{"mode", mode, normal, "wal", func(t *testing.T, c *sqlite3.Conn) (err error) {
			for err == nil { // a commit whose predecessor was long ago may be durable soon
				mode.on.Store(false)
				exec(t, c, "PRAGMA async_mode=async; INSERT INTO t VALUES(1)")
				exec(t, c, "INSERT INTO t VALUES(1)")
				mode.on.Store(true)
				err = c.Exec("PRAGMA async_mode=sync")
			}
			return err
		}},
		{"delete-dir", &failing{kind: "syncdir", file: "wal"}, normal, "dir", func(t *testing.T, c *sqlite3.Conn) error {
			// SQLite ignores the error of the delete, but nothing is written after it.
			return c.Exec("PRAGMA journal_mode=delete; INSERT INTO t VALUES(1)")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := newRecorder()
			f := tt.fail
			f.err = syscall.EIO
			rec.before = f.hook
			path, conns := setup(t, rec, 2, nil, tt.level, slow, "_pragma=locking_mode(normal)")
			if tt.name == "delete-dir" {
				require.NoError(t, conns[1].Close())
			}
			f.on.Store(true)
			require.ErrorIs(t, tt.do(t, conns[0]), sqlite3.IOERR_FSYNC)
			f.on.Store(false)
			var failure *vfs.SyncError
			require.ErrorAs(t, vfs.Failure(path), &failure)
			require.Equal(t, tt.file, failure.File)
			require.ErrorIs(t, failure, syscall.EIO)
			rows := query(t, conns[0], "SELECT count(*) FROM t")
			require.ErrorIs(t, conns[0].Exec("INSERT INTO t VALUES(9)"), sqlite3.IOERR_FSYNC)
			require.Equal(t, rows, query(t, conns[0], "SELECT count(*) FROM t"))
			conns[0].Close()
			conns[1].Close()
			checkIntegrity(t, path)
			c := open(t, path, "os")
			require.Equal(t, rows, query(t, c, "SELECT count(*) FROM t"))
		})
	}
}

// TestNewDirectoryEntryFails: a commit in a new WAL isn't durable without its directory entry (H4).
func TestNewDirectoryEntryFails(t *testing.T) {
	rec := newRecorder()
	f := &failing{kind: "syncdir", file: "wal", err: syscall.EIO}
	rec.before = f.hook
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, rec))
	f.on.Store(true)
	require.ErrorIs(t, c.Exec("PRAGMA journal_mode=wal; CREATE TABLE t(x)"), sqlite3.IOERR_FSYNC)
	var failure *vfs.SyncError
	require.ErrorAs(t, vfs.Failure(path), &failure)
	require.Equal(t, "dir", failure.File)
}

// TestFullDisk: ENOSPC is an ordinary error, and poisons nothing.
func TestFullDisk(t *testing.T) {
	for _, file := range []string{"wal", "db"} {
		t.Run(file, func(t *testing.T) {
			rec := newRecorder()
			f := &failing{kind: "write", file: file, err: sqlitevfs.SystemError(syscall.ENOSPC, sqlite3.FULL)}
			rec.before = f.hook
			path, conns := setup(t, rec, 1, nil, full)
			c := conns[0]
			exec(t, c, "INSERT INTO t VALUES(1)")
			f.on.Store(true)
			if file == "wal" {
				require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(2)"), sqlite3.FULL)
			} else {
				_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
				require.ErrorIs(t, err, sqlite3.FULL)
			}
			f.on.Store(false)
			require.NoError(t, vfs.Failure(path))
			require.Equal(t, "1", query(t, c, "SELECT count(*) FROM t"))
			exec(t, c, "INSERT INTO t VALUES(3)")
			require.Zero(t, stats(t, path).PendingBytes)
			_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
			require.NoError(t, err)
			require.NoError(t, c.Close())
			checkIntegrity(t, path)
		})
	}
}

// TestOpenFails: nothing is left behind by an open that fails half way.
func TestOpenFails(t *testing.T) {
	for _, own := range []bool{false, true} {
		rec := newRecorder()
		var fail atomic.Bool
		rec.before = func(o op) error {
			if fail.Load() && o.kind == "open" && o.file == "wal" && o.own == own {
				return syscall.EMFILE
			}
			return nil
		}
		path := filepath.Join(t.TempDir(), "test.db")
		c := open(t, path, register(t, rec))
		fail.Store(true)
		require.ErrorIs(t, c.Exec("PRAGMA journal_mode=wal; CREATE TABLE t(x)"), sqlite3.CANTOPEN)
		fail.Store(false)
		exec(t, c, "PRAGMA journal_mode=wal; CREATE TABLE t(x)")
		require.NoError(t, c.Close())
		ops := rec.take()
		opened := 0
		for _, o := range ops {
			if o.kind == "open" && o.err == nil {
				opened++
			}
		}
		require.Equal(t, opened, count(ops, "close", "db")+count(ops, "close", "wal")+count(ops, "close", "journal"))
		checkIntegrity(t, path)
	}
}

func TestWaitIsCancelled(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 1, nil, off)
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	h.hold.Store(true)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- vfs.WaitDurable(ctx, path) }()
	<-h.started
	cancel(nil)
	require.ErrorIs(t, <-done, context.Canceled)

	ctx, cancel = context.WithCancelCause(t.Context())
	conns[0].SetInterrupt(ctx)
	requests := stats(t, path).SyncRequests
	go func() { done <- conns[0].Exec("PRAGMA async_wait") }()
	eventually(t, func() bool { return stats(t, path).SyncRequests > requests })
	cancel(errors.New("unused"))
	require.ErrorIs(t, <-done, sqlite3.INTERRUPT)
	conns[0].SetInterrupt(context.Background())
	h.hold.Store(false)
	h.release <- nil
	require.NoError(t, vfs.WaitDurable(t.Context(), path))
}
