package vfs

import (
	"path/filepath"
	"sync"
)

// DirSyncer is implemented by a base VFS that keeps directories of its own.
// SyncDir makes durable the directory entry of the named file:
// that it is there, or that it is not.
//
// For a base VFS without it, the directory of that name
// is synced with the operating system, where that is possible.
type DirSyncer interface {
	SyncDir(name string) error
}

// ownDir is the library's own descriptor of a database's directory (H4).
// It is opened with the database, so that a sync needs no descriptor at a time when there may be none left,
// and sees every failed write-back since (H5).
//
// go-sqlite3 from v0.37 on syncs the directory of a new WAL too, with the first sync of that file,
// but takes it for done if it can't open the directory. So H4 doesn't rest on that.
type ownDir struct {
	mu   sync.Mutex
	dir  *dirHandle // nil until it is open; guarded by mu
	path string     // of it; guarded by mu
}

// open opens the directory of the named database. An error is met again, and told, by sync.
func (o *ownDir) open(v *asyncVFS, name string) {
	if _, ok := v.VFS.(DirSyncer); ok || name == "" {
		return
	}
	o.handle(name)
}

func (o *ownDir) handle(name string) (*dirHandle, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	path := filepath.Dir(name)
	if o.dir != nil && o.path != path {
		// Another link of the database, which was opened by two and used by this one.
		o.dir.close()
		o.dir = nil
	}
	if o.dir == nil {
		dir, err := openDir(path)
		if err != nil {
			return nil, &notTried{err}
		}
		o.dir, o.path = dir, path
	}
	return o.dir, nil
}

// sync makes the directory entry of name durable.
// The database was opened by v, and all its files are in the same directory.
func (o *ownDir) sync(v *asyncVFS, name string) error {
	if d, ok := v.VFS.(DirSyncer); ok {
		return d.SyncDir(name)
	}
	dir, err := o.handle(name)
	if err != nil {
		return err
	}
	return dir.sync()
}

func (o *ownDir) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dir != nil {
		o.dir.close()
		o.dir = nil
	}
}

// syncDir makes the directory entry of name durable where no database is open.
func (v *asyncVFS) syncDir(name string) error {
	var o ownDir
	defer o.close()
	return o.sync(v, name)
}
