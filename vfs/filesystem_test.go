package vfs_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// onFileSystem takes a folder for one on a file system that several machines use.
func onFileSystem(t *testing.T, dir, name string) {
	t.Cleanup(vfs.SetFileSystem(func(of string) (string, bool) {
		if of == dir {
			return name, true
		}
		return "", false
	}))
}

// TestNetworkFileSystem: entering WAL mode is an error that says where and what to do, and leaves the file as it was.
func TestNetworkFileSystem(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "test.db")
	onFileSystem(t, dir, "nfs")

	c, err := sqlite3.Open(dsn(path, "async"))
	require.NoError(t, err)
	exec(t, c, "CREATE TABLE t(x)") // a rollback journal will do
	for _, pragma := range []string{"PRAGMA journal_mode=wal", "PRAGMA main.journal_mode = WAL"} {
		err = c.Exec(pragma)
		require.ErrorContains(t, err, path+" is on a file system of kind nfs, which other machines may use too")
		require.ErrorContains(t, err, "move it to a local disk, or use it with journal_mode=delete")
	}
	require.Equal(t, "delete", query(t, c, "PRAGMA journal_mode"))
	exec(t, c, "INSERT INTO t VALUES(1)")
	require.NoError(t, c.Close())
	require.NoFileExists(t, path+"-wal")

	db, err := sql.Open("sqlite3", vfs.DSN(path))
	require.NoError(t, err)
	defer db.Close()
	require.ErrorContains(t, db.Ping(), "file system of kind nfs")

	// Who says so may.
	c, err = sqlite3.Open(vfs.DSN(path, vfs.Parameter("filesystem", "any")))
	require.NoError(t, err)
	require.Equal(t, "wal", query(t, c, "PRAGMA journal_mode"))
	require.Equal(t, "1", query(t, c, "SELECT count(*) FROM t"))
	require.NoError(t, c.Close())
	_, err = sqlite3.Open(dsn(path, "async", "filesystem=local"))
	require.ErrorContains(t, err, `filesystem="local" is not allowed: want any`)
}

// TestNetworkFileSystemOpened: so is to read a database that is in WAL mode already.
func TestNetworkFileSystemOpened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "test.db")
	c := open(t, path, "async", wal)
	exec(t, c, "CREATE TABLE t(x)")
	require.NoError(t, c.Close())
	onFileSystem(t, dir, "cifs")

	_, err := sqlite3.Open(dsn(path, "async"))
	require.ErrorIs(t, err, sqlite3.CANTOPEN)
	require.ErrorContains(t, err, "file system of kind cifs")
	require.NoFileExists(t, path+"-wal")
	_, err = vfs.Stats(path)
	require.ErrorIs(t, err, vfs.ErrNotOpen)
	// The way out that the error names.
	c = open(t, path, "async", "filesystem=any", "_pragma=journal_mode(delete)")
	require.NoError(t, c.Close())
	require.NoError(t, open(t, path, "async").Exec("SELECT * FROM t"))
}

// TestNetworkFileSystemHidden: where the database doesn't say that it is in WAL mode before it has a key, the log tells.
func TestNetworkFileSystemHidden(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "test.db")
	other := open(t, path, "async")
	c := open(t, path, "async", wal)
	exec(t, c, "CREATE TABLE t(x)")
	require.NoError(t, c.Close())
	onFileSystem(t, dir, "smb")
	var log logs
	vfs.SetLogger(log.logger(), path)
	defer vfs.SetLogger(nil, path)
	require.ErrorIs(t, other.Exec("SELECT * FROM t"), sqlite3.CANTOPEN)
	require.Equal(t, 1, log.count("file system of kind smb"))
}

// TestUncertainFileSystem: one that may or may not have what WAL mode needs is tried out, and nothing of that is left.
func TestUncertainFileSystem(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(vfs.SetFileSystem(func(string) (string, bool) { return "9p", false }))
	c := open(t, filepath.Join(dir, "test.db"), "async", wal)
	exec(t, c, "CREATE TABLE t(x)")
	require.NoError(t, c.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.True(t, vfs.TriedOut(dir)) // once
	require.NoError(t, open(t, filepath.Join(dir, "test.db"), "async").Exec("SELECT * FROM t"))
}
