package vfs

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// In WAL mode processes share memory, and take locks in it. On a file system of several machines neither holds between those,
// and on some neither works at all, of which SQLite says no more than “locking protocol” or “disk I/O error”.
//
// https://sqlite.org/wal.html

// FileSystemError is returned where the WAL mode is entered, or a database is read that is in it, on a file system on which that can't work.
type FileSystemError struct {
	// Database is the full path of the database.
	Database string
	// FileSystem is the kind of file system that it is on, such as "nfs".
	FileSystem string
	// Err is what doesn't work. It is nil for a file system of several machines.
	Err error
}

// Error names the file system, what is wrong with it, and what to do.
func (e *FileSystemError) Error() string {
	why := "which other machines may use too: WAL mode needs memory that all processes share"
	if e.Err != nil {
		why = "on which WAL mode can't work: " + e.Err.Error()
	}
	return fmt.Sprintf("asyncvfs: %s is on a file system of kind %s, %s; move it to a local disk, or use it with journal_mode=delete "+
		"(filesystem=any opens it all the same: to change the mode, or if all of its processes are on this machine, and locks and shared memory work)", e.Database, e.FileSystem, why)
}

// Unwrap returns what doesn't work.
func (e *FileSystemError) Unwrap() error { return e.Err }

// fileSystem is a kind of file system.
type fileSystem struct {
	name string // empty if it isn't one of those that matter
	// shared is set where several machines use it as a rule. Others are tried out.
	shared bool
}

// kindOf returns what file system a file is on. A test replaces it.
var kindOf atomic.Pointer[func(path string) fileSystem]

// triedOut are folders in which what WAL mode needs was tried out, and works: no connection but the first makes a file for that.
var triedOut sync.Map

// suitsWAL returns a [*FileSystemError] if WAL mode can't work where the database is.
func suitsWAL(database string) error {
	find := fileSystemOf
	if f := kindOf.Load(); f != nil {
		find = *f
	}
	// The file may not be there yet. What isn't the operating system's is on no file system that matters.
	dir := filepath.Dir(database)
	kind := find(dir)
	if kind.name == "" {
		return nil
	}
	if kind.shared {
		return &FileSystemError{Database: database, FileSystem: kind.name}
	}
	if _, works := triedOut.Load(dir); works {
		return nil
	}
	if err := trySharedMemory(dir); err != nil {
		return &FileSystemError{Database: database, FileSystem: kind.name, Err: err}
	}
	triedOut.Store(dir, nil)
	return nil
}

// inWALMode reports whether a database says that it is in WAL mode.
//
// https://sqlite.org/fileformat.html#file_format_version_numbers
func inWALMode(file sqlitevfs.File) bool {
	var version [1]byte
	n, _ := file.ReadAt(version[:], 19)
	return n == 1 && version[0] == 2
}

// checkFileSystem is called before a database is used that is in WAL mode.
func (k knobs) checkFileSystem(name *sqlitevfs.Filename) error {
	if k.anyFileSystem {
		return nil
	}
	if err := suitsWAL(name.Database()); err != nil {
		return sqlitevfs.SystemError(err, sqlite3.CANTOPEN)
	}
	return nil
}
