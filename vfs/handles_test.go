package vfs_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// handlesDir returns a temporary directory by the name that SQLite knows it by.
func handlesDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return dir
}

// handlesListed counts the open databases of that name.
func handlesListed(path string) (n int) {
	for _, s := range vfs.AllStats() {
		if s.Database == path {
			n++
		}
	}
	return n
}

// handlesSyncers counts the goroutines that sync.
func handlesSyncers() int {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			return strings.Count(string(buf[:n]), "vfs.(*syncer).run(")
		}
		buf = make([]byte, 2*len(buf))
	}
}

func handlesSymlink(t testing.TB, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("no symbolic links: ", err)
		}
		require.NoError(t, err)
	}
}

// TestManyPaths: two paths to one file share its state, also through two registered VFSes.
func TestManyPaths(t *testing.T) {
	dir := handlesDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	path := filepath.Join(dir, "real", "test.db")
	fileLink := filepath.Join(dir, "link.db")
	handlesSymlink(t, path, fileLink)
	handlesSymlink(t, filepath.Join(dir, "real"), filepath.Join(dir, "dir"))
	dirLink := filepath.Join(dir, "dir", "test.db")

	name := register(t, newRecorder())
	first := open(t, path, name, wal, full, noAuto)
	exec(t, first, "CREATE TABLE t(x)")
	before := stats(t, path).Commits
	paths := []string{path, fileLink, dirLink}
	for _, p := range paths {
		for _, v := range []string{name, "async"} {
			exec(t, open(t, p, v, full, noAuto), "INSERT INTO t VALUES(1)")
		}
	}
	for _, p := range paths {
		s := stats(t, p)
		require.Equal(t, path, s.Database, p)
		require.Equal(t, before+6, s.Commits, p)
		require.Equal(t, s.Commits, s.DurableCommits, p)
	}
	require.Equal(t, 1, handlesListed(path))
	require.Zero(t, handlesListed(fileLink)+handlesListed(dirLink))
	require.NoFileExists(t, fileLink+"-wal")
	require.Equal(t, "6", query(t, first, "SELECT count(*) FROM t"))

	// What is pending through one name is flushed through another.
	lazy := open(t, dirLink, name, off, noAuto)
	exec(t, lazy, "INSERT INTO t VALUES(1)")
	require.NotZero(t, stats(t, path).PendingBytes)
	require.NoError(t, vfs.WaitDurable(t.Context(), fileLink))
	require.Zero(t, stats(t, path).PendingBytes)
}

// TestHardLink: the WAL's name follows the database's, so two hard links have two,
// and each of them would overwrite the other's work.
func TestHardLink(t *testing.T) {
	dir := handlesDir(t)
	path, link := filepath.Join(dir, "test.db"), filepath.Join(dir, "link.db")
	vfsName := register(t, newRecorder())
	first := open(t, path, vfsName, wal, full, noAuto)
	exec(t, first, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	if err := os.Link(path, link); err != nil {
		t.Skip("no hard links: ", err)
	}

	refused := func(name string) {
		t.Helper()
		for _, sql := range []string{"SELECT * FROM sqlite_schema", "INSERT INTO t VALUES(2)", "PRAGMA user_version=3"} {
			for _, v := range []string{vfsName, "async"} {
				require.ErrorIs(t, handlesTry(name, v, sql), sqlite3.CANTOPEN)
			}
		}
	}
	refused(link)
	exec(t, first, "INSERT INTO t VALUES(3)")
	require.Equal(t, "4", query(t, first, "SELECT sum(x) FROM t"))
	require.NoError(t, first.Close())

	// One after the other is fine.
	c := open(t, link, vfsName, full)
	exec(t, c, "INSERT INTO t VALUES(4)")
	refused(path)
	require.Equal(t, "8", query(t, c, "SELECT sum(x) FROM t"))
	require.NoError(t, c.Close())
	checkIntegrity(t, path)
	checkIntegrity(t, link)
	require.Zero(t, handlesListed(path)+handlesListed(link))
}

// handlesTry opens a database, runs a statement, and returns what fails first.
func handlesTry(path, vfsName, sql string) error {
	c, err := sqlite3.Open(dsn(path, vfsName))
	if err != nil {
		return err
	}
	return errors.Join(c.Exec(sql), c.Close())
}

// TestHardLinkError: the error says what is wrong.
func TestHardLinkError(t *testing.T) {
	dir := handlesDir(t)
	path, link := filepath.Join(dir, "test.db"), filepath.Join(dir, "link.db")
	first := open(t, path, "async", wal)
	exec(t, first, "CREATE TABLE t(x)")
	if err := os.Link(path, link); err != nil {
		t.Skip("no hard links: ", err)
	}
	err := handlesTry(link, "async", "SELECT * FROM t")
	require.ErrorIs(t, err, sqlite3.CANTOPEN)
	require.ErrorContains(t, err, link)
	require.ErrorContains(t, err, path)
}

// handlesRemake opens a database, deletes its files, and makes another one under the same name.
func handlesRemake(t *testing.T, rec *recorder, params ...string) (path string, before, after *sqlite3.Conn) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file can't be deleted")
	}
	path = filepath.Join(handlesDir(t), "test.db")
	name := register(t, rec)
	params = append([]string{wal, noAuto, slow}, params...)
	before = open(t, path, name, params...)
	exec(t, before, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	exec(t, before, "INSERT INTO t VALUES(1)")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		require.NoError(t, os.Remove(path+suffix))
	}
	after = open(t, path, name, params...)
	exec(t, after, "CREATE TABLE u(x); INSERT INTO u VALUES(2)")
	return path, before, after
}

// TestMadeAgain: the name doesn't make the database.
func TestMadeAgain(t *testing.T) {
	path, before, after := handlesRemake(t, newRecorder(), normal)
	require.Equal(t, 2, handlesListed(path))
	require.Equal(t, uint64(2), stats(t, path).Commits) // of the new one
	exec(t, before, "INSERT INTO t VALUES(1)")
	require.Equal(t, uint64(2), stats(t, path).Commits)
	exec(t, after, "INSERT INTO u VALUES(2)")
	require.Equal(t, uint64(3), stats(t, path).Commits)
	require.Equal(t, "3", query(t, before, "SELECT count(*) FROM t"))
	require.Equal(t, "ok", query(t, before, "PRAGMA integrity_check"))

	info, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	require.NotZero(t, info.Size())
	require.NoError(t, before.Close())
	now, err := os.Stat(path + "-wal")
	require.NoError(t, err, "closing the old database deleted the new one's WAL")
	require.True(t, os.SameFile(info, now))
	require.Equal(t, info.Size(), now.Size())
	require.Equal(t, 1, handlesListed(path))

	require.Equal(t, "2", query(t, open(t, path, "os"), "SELECT count(*) FROM u"))
	exec(t, after, "INSERT INTO u VALUES(2)")
	require.Equal(t, "3", query(t, after, "SELECT count(*) FROM u"))
	require.NoError(t, after.Close())
	checkIntegrity(t, path)
	require.Equal(t, "3", query(t, open(t, path, "os"), "SELECT count(*) FROM u"))
}

// TestMadeAgainFails: the WAL of the new database stays until that one's file is durable (H2).
func TestMadeAgainFails(t *testing.T) {
	rec := newRecorder()
	f := &failing{kind: "sync", file: "db", err: syscall.EIO}
	rec.before = f.hook
	// At OFF SQLite itself doesn't sync the database at close.
	path, before, after := handlesRemake(t, rec, off)
	require.NoError(t, vfs.Failure(path))
	f.on.Store(true)
	require.NoError(t, after.Close())
	f.on.Store(false)
	require.FileExists(t, path+"-wal", "the WAL was deleted, and the database isn't durable")
	require.NoError(t, before.Close())
}

// TestAttach: attached databases have a state each.
func TestAttach(t *testing.T) {
	dir := handlesDir(t)
	rec := newRecorder()
	name := register(t, rec)
	paths := []string{filepath.Join(dir, "main.db"), filepath.Join(dir, "aux.db"), filepath.Join(dir, "third.db")}
	schemas := []string{"main", "aux", "third"}
	c := open(t, paths[0], name, wal, full, noAuto, slow)
	exec(t, c, "CREATE TABLE t(x)")
	for i := 1; i < 3; i++ {
		exec(t, c, "ATTACH '"+dsn(paths[i], name, slow)+"' AS "+schemas[i])
		exec(t, c, "PRAGMA "+schemas[i]+".journal_mode=wal; PRAGMA "+schemas[i]+".synchronous=full;"+
			"PRAGMA "+schemas[i]+".wal_autocheckpoint=0; CREATE TABLE "+schemas[i]+".t(x)")
	}
	for i, p := range paths {
		var s vfs.Statistics
		require.NoError(t, json.Unmarshal([]byte(query(t, c, "PRAGMA "+schemas[i]+".async_stats")), &s))
		require.Equal(t, p, s.Database)
		require.Equal(t, 1, handlesListed(p))
	}
	const all = "BEGIN; INSERT INTO main.t VALUES(1); INSERT INTO aux.t VALUES(1); INSERT INTO third.t VALUES(1); COMMIT"
	commits := func() (n [3]uint64) {
		for i, p := range paths {
			n[i] = stats(t, p).Commits
		}
		return n
	}

	// A commit over all of them counts and is durable in each.
	before := commits()
	rec.take()
	exec(t, c, all)
	require.Equal(t, 3, count(rec.take(), "sync", "wal"))
	for i, p := range paths {
		s := stats(t, p)
		require.Equal(t, before[i]+1, s.Commits, p)
		require.Equal(t, s.Commits, s.DurableCommits, p)
		require.Zero(t, s.PendingBytes, p)
	}
	// One in a single one leaves the others alone.
	before = commits()
	exec(t, c, "INSERT INTO aux.t VALUES(1)")
	require.Equal(t, [3]uint64{before[0], before[1] + 1, before[2]}, commits())

	// Each has its own level.
	exec(t, c, "PRAGMA aux.synchronous=off")
	exec(t, c, all)
	require.Zero(t, stats(t, paths[0]).PendingBytes)
	require.Zero(t, stats(t, paths[2]).PendingBytes)
	require.NotZero(t, stats(t, paths[1]).PendingBytes)
	// Without a schema the PRAGMA is about the main database.
	exec(t, c, "PRAGMA async_wait")
	require.NotZero(t, stats(t, paths[1]).PendingBytes)
	exec(t, c, "PRAGMA aux.async_wait")
	require.Zero(t, stats(t, paths[1]).PendingBytes)
	require.Equal(t, "3", query(t, c, "SELECT count(*) FROM aux.t"))

	exec(t, c, "DETACH third")
	require.Zero(t, handlesListed(paths[2]))
	require.NoFileExists(t, paths[2]+"-wal")
	require.NoError(t, c.Close())
	for _, p := range paths {
		require.Zero(t, handlesListed(p))
		checkIntegrity(t, p)
	}
}
