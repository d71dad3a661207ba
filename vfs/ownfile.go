package vfs

import (
	"sync"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// SharedMemoryPath is implemented by the files of a base VFS whose WAL-index
// isn't at the database's name with -shm appended.
// It returns where that is, for checkpoints in the background.
type SharedMemoryPath interface {
	sqlitevfs.File
	SharedMemoryPath() string
}

// ownFile is the library's own handle of a database file: connections come and go, and each is only its goroutine's to use.
// It is opened with the first connection that may write, since a failed write-back is reported
// only to handles that were open by then (H5), and closed with the last.
type ownFile struct {
	mu   sync.Mutex
	file sqlitevfs.File // nil until there is one; +checklocks:mu

	// ioMu is held while the file is read, written and synced. It is taken before mu.
	ioMu ioMutex
}

// open is called while SQLite opens the database, and the name is valid.
// Without the handle there are no checkpoints in the background, and a wait for durability is an error.
func (o *ownFile) open(v *asyncVFS, name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag, id identity) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil || flags&sqlitevfs.OPEN_READWRITE == 0 {
		return
	}
	file, _, err := v.openBase(name, flags&^(sqlitevfs.OPEN_CREATE|sqlitevfs.OPEN_EXCLUSIVE))
	if err != nil {
		return
	}
	if same, err := v.identify(file, name.String()); err != nil || !same.same(id) {
		file.Close()
		return
	}
	o.file = file
}

// close is called after the last connection's file was closed.
func (o *ownFile) close() {
	o.ioMu.Lock() // somebody who waits for durability may sync it
	defer o.ioMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		o.file.Close()
		o.file = nil
	}
}

// pragma passes on a PRAGMA that the connection's file has understood, such as an encrypting VFS's key.
func (o *ownFile) pragma(name, value string) {
	o.use(func(file sqlitevfs.File) error {
		_, err := vfsutil.WrapPragma(file, name, value)
		return err
	})
}

// use uses the file. Nobody else does meanwhile.
func (o *ownFile) use(f func(sqlitevfs.File) error) error {
	o.ioMu.Lock()
	defer o.ioMu.Unlock()
	o.mu.Lock()
	file := o.file
	o.mu.Unlock()
	if file == nil {
		return errNoHandle
	}
	return f(file)
}

func (o *ownFile) isOpen() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.file != nil
}

func (o *ownFile) indexPath() (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f, ok := vfsutil.UnwrapFile[SharedMemoryPath](o.file); ok {
		return f.SharedMemoryPath(), true
	}
	return "", false
}
