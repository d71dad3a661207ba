package vfs

import (
	"reflect"

	"github.com/ncruces/go-sqlite3"
)

// BusyIsOurs reports whether the connection waits in the queue of writers.
func BusyIsOurs(c *sqlite3.Conn) bool {
	f, ok := fileOf(c, "main")
	return ok && f.busyInPlace()
}

// ConnFields reports whether go-sqlite3 has the fields that this package looks at.
func ConnFields(c *sqlite3.Conn) bool {
	return connField(c, "handle", reflect.Uint32).IsValid() && connField(c, "authorizer", reflect.Func).IsValid() &&
		connField(c, "trace", reflect.Func).IsValid() && connField(c, "busy", reflect.Func).IsValid() && connField(c, "wal", reflect.Func).IsValid()
}

// CheckpointerRests reports whether no checkpoint of the process is under way.
func CheckpointerRests(c *sqlite3.Conn) bool {
	f, ok := fileOf(c, "main")
	if !ok {
		return false
	}
	f.db.checkpointer.mu.Lock()
	defer f.db.checkpointer.mu.Unlock()
	return f.db.checkpointer.running == nil
}

// SetFileSystem takes the file system of a folder for one of that kind, or, if shared isn't set, for one to be tried out.
func SetFileSystem(of func(dir string) (name string, shared bool)) (reset func()) {
	f := func(path string) fileSystem {
		name, shared := of(path)
		return fileSystem{name, shared}
	}
	kindOf.Store(&f)
	return func() { kindOf.Store(nil) }
}

// SetBootID has the system seem to have been started anew.
func SetBootID(id string) (reset func()) {
	was := bootID
	bootID = func() string { return id }
	return func() { bootID = was }
}

// TriedOut reports whether it is known that WAL mode works in a folder, since it was tried.
func TriedOut(dir string) bool {
	_, ok := triedOut.Load(dir)
	return ok
}
