package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// rollbackBase is a recorder that also records how the journal is synced.
type rollbackBase struct{ *recorder }

func (b rollbackBase) SyncFile(name string) error {
	if _, err := os.Stat(name); err != nil {
		return err
	}
	return b.do(op{kind: "sync", file: kindOf(name), own: true}, func() error { return nil })
}

// durableState says what of the last commit isn't durable, by what the disk was asked for.
func durableState(ops []op) (lost []string) {
	last := func(match func(op) bool) int {
		for i, o := range slices.Backward(ops) {
			if match(o) {
				return i
			}
		}
		return -1
	}
	wrote := func(file string) int {
		return last(func(o op) bool { return o.file == file && (o.kind == "write" || o.kind == "truncate") })
	}
	synced := func(file string) int {
		return last(func(o op) bool { return o.file == file && o.kind == "sync" && o.err == nil })
	}
	if wrote("db") > synced("db") {
		lost = append(lost, "db")
	}
	deleted := last(func(o op) bool { return o.kind == "delete" && o.file == "journal" })
	if end := wrote("journal"); end > deleted && end > synced("journal") {
		lost = append(lost, "journal")
	}
	if deleted >= 0 && deleted > last(func(o op) bool { return o.kind == "syncdir" && o.file == "journal" }) {
		lost = append(lost, "dir")
	}
	return lost
}

// TestDurableRollback: what a wait says is so in each rollback-journal mode and at each level, by whichever way it is asked for.
func TestDurableRollback(t *testing.T) {
	lossy := map[string]bool{}
	for _, mode := range []string{"delete", "truncate", "persist", "memory", "off"} {
		for _, level := range []string{"off", "normal", "full", "extra"} {
			for _, way := range []string{"none", "pragma", "function", "WaitDurable", "Flush", "async_mode", "sync-mode"} {
				t.Run(mode+"/"+level+"/"+way, func(t *testing.T) {
					rec := rollbackBase{newRecorder()}
					path := filepath.Join(t.TempDir(), "test.db")
					c := open(t, path, register(t, rec), "_pragma=journal_mode("+mode+")", "_pragma=synchronous("+level+")")
					exec(t, c, "CREATE TABLE t(x)")
					if way == "sync-mode" {
						exec(t, c, "PRAGMA async_mode=sync")
						rec.take()
					}
					exec(t, c, "INSERT INTO t VALUES(1)")
					if way == "none" {
						for _, what := range durableState(rec.take()) {
							lossy[what] = true
						}
						return
					}
					switch way {
					case "pragma":
						require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
					case "function":
						require.Equal(t, "ok", query(t, c, "SELECT async_wait()"))
					case "WaitDurable":
						require.NoError(t, vfs.WaitDurable(t.Context(), path))
					case "Flush":
						require.NoError(t, vfs.Flush(t.Context()))
					case "async_mode":
						exec(t, c, "PRAGMA async_mode=sync")
					}
					require.Empty(t, durableState(rec.take()))
					if way == "Flush" {
						require.NoError(t, vfs.Flush(t.Context()))
						require.Empty(t, rec.take(), "nothing is left to do")
					}
				})
			}
		}
	}
	require.Len(t, lossy, 3, "without a wait each of them may be lost")
}

// TestDurableRollbackFails: a sync that fails in a wait is final, and so is one of SQLite's for the waits that follow.
func TestDurableRollbackFails(t *testing.T) {
	for _, tt := range []struct{ kind, file string }{{"sync", "db"}, {"sync", "journal"}, {"syncdir", "journal"}} {
		t.Run(tt.kind+tt.file, func(t *testing.T) {
			rec := rollbackBase{newRecorder()}
			f := &failing{kind: tt.kind, file: tt.file, err: syscall.EIO}
			rec.before = f.hook
			path := filepath.Join(t.TempDir(), "test.db")
			c := open(t, path, register(t, rec), "_pragma=journal_mode(persist)", off)
			exec(t, c, "CREATE TABLE t(x)")
			f.on.Store(true)
			require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), syscall.EIO)
			f.on.Store(false)
			require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), syscall.EIO)
			require.ErrorIs(t, vfs.Flush(t.Context()), syscall.EIO)
			require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(1)"), sqlite3.IOERR_FSYNC)
		})
	}
	rec := rollbackBase{newRecorder()}
	f := &failing{kind: "sync", file: "db", err: syscall.EIO}
	rec.before = f.hook
	path := filepath.Join(t.TempDir(), "test.db")
	name := register(t, rec)
	lazy, c := open(t, path, name, off), open(t, path, name, full)
	exec(t, lazy, "CREATE TABLE t(x)")
	f.on.Store(true)
	require.Error(t, c.Exec("INSERT INTO t VALUES(1)"))
	f.on.Store(false)
	exec(t, c, "INSERT INTO t VALUES(1)") // as with the stock VFS
	require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), syscall.EIO, "the table may be lost")
	require.ErrorContains(t, c.Exec("PRAGMA async_wait"), "input/output error")
}

// TestDurableForeign: commits that another process has brought over to the database file without a sync,
// and whose frames it has written over, are waited for too.
func TestDurableForeign(t *testing.T) {
	for _, disabled := range []rules.Set{0, rules.ForeignRestarts} {
		t.Run(disabled.String(), func(t *testing.T) { durableForeign(t, disabled) })
	}
}

func durableForeign(t *testing.T, disabled rules.Set) {
	rec := newRecorder()
	rec.disabled = disabled
	path, conns := setup(t, rec, 1, nil, normal, slow)
	foreign := open(t, path, "os", off, noAuto) // as one of another process
	// skipsDB reports whether a wait has ended without a sync of the database file.
	skipsDB := func(wait func()) bool {
		rec.take()
		wait()
		ops := rec.take()
		require.Equal(t, 1, count(ops, "sync", "wal"))
		return count(ops, "sync", "db") == 0
	}
	pragma := func() { require.Equal(t, "ok", query(t, conns[0], "PRAGMA async_wait")) }
	flush := func() { require.NoError(t, vfs.Flush(t.Context())) }
	checkpoint := func(mode sqlite3.CheckpointMode) {
		_, _, err := foreign.WALCheckpoint("main", mode)
		require.NoError(t, err)
	}
	restart := func() {
		checkpoint(sqlite3.CHECKPOINT_RESTART)
		exec(t, foreign, "INSERT INTO t VALUES(2)")
	}
	// Nothing was started over: the database file needs no sync.
	require.True(t, skipsDB(pragma))
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	require.True(t, skipsDB(pragma))

	lost := disabled != 0 // on a power cut, although the wait has said ok
	restart()
	require.Equal(t, lost, skipsDB(pragma))
	require.True(t, skipsDB(pragma)) // once is enough
	exec(t, conns[0], "INSERT INTO t VALUES(3)")
	exec(t, conns[0], "INSERT INTO t VALUES(3)")
	restart()
	require.Equal(t, lost, skipsDB(flush))
	checkpoint(sqlite3.CHECKPOINT_TRUNCATE)
	require.Equal(t, lost, skipsDB(pragma))
	require.Equal(t, lost, skipsDB(pragma), "an empty WAL tells nothing")
}

// TestRollbackThenWAL: what was committed at OFF before the database came to WAL mode is flushed too.
func TestRollbackThenWAL(t *testing.T) {
	rec := newRecorder()
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, rec), off, noAuto)
	exec(t, c, "CREATE TABLE t(x); PRAGMA journal_mode=wal")
	require.NotEmpty(t, durableState(rec.take()))
	require.NoError(t, vfs.Flush(t.Context()))
	require.NotZero(t, count(rec.take(), "sync", "db"))
}

// TestDurableReadOnly: a process that may only read can't sync for others, and says so.
func TestDurableReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	exec(t, open(t, path, "os"), "CREATE TABLE t(x)")
	open(t, path, "async", "mode=ro")
	require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), vfs.ErrReadOnly)
	open(t, path, register(t, sqlitevfs.Find("")))
	require.NoError(t, vfs.WaitDurable(t.Context(), path))
	require.False(t, errors.Is(vfs.ErrReadOnly, vfs.ErrNotOpen))
}
