package vfs

import (
	"reflect"
	"strings"
	"sync"

	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// go-sqlite3's VFS adiantum gives the handles of a WAL the cipher of the database handle that they are opened with,
// and a cipher has a scratch space: two goroutines that use two of these handles at once would read and write garbage.
// The library's own handle of the WAL is such a handle. With that base all of a database's handles take turns.

// cipherLock is held while a handle is read or written whose cipher another one may share. It is nil for other bases.
type cipherLock struct{ mu sync.Mutex }

// newCipherLock returns a lock if the file, or one below it, is one of those.
func newCipherLock(file sqlitevfs.File) *cipherLock {
	for file != nil {
		if t := reflect.TypeOf(file); t.Kind() == reflect.Pointer && strings.HasSuffix(t.Elem().PkgPath(), "go-sqlite3/vfs/adiantum") {
			return new(cipherLock)
		}
		u, ok := file.(sqlitevfs.FileUnwrap)
		if !ok {
			break
		}
		file = u.Unwrap()
	}
	return nil
}

func (l *cipherLock) lock() (unlock func()) {
	if l == nil {
		return func() {}
	}
	l.mu.Lock()
	return l.mu.Unlock
}

// turnsFile is a handle that takes turns with others.
type turnsFile struct {
	sqlitevfs.File
	turns *cipherLock
}

func (f turnsFile) ReadAt(p []byte, off int64) (int, error) {
	defer f.turns.lock()()
	return f.File.ReadAt(p, off)
}

func (f turnsFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.turns.lock()()
	return f.File.WriteAt(p, off)
}

// turns returns the connection's handle, which takes turns with others where it has to.
func (w *walFile) turns() sqlitevfs.File {
	if w.db.cipher == nil {
		return w.File
	}
	return turnsFile{w.File, w.db.cipher}
}
