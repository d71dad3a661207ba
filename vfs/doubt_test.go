package vfs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// doubted makes a database whose sync of a file fails in a rollback-journal mode, in a wait or one of SQLite's own, and closes it.
func doubted(t *testing.T, dir, kind, file string, own bool, disabled rules.Set) (path, name string) {
	rec := rollbackBase{newRecorder()}
	rec.disabled = disabled
	f := &failing{kind: kind, file: file, err: syscall.EIO}
	rec.before = f.hook
	path, name = filepath.Join(dir, "test.db"), register(t, rec)
	c := open(t, path, name, "_pragma=journal_mode(persist)", off)
	exec(t, c, "CREATE TABLE t(x)")
	f.on.Store(true)
	if own {
		require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), syscall.EIO)
	} else {
		syncs := open(t, path, name, full)
		require.Error(t, syncs.Exec("INSERT INTO t VALUES(1)"))
		require.NoError(t, syncs.Close())
	}
	f.on.Store(false)
	require.NoError(t, c.Close())
	return path, name
}

// TestDoubtStays: what a failed sync has left in doubt in a rollback-journal mode is so for who opens the database later,
// whichever mode it is in by then, until the system was started anew or the file is another one.
func TestDoubtStays(t *testing.T) {
	for _, tt := range []struct {
		kind, file string
		own        bool
	}{{"sync", "db", false}, {"sync", "db", true}, {"sync", "journal", true}, {"syncdir", "journal", true}} {
		by := "wait"
		if !tt.own {
			by = "SQLite"
		}
		t.Run(by+"/"+tt.kind+tt.file, func(t *testing.T) {
			path, name := doubted(t, t.TempDir(), tt.kind, tt.file, tt.own, 0)
			doubted := func(c *sqlite3.Conn) {
				t.Helper()
				err := vfs.WaitDurable(t.Context(), path)
				require.ErrorIs(t, err, vfs.ErrInDoubt)
				require.ErrorContains(t, err, "input/output error")
				require.ErrorIs(t, err, sqlite3.IOERR_FSYNC)
				require.ErrorIs(t, c.Exec("PRAGMA async_wait"), vfs.ErrInDoubt)
			}
			for range 2 {
				c := open(t, path, name, off)
				exec(t, c, "CREATE TABLE IF NOT EXISTS u(x); INSERT INTO u VALUES(2)") // as with the stock VFS
				doubted(c)
				require.NoError(t, c.Close())
			}
			c := open(t, path, name)
			exec(t, c, "PRAGMA journal_mode=wal")
			require.NoError(t, c.Close())
			c = open(t, path, name, full)
			exec(t, c, "INSERT INTO u VALUES(3)") // it can vouch for itself
			doubted(c)
			exec(t, c, "VACUUM INTO "+sqlite3.Quote(path+".new"))
			require.NoError(t, c.Close())

			require.NoError(t, os.Rename(path+".new", path))
			c = open(t, path, name, off)
			require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
			require.NoFileExists(t, path+"-doubtful")
		})
	}
}

// TestDoubtEnds: after another start of the system, what can be read is durable.
func TestDoubtEnds(t *testing.T) {
	path, name := doubted(t, t.TempDir(), "sync", "db", true, 0)
	require.FileExists(t, path+"-doubtful")
	defer vfs.SetBootID("another")()
	c := open(t, path, name, off)
	exec(t, c, "INSERT INTO t VALUES(2)")
	require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
	require.NoFileExists(t, path+"-doubtful")
}

// TestDoubtControl: without the marker, a wait says ok of what may be lost.
func TestDoubtControl(t *testing.T) {
	path, name := doubted(t, t.TempDir(), "sync", "db", true, rules.Marker)
	c := open(t, path, name, off)
	require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
}

// TestDoubtGarbled: a marker that can't be read isn't taken for none.
func TestDoubtGarbled(t *testing.T) {
	path, name := doubted(t, t.TempDir(), "sync", "db", true, 0)
	require.NoError(t, os.WriteFile(path+"-doubtful", []byte("asyncvfs unsynced 1 00000000\n{}"), 0o600))
	c := open(t, path, name, off)
	exec(t, c, "INSERT INTO t VALUES(2)")
	err := vfs.WaitDurable(t.Context(), path)
	require.ErrorIs(t, err, vfs.ErrMarker)
	require.ErrorContains(t, err, "-doubtful: its checksum is wrong")
	require.NoError(t, os.Remove(path+"-doubtful"))
	require.NoError(t, vfs.WaitDurable(t.Context(), path))
}

// TestDoubtLooks: in WAL mode it is looked for once, whatever is waited for.
func TestDoubtLooks(t *testing.T) {
	base := newMarking()
	path := filepath.Join(handlesDir(t), "test.db")
	c := open(t, path, base.register(t, "-looks"), wal, normal)
	exec(t, c, "CREATE TABLE t(x); PRAGMA async_wait")
	before := base.looks.Load()
	for range 10 {
		exec(t, c, "INSERT INTO t VALUES(1); PRAGMA async_wait")
	}
	looks := base.looks.Load() - before
	require.LessOrEqual(t, looks, int64(10), "one each for a WAL's marker, and none for this one")
}

// TestNoDoubt: a transaction that SQLite takes back leaves nothing in doubt, where nothing was committed at OFF before:
// a database whose first sync fails, as it comes to WAL mode, is as good as new once it is opened anew.
func TestNoDoubt(t *testing.T) {
	rec := rollbackBase{newRecorder()}
	f := &failing{kind: "sync", file: "db", err: syscall.EIO}
	rec.before = f.hook
	path, name := filepath.Join(t.TempDir(), "test.db"), register(t, rec)
	c := open(t, path, name, full)
	f.on.Store(true)
	require.Error(t, c.Exec("PRAGMA journal_mode=wal"))
	f.on.Store(false)
	require.NoError(t, c.Close())
	require.NoFileExists(t, path+"-doubtful")
	c = open(t, path, name, wal, full)
	exec(t, c, "CREATE TABLE t(x)")
	require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
}
