package vfs_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// marking is a base VFS as of another process, which counts how often a marker is looked for.
type marking struct {
	otherProcess
	looks *atomic.Int64
}

func newMarking() marking { return marking{otherProcess{newRecorder()}, new(atomic.Int64)} }

func (p marking) ReadMarker(name string) ([]byte, error) {
	p.looks.Add(1)
	return os.ReadFile(name)
}

func (marking) WriteMarker(name string, content []byte) error {
	return os.WriteFile(name, content, 0o600)
}
func (marking) DeleteMarker(name string) error { return os.Remove(name) }

func (p marking) register(t *testing.T, name string) string {
	name = register(t, p, vfs.Logger(slog.New(slog.DiscardHandler))) + name
	require.NoError(t, vfs.Register(name, p, vfs.Logger(slog.New(slog.DiscardHandler))))
	t.Cleanup(func() { sqlitevfs.Unregister(name) })
	return name
}

// failedElsewhere makes a database a sync of whose WAL has failed in another process, which has ended.
func failedElsewhere(t *testing.T, disabled rules.Set) (path string, from, to int64) {
	theirs := newMarking()
	theirs.disabled = disabled
	fail := failing{kind: "sync", file: "wal", err: syscall.EIO}
	theirs.before = fail.hook
	path = filepath.Join(handlesDir(t), "test.db")
	size := func() int64 {
		info, err := os.Stat(path + "-wal")
		require.NoError(t, err)
		return info.Size()
	}
	c := open(t, path, theirs.register(t, "-theirs"), wal, full, noAuto)
	exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	from = size()
	fail.on.Store(true)
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(2)"), sqlite3.IOERR_FSYNC)
	to = size()
	require.NoError(t, c.Close())
	return path, from, to
}

// TestMarker: what a process knows of its failed sync reaches those that open the database after it,
// and goes once all is durable.
func TestMarker(t *testing.T) {
	for _, disabled := range []rules.Set{0, rules.Marker} {
		for _, sql := range []string{"PRAGMA async_wait", "INSERT INTO t VALUES(3)", "PRAGMA wal_checkpoint", "PRAGMA wal_checkpoint(TRUNCATE)", "close"} {
			t.Run(disabled.String()+"/"+sql, func(t *testing.T) {
				path, from, to := failedElsewhere(t, disabled)
				ours := newMarking()
				ours.disabled = disabled
				c := open(t, path, ours.register(t, "-ours"), full, noAuto)
				require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
				ours.take()
				if sql == "close" {
					require.NoError(t, c.Close())
				} else {
					exec(t, c, sql)
				}
				ops := ours.take()
				end, synced := rewritten(ops, from)
				if disabled != 0 {
					require.Less(t, end, to)
					return
				}
				require.GreaterOrEqual(t, end, to)
				require.True(t, synced || sql == "PRAGMA async_wait" || strings.HasPrefix(sql, "INSERT"))
				require.NotZero(t, count(ops, "sync", "wal"))
				// Who waited for the sync may have been told before.
				eventually(t, func() bool { _, err := os.Stat(path + "-unsynced"); return os.IsNotExist(err) })
				if sql != "close" {
					exec(t, c, "PRAGMA async_wait")
					require.Zero(t, count(ours.take(), "write", "wal"), "only once")
				}
			})
		}
	}
}

// TestMarkerStays until what was written once more is durable: the process may end before.
func TestMarkerStays(t *testing.T) {
	for _, disabled := range []rules.Set{0, rules.MarkerStays} {
		t.Run(disabled.String(), func(t *testing.T) {
			path, _, _ := failedElsewhere(t, 0)
			ours := newMarking()
			ours.disabled = disabled
			var marked atomic.Bool // when the sync begins that comes after the writes
			var wrote atomic.Bool
			ours.before = func(o op) error {
				switch {
				case o.kind == "write" && o.file == "wal":
					wrote.Store(true)
				case o.kind == "sync" && o.file == "wal" && wrote.CompareAndSwap(true, false):
					_, err := os.Stat(path + "-unsynced")
					marked.Store(err == nil)
				}
				return nil
			}
			c := open(t, path, ours.register(t, "-ours"), full, noAuto)
			exec(t, c, "PRAGMA async_wait")
			require.Equal(t, disabled == 0, marked.Load())
			eventually(t, func() bool { _, err := os.Stat(path + "-unsynced"); return os.IsNotExist(err) })
		})
	}
}

// TestMarkerWhileOpen: a process that has the WAL open looks for a marker where it relies on what others have written,
// and doesn't for each commit.
func TestMarkerWhileOpen(t *testing.T) {
	for _, sql := range []string{"PRAGMA async_wait", "PRAGMA wal_checkpoint"} {
		t.Run(sql, func(t *testing.T) {
			ours, theirs := newMarking(), newMarking()
			fail := failing{kind: "sync", file: "wal", err: syscall.EIO}
			theirs.before = fail.hook
			path := filepath.Join(handlesDir(t), "test.db")
			c := open(t, path, ours.register(t, "-ours"), wal, full, noAuto)
			exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
			exec(t, c, sql) // once it is looked too for what was in doubt before
			ours.looks.Store(0)
			for range 100 {
				exec(t, c, "INSERT INTO t VALUES(1)")
			}
			require.Zero(t, ours.looks.Load())
			exec(t, c, sql)
			require.EqualValues(t, 1, ours.looks.Load())

			other := open(t, path, theirs.register(t, "-theirs"), full, noAuto)
			exec(t, other, "INSERT INTO t VALUES(2)")
			fail.on.Store(true)
			require.ErrorIs(t, other.Exec("INSERT INTO t VALUES(3)"), sqlite3.IOERR_FSYNC)
			require.FileExists(t, path+"-unsynced")
			ours.take()
			if sql == "PRAGMA async_wait" {
				exec(t, c, sql)
			} else {
				// The other process may be taking back what it has brought over just then.
				eventually(t, func() bool { return query(t, c, sql) == "0" })
			}
			require.NotZero(t, count(ours.take(), "write", "wal"))
			eventually(t, func() bool { _, err := os.Stat(path + "-unsynced"); return os.IsNotExist(err) })
			require.NoError(t, other.Close())
		})
	}
}

// TestMarkerOfAnotherStart: after the system was started anew, what can be read has come from the disk.
func TestMarkerOfAnotherStart(t *testing.T) {
	path, _, _ := failedElsewhere(t, 0)
	defer vfs.SetBootID("another")()
	marker, err := os.ReadFile(path + "-unsynced")
	require.NoError(t, err)
	if !strings.Contains(string(marker), `"boot"`) {
		t.Skip("starts of this system have no name")
	}
	ours := newMarking()
	c := open(t, path, ours.register(t, "-ours"), full, noAuto)
	require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
	exec(t, c, "PRAGMA async_wait")
	require.Zero(t, count(ours.take(), "write", "wal"))
	require.NoFileExists(t, path+"-unsynced")
}

// TestMarkerGarbled: what can't be read is an error that says what is wrong, and changes nothing.
func TestMarkerGarbled(t *testing.T) {
	path, _, _ := failedElsewhere(t, 0)
	good, err := os.ReadFile(path + "-unsynced")
	require.NoError(t, err)
	ours := newMarking()
	log := new(logs)
	name := register(t, ours, vfs.Logger(slog.New(slog.NewTextHandler(log, nil))))
	for what, content := range map[string]string{
		"it begins with":        "something else",
		"it is of version 2":    strings.Replace(string(good), "unsynced 1", "unsynced 2", 1),
		"its checksum is wrong": strings.Replace(string(good), `"durable_bytes": `, `"durable_bytes": 1`, 1),
		`it begins with \"\"`:   "",
	} {
		require.NoError(t, os.WriteFile(path+"-unsynced", []byte(content), 0o600))
		_, err := sqlite3.Open(dsn(path, name, full, noAuto))
		require.ErrorIs(t, err, sqlite3.CANTOPEN)
		require.Contains(t, log.text(), what)
		require.Contains(t, log.text(), path+"-unsynced")
		left, err := os.ReadFile(path + "-unsynced")
		require.NoError(t, err)
		require.Equal(t, content, string(left))
	}
	require.NoError(t, os.WriteFile(path+"-unsynced", good, 0o600))
	c := open(t, path, name, full, noAuto)
	require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
}

// TestStartedOverTooSoon: another process starts the WAL over after a sync of the database file has failed,
// and before what was brought over is taken back. That is nearly never too soon, and said.
func TestStartedOverTooSoon(t *testing.T) {
	ours := newMarking()
	fail := failing{kind: "sync", file: "db", err: syscall.EIO}
	ours.before = fail.hook
	path := filepath.Join(handlesDir(t), "test.db")
	log := new(logs)
	name := register(t, ours, vfs.Logger(log.logger()))
	c, stock := open(t, path, name, wal, full, often), open(t, path, "os", full, noAuto)
	exec(t, c, "CREATE TABLE t(x)")
	exec(t, stock, "SELECT * FROM t")
	index, err := walindex.Open(path + "-shm")
	require.NoError(t, err)
	defer index.Close()
	locked := make(chan bool, 1)
	ours.before = func(o op) error {
		err := fail.hook(o)
		if err != nil {
			ok, _ := index.TryLock(walindex.Checkpoint) // of another checkpoint, which ends well
			locked <- ok
		}
		return err
	}
	fail.on.Store(true)
	for range 15 {
		_ = c.Exec("INSERT INTO t VALUES(1)") // until it has failed
	}
	require.True(t, <-locked)
	eventually(t, func() bool {
		h, ok := index.Header()
		require.True(t, ok)
		index.SetBackfilled(h.MaxFrame)
		exec(t, stock, "INSERT INTO t VALUES(1)")
		now, ok := index.Header()
		require.True(t, ok)
		return now.MaxFrame < h.MaxFrame // not while the checkpoint that has failed still has its lock of a reader
	})
	require.NoError(t, index.Unlock(walindex.Checkpoint))
	eventually(t, func() bool { return log.count("another process has started the WAL over") == 1 })
	fail.on.Store(false)
	require.NoError(t, c.Close())

	again := open(t, path, name, full)
	exec(t, again, "PRAGMA async_wait")
	eventually(t, func() bool { _, err := os.Stat(path + "-unsynced"); return os.IsNotExist(err) })
}

// TestMarkerOneAtATime: a process doesn't remove the marker while another one may be writing its own.
func TestMarkerOneAtATime(t *testing.T) {
	if !walindex.Supported {
		t.Skip("no locks")
	}
	path, _, _ := failedElsewhere(t, 0)
	ours := newMarking()
	c := open(t, path, ours.register(t, "-ours"), full, noAuto)
	require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
	theirs, err := walindex.Open(path + "-shm")
	require.NoError(t, err)
	defer theirs.Close()
	ok, err := theirs.TryLock(walindex.Marker)
	require.NoError(t, err)
	require.True(t, ok)
	exec(t, c, "PRAGMA async_wait")
	exec(t, c, "INSERT INTO t VALUES(4)")
	require.FileExists(t, path+"-unsynced")
	require.NoError(t, theirs.Unlock(walindex.Marker))
	// With the next sync it goes.
	exec(t, c, "INSERT INTO t VALUES(5)")
	eventually(t, func() bool { _, err := os.Stat(path + "-unsynced"); return os.IsNotExist(err) })
}
