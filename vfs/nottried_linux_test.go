package vfs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

// noDescriptors lets the process open no file until the function that it returns is called.
func noDescriptors(t *testing.T) (again func()) {
	t.Helper()
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	// Descriptors are handed out from the lowest: all below the next one are in use.
	next, err := os.Open("/")
	require.NoError(t, err)
	low := syscall.Rlimit{Cur: uint64(next.Fd()), Max: old.Max}
	require.NoError(t, next.Close())
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	again = func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old) }
	t.Cleanup(again)
	return again
}

// TestNoDescriptorLeft: the first commit in a new WAL, at FULL, needs no descriptor for its directory.
func TestNoDescriptorLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, full, "checkpoint=inline")
	query(t, c, "SELECT count(*) FROM sqlite_schema") // opens the WAL
	again := noDescriptors(t)
	_, openErr := os.Open(filepath.Dir(path)) // the control: what a sync did that opened it then
	err := c.Exec("CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	again()
	require.ErrorIs(t, openErr, syscall.EMFILE)
	require.NoError(t, err)
	require.NoError(t, vfs.Failure(path))
	require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))
}
