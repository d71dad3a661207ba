package vfs

import (
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// ErrDurabilityUnknown is returned by a COMMIT whose context was done
// while it waited to become durable.
// The commit is made and other connections see it;
// whether it survives a power cut isn't known.
// Don't repeat the transaction without a look at the database.
//
// SQLite takes any error of this kind for a rollback, after the commit is published: it calls the connection's rollback hook
// and the virtual tables' xRollback, not their xCommit, and Changes is 0, although nothing is rolled back.
// Who keeps state by those hooks gives the commit no context that ends, or compares the error and takes the commit for made.
//
// Through database/sql a context ends the wait of ExecContext, and of a COMMIT that is executed as a statement on a [database/sql.Conn].
// It doesn't end that of [database/sql.Tx.Commit], nor of INSERT … RETURNING when its rows are closed before the last one is passed,
// as QueryRow does: package driver has no context there. They return once the commit is durable.
//
// It is an extended code of [sqlite3.INTERRUPT], since go-sqlite3 returns a code and no text
// (“sqlite3: interrupted”) for what a VFS reports of a commit: test for it with [errors.Is].
//
// https://sqlite.org/rescode.html
const ErrDurabilityUnknown = sqlite3.ExtendedErrorCode(sqlite3.INTERRUPT) | 0xAD<<8

// ErrNotOpen is returned when a database isn't open in this process through this package.
var ErrNotOpen = errors.New("asyncvfs: database is not open")

// ErrWALNotOpen is returned by a wait for durability if the database has a WAL
// that this process doesn't have open through this package, and so can't sync:
// no connection has read the database yet, or a VFS on top of this one keeps the WAL to itself.
var ErrWALNotOpen = errors.New("asyncvfs: the database has a WAL that is not open in this process")

// ErrReadOnly is returned by a wait for durability if this process can't sync the database file:
// all its connections are read-only, or it had no descriptor left for a handle of its own when they were opened.
var ErrReadOnly = errors.New("asyncvfs: the database is not open for writing in this process, which so can't sync it")

// SyncError is the failure of a sync, after which the database is failed:
// every commit, write to the database file and restart of the WAL returns
// [sqlite3.IOERR_FSYNC] until all its connections in the process are closed.
// Reads go on.
//
// go-sqlite3 drops the cause of an error that it meets while it commits.
// [Failure] returns it, PRAGMA async_stats shows it,
// and it goes to the logger and to the function of [OnSync].
type SyncError struct {
	// Err is the error of the sync, usually a [syscall.Errno].
	Err error
	// Database is the full path of the database.
	Database string
	// File says which sync failed: "wal", "db", "dir", or, in a rollback-journal mode, "journal".
	File string
	// DurableCommits is the number of this process's commits, since it opened the database,
	// that are known to be durable: the first so many.
	DurableCommits uint64
	// Commits is the number of commits that were made by then.
	Commits uint64
}

// Error names the file, the cause, and up to where commits are durable.
func (e *SyncError) Error() string {
	return fmt.Sprintf("asyncvfs: sync of %s of %s failed: %v (%d of %d commits are durable)",
		e.File, e.Database, e.Err, e.DurableCommits, e.Commits)
}

// Unwrap returns the cause.
func (e *SyncError) Unwrap() error { return e.Err }

// Is reports that the error is a [sqlite3.IOERR_FSYNC], as SQLite reports it.
func (e *SyncError) Is(target error) bool {
	return target == error(sqlite3.IOERR_FSYNC) || target == error(sqlite3.IOERR)
}

// ParameterError is returned when a URI parameter or an option isn't allowed.
type ParameterError struct {
	Name    string // the parameter
	Value   string // what it was set to
	Allowed string // what it may be set to
}

// Error names the parameter, its value and what is allowed.
func (e *ParameterError) Error() string {
	return fmt.Sprintf("asyncvfs: %s=%q is not allowed: want %s", e.Name, e.Value, e.Allowed)
}

// tag gives a failed sync the code that SQLite is to see.
// It is called where an error is returned to SQLite, since it hides the error's own methods.
func tag(err error) error {
	if e := (*SyncError)(nil); errors.As(err, &e) {
		return sqlitevfs.SystemError(err, sqlite3.IOERR_FSYNC)
	}
	if e := (*notTried)(nil); errors.As(err, &e) {
		return notTriedCode(err)
	}
	return err
}
