package vfs

import (
	"errors"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// fullDisk tags the error of a write to a disk without space, or past a quota, as SQLite's own VFS does ([sqlite3.FULL]).
// Without it, it is SQLITE_IOERR_WRITE, and go-sqlite3 drops the cause as soon as SQLite goes on to roll back.
//
// https://sqlite.org/rescode.html#full
func fullDisk(err error) error {
	if err != nil && isFull(err) {
		return sqlitevfs.SystemError(err, sqlite3.FULL)
	}
	return err
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
