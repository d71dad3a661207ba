package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	_ "github.com/ncruces/go-sqlite3/vfs/memdb"
	"github.com/stretchr/testify/require"
)

const passthroughFill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200)" +
	"INSERT INTO t SELECT zeroblob(1000) FROM n;"

// passthroughRaw registers a base VFS without this package's over it.
func passthroughRaw(t *testing.T, base sqlitevfs.VFS) string {
	name := "raw-" + strings.ReplaceAll(t.Name(), "/", "-")
	sqlitevfs.Register(name, base)
	t.Cleanup(func() { sqlitevfs.Unregister(name) })
	return name
}

// passthroughFiles returns the names and sizes of the files in a directory.
func passthroughFiles(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		files[e.Name()] = info.Size()
	}
	return files
}

// TestRollbackModes: outside of WAL mode the base VFS is asked for the same as without this one.
func TestRollbackModes(t *testing.T) {
	for _, mode := range []string{"delete", "truncate", "persist", "memory", "off"} {
		for _, level := range []string{"full", "normal", "off"} {
			t.Run(mode+"/"+level, func(t *testing.T) {
				rec := newRecorder()
				dir := handlesDir(t)
				path := filepath.Join(dir, "test.db")
				run := func(vfsName string) []op {
					c := open(t, path, vfsName, "_pragma=journal_mode("+mode+")",
						"_pragma=synchronous("+level+")", "_pragma=cache_size(5)")
					require.Equal(t, mode, query(t, c, "PRAGMA journal_mode"))
					for _, sql := range []string{
						"CREATE TABLE t(x); INSERT INTO t VALUES(1)",
						passthroughFill,
						"BEGIN; INSERT INTO t VALUES(2); SAVEPOINT s; " + passthroughFill + "RELEASE s; COMMIT",
						"DELETE FROM t WHERE rowid>300; VACUUM; PRAGMA user_version=7",
						"ATTACH '" + dsn(path+"2", vfsName) + "' AS aux; PRAGMA aux.journal_mode=" + mode +
							"; PRAGMA aux.synchronous=" + level,
						"CREATE TABLE aux.u(x)",
						"BEGIN; INSERT INTO t VALUES(3); INSERT INTO u VALUES(3); COMMIT",
					} {
						exec(t, c, sql)
					}
					if mode != "off" {
						exec(t, c, "BEGIN; "+passthroughFill+"ROLLBACK")
					}
					require.Equal(t, "301", query(t, c, "SELECT count(*) FROM t"))
					require.NoError(t, c.Close())
					checkIntegrity(t, path)
					for name := range passthroughFiles(t, dir) {
						require.NoError(t, os.Remove(filepath.Join(dir, name)))
					}
					return connections(rec.take())
				}
				want := run(passthroughRaw(t, rec))
				got := run(register(t, rec))
				require.Equal(t, len(want), len(got))
				for i := range want {
					require.Equal(t, want[i].String(), got[i].String(), i)
				}
				require.NotZero(t, count(want, "write", "db"))
				require.Equal(t, level != "off", count(want, "sync", "db") > 0)
				require.Equal(t, mode == "delete", count(want, "delete", "journal") > 2)
			})
		}
	}
}

// TestTemporaryFiles: they go to the base VFS, and are no databases to this one.
func TestTemporaryFiles(t *testing.T) {
	rec := newRecorder()
	run := func(vfsName string) []string {
		path := filepath.Join(handlesDir(t), "test.db")
		before := len(vfs.AllStats())
		c := open(t, path, vfsName, "_pragma=temp_store(file)")
		exec(t, c, "CREATE TEMP TABLE t(x); PRAGMA temp.cache_size=2; "+passthroughFill)
		exec(t, c, "BEGIN; "+passthroughFill+"ROLLBACK")
		require.Equal(t, "200", query(t, c, "SELECT count(*) FROM temp.t"))
		require.LessOrEqual(t, len(vfs.AllStats()), before+1)
		require.NoError(t, c.Close())
		var ops []string
		for _, o := range connections(rec.take()) {
			ops = append(ops, o.String())
		}
		return ops
	}
	want := run(passthroughRaw(t, rec))
	require.Contains(t, strings.Join(want, "\n"), "write(temp)")
	require.Equal(t, want, run(register(t, rec)))
}

// TestInMemory: what is in memory isn't ours, with or without a base VFS that keeps files there.
func TestInMemory(t *testing.T) {
	before := len(vfs.AllStats())
	for _, name := range []string{"file::memory:?vfs=async", "file:x?mode=memory&vfs=async"} {
		c, err := sqlite3.Open(name)
		require.NoError(t, err)
		exec(t, c, "PRAGMA journal_mode=wal; PRAGMA synchronous=full; CREATE TABLE t(x); "+passthroughFill)
		require.Equal(t, "memory", query(t, c, "PRAGMA journal_mode"))
		require.Equal(t, "200", query(t, c, "SELECT count(*) FROM t"))
		require.Len(t, vfs.AllStats(), before)
		require.NoError(t, c.Close())
	}

	vfsName := register(t, sqlitevfs.Find("memdb"))
	uri := "file:/" + vfsName + "?vfs=" + vfsName
	a, err := sqlite3.Open(uri)
	require.NoError(t, err)
	defer a.Close()
	b, err := sqlite3.Open(uri)
	require.NoError(t, err)
	defer b.Close()
	exec(t, a, "PRAGMA journal_mode=wal; CREATE TABLE t(x); "+passthroughFill)
	exec(t, b, passthroughFill)
	require.Equal(t, "400", query(t, a, "SELECT count(*) FROM t"))
	require.Equal(t, "ok", query(t, a, "PRAGMA integrity_check"))
	require.Len(t, vfs.AllStats(), before)
}

// TestReadOnly: a read-only open of a WAL database gives and leaves behind what it does without this VFS.
func TestReadOnly(t *testing.T) {
	type result struct {
		rows  string
		files map[string]int64
	}
	run := func(t *testing.T, vfsName, param string, writer bool) (r result) {
		dir := handlesDir(t)
		path := filepath.Join(dir, "test.db")
		c := open(t, path, "os", wal, noAuto)
		_, err := c.FileControl("main", sqlite3.FCNTL_PERSIST_WAL, true)
		require.NoError(t, err)
		exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
		_, _, err = c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		require.NoError(t, err)
		exec(t, c, "INSERT INTO t VALUES(2)") // in the WAL only
		if !writer {
			// As a process that is killed leaves them.
			for name := range passthroughFiles(t, dir) {
				b, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "copy"+name[len("test"):]), b, 0o600))
			}
			path = filepath.Join(dir, "copy.db")
		}

		ro := open(t, path, vfsName, param)
		r.rows = query(t, ro, "SELECT count(*) FROM t")
		require.ErrorIs(t, ro.Exec("INSERT INTO t VALUES(3)"), sqlite3.READONLY)
		if vfsName != "os" {
			if param == "mode=ro" {
				require.Equal(t, "ok", query(t, ro, "PRAGMA async_wait"))
			} else {
				// It doesn't look at the WAL.
				require.ErrorContains(t, ro.Exec("PRAGMA async_wait"), vfs.ErrWALNotOpen.Error())
			}
			require.Zero(t, stats(t, path).Commits)
		}
		require.NoError(t, ro.Close())
		require.Zero(t, handlesListed(path))
		r.files = passthroughFiles(t, dir)
		return r
	}
	for _, param := range []string{"mode=ro", "immutable=1"} {
		for _, writer := range []bool{true, false} {
			t.Run(param+"/writer="+strconv.FormatBool(writer), func(t *testing.T) {
				want := run(t, "os", param, writer)
				require.Equal(t, map[string]string{"mode=ro": "2", "immutable=1": "1"}[param], want.rows)
				rec := newRecorder()
				require.Equal(t, want, run(t, register(t, rec), param, writer))
				ops := rec.take()
				require.Zero(t, count(ops, "write", "db")+count(ops, "write", "wal")+count(ops, "delete", "wal"))
				require.NotZero(t, count(ops, "open", "db"))
			})
		}
	}
}

// TestReadOnlyFile: the file's permissions say the same.
func TestReadOnlyFile(t *testing.T) {
	rec := newRecorder()
	path := filepath.Join(handlesDir(t), "test.db")
	c := open(t, path, "os")
	exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	require.NoError(t, c.Close())
	require.NoError(t, os.Chmod(path, 0o400))
	if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		f.Close()
		t.Skip("this user may write everything")
	} else if !errors.Is(err, fs.ErrPermission) {
		require.NoError(t, err)
	}
	c = open(t, path, register(t, rec))
	require.Equal(t, "1", query(t, c, "SELECT count(*) FROM t"))
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(2)"), sqlite3.READONLY)
	require.NoError(t, c.Close())
	require.Zero(t, count(rec.take(), "write", "db"))
}
