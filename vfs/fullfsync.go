package vfs

import (
	"strings"

	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// On macOS an fsync leaves what is written in the drive's cache, unless PRAGMA fullfsync asks for more.
// SQLite tells of it with each sync that it asks for, but those that this VFS does may come before:
// of a WAL that was there at open, and of the database file in a checkpoint. So the PRAGMA itself is followed.
// It holds for all databases of the connection, and, as one sync serves all,
// for all connections of the process to them, from then on.
//
// https://sqlite.org/pragma.html#pragma_fullfsync

// fullfsyncPragma is PRAGMA fullfsync or checkpoint_fullfsync. SQLite obeys it when the statement is prepared.
func (f *dbFile) fullfsyncPragma(value string) {
	if !isTrue(value) {
		return
	}
	f.fullfsync = true
	if f.conn != nil && !isOpen(f.conn) {
		f.db.noteFlags(sqlitevfs.SYNC_FULL) // it has no other database yet
		return
	}
	for file := range f.handles() {
		file.db.noteFlags(sqlitevfs.SYNC_FULL)
	}
}

// inheritFullfsync is for a database that was attached later.
func (f *dbFile) inheritFullfsync() {
	if main := f.mainDB(); main != nil && main.fullfsync {
		f.db.noteFlags(sqlitevfs.SYNC_FULL)
	}
}

// isTrue reads a boolean as SQLite does. What it doesn't know is false.
func isTrue(value string) bool {
	if value != "" && '0' <= value[0] && value[0] <= '9' {
		return leadingInt(value) != 0
	}
	switch strings.ToLower(value) {
	case "on", "yes", "true":
		return true
	}
	return false
}
