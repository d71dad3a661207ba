package vfs

import (
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// Pragma runs the PRAGMAs of this VFS, when the statement is prepared.
// What isn't ours is passed on.
//
// https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlpragma
func (f *dbFile) Pragma(name, value string) (string, error) {
	switch name {
	case "async_wait":
		if value != "" {
			return "", &ParameterError{"async_wait", value, "no value"}
		}
		if err := f.wait(); err != nil {
			return "", f.pragmaError(err)
		}
		return "ok", nil
	case "async_stats":
		if value != "" {
			return "", &ParameterError{"async_stats", value, "no value"}
		}
		return f.db.stats().String(), nil
	case "async_mode":
		if value != "" {
			mode, err := ParseMode(value)
			if err != nil {
				return "", err
			}
			if err := f.db.setMode(f.context(), mode); err != nil {
				return "", f.pragmaError(err)
			}
		}
		return Mode(f.db.mode.Load()).String(), nil
	case "busy_timeout":
		if result, ok := f.busyPragma(value); ok {
			return result, nil
		}
	case "fullfsync", "checkpoint_fullfsync":
		f.fullfsyncPragma(value)
	case "synchronous":
		f.noteSynchronous(value)
	case "journal_mode":
		// SQLite opens the WAL only after the database file says that there is one.
		if strings.EqualFold(value, "wal") && f.wal == nil && !f.knobs.anyFileSystem {
			if err := suitsWAL(f.db.name); err != nil {
				return "", err
			}
		}
	case "wal_autocheckpoint":
		if result, ok := f.autoPragma(value); ok {
			return result, nil
		}
	case "wal_checkpoint":
		// SQLite doesn't wait for another checkpoint. Without a schema it means all databases, and tells only this one.
		for file := range f.handles() {
			file.db.checkpointer.keepAway(explicitPause)
		}
	}
	result, err := vfsutil.WrapPragma(f.File, name, value)
	if err == nil {
		f.db.own.pragma(name, value)
	}
	return result, err
}

// wait returns once every commit made before is durable.
func (f *dbFile) wait() error {
	if f.wal == nil && f.conn != nil {
		// Another process may have made commits, and SQLite opens the WAL when it reads.
		// If it can't, waitDurable finds out.
		f.conn.Exec("SELECT 1 FROM sqlite_schema LIMIT 1")
	}
	if f.wal != nil {
		f.wal.count()
	}
	return f.db.waitDurable(f.context(), f)
}

// pragmaError tags the error of a context that was done.
func (f *dbFile) pragmaError(err error) error {
	if err != nil && err == f.context().Err() {
		return sqlitevfs.SystemError(err, sqlite3.INTERRUPT)
	}
	return tag(err)
}
