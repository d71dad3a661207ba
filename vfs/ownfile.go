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
	file sqlitevfs.File // nil until there is one; guarded by mu
	// key is a second handle, where the base VFS wraps another: the library's handle of the WAL has its cipher from it
	// (see walHandle). It is never read nor written, so the WAL doesn't wait for a disk that the database file waits for.
	key sqlitevfs.File // guarded by mu

	// ioMu is held while the file is read, written and synced. It is taken before mu.
	ioMu ioMutex
}

// open is called while SQLite opens the database, and the name is valid. conn is the connection's file.
// Without the handle there are no checkpoints in the background, and a wait for durability is an error.
func (o *ownFile) open(v *asyncVFS, name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag, id identity, conn sqlitevfs.File) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.key == nil && wraps(conn) {
		o.key = openSame(v, name, flags, id)
	}
	if o.file == nil && flags&sqlitevfs.OPEN_READWRITE != 0 {
		o.file = openSame(v, name, flags, id)
	}
}

// openSame opens the file once more; nil if that fails, or if it is another one by now.
func openSame(v *asyncVFS, name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag, id identity) sqlitevfs.File {
	file, _, err := v.openBase(name, flags&^(sqlitevfs.OPEN_CREATE|sqlitevfs.OPEN_EXCLUSIVE))
	if err != nil {
		return nil
	}
	if same, err := v.identify(file, name.String()); err != nil || !same.same(id) {
		file.Close()
		return nil
	}
	return file
}

// close is called after the last connection's file was closed.
func (o *ownFile) close() {
	o.ioMu.Lock() // somebody who waits for durability may sync it
	defer o.ioMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, file := range []*sqlitevfs.File{&o.file, &o.key} {
		if *file != nil {
			(*file).Close()
			*file = nil
		}
	}
}

// pragma passes on a PRAGMA that the connection's file has understood, such as an encrypting VFS's key.
func (o *ownFile) pragma(name, value string) {
	o.ioMu.Lock()
	defer o.ioMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, file := range []sqlitevfs.File{o.file, o.key} {
		if file != nil {
			vfsutil.WrapPragma(file, name, value)
		}
	}
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

// lend calls f with the handle that a WAL has its cipher from, while that is opened; nil if there is none.
func (o *ownFile) lend(f func(sqlitevfs.File) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return f(o.key)
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
