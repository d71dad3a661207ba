package vfs

import (
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// walHandle is the library's own handle of the WAL. Several goroutines use it:
// syncs look at the WAL's header, and checkpoints read its frames.
//
// SQLite uses a handle, and all that it has in common with that of its database, on one goroutine at a time,
// and a VFS may rely on that. Those that encrypt do: they decrypt into a buffer of the handle, with a cipher that
// the handle of the WAL has from that of its database, and that works in buffers too.
// So the library's handle of the WAL has it from a handle of the database that is there for nothing else
// (see [dbFile.Unwrap]), and is read or written by one at a time. Syncs go on meanwhile: they have no part in that.
//
// Such a VFS reads and writes blocks that aren't frames. Others write a part of one while another part is read here:
// go-sqlite3 has locks for that, which stand in the WAL-index, and which the handles of connections have the key to.
type walHandle struct {
	sqlitevfs.File
	db     *database
	mu     ioMutex // held while a file with blocks is read and written; no lock is taken while it is held but one of the WAL-index
	blocks bool    // the VFS may read and write blocks
	barred bool    // it has something in common with a connection's handles: it is only for syncs
}

func (w *walHandle) ReadAt(p []byte, off int64) (n int, err error) {
	err = w.locked(false, func() error {
		n, err = w.File.ReadAt(p, off)
		return err
	})
	return n, err
}

// WriteAt is called with the write lock held.
func (w *walHandle) WriteAt(p []byte, off int64) (n int, err error) {
	err = w.locked(true, func() error {
		n, err = w.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (w *walHandle) locked(exclusive bool, f func() error) error {
	if w.barred {
		return errNoHandle
	}
	if !w.blocks {
		return f()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return walindex.WithIOLock(w.db.indexPath(), exclusive, f)
}

// wraps reports whether a file of the base VFS lies on another one, which it may read and write in blocks.
func wraps(file sqlitevfs.File) bool {
	_, ok := file.(sqlitevfs.FileUnwrap)
	return ok
}

// openOwnWAL opens the library's own handle of the WAL. main is the connection's handle of the database.
func (db *database) openOwnWAL(v *asyncVFS, name *sqlitevfs.Filename, main *dbFile, flags sqlitevfs.OpenFlag) (*walHandle, error) {
	w := &walHandle{db: db, mu: make(ioMutex, 1), blocks: wraps(main.File)}
	open := func() (err error) {
		// Without OPEN_CREATE go-sqlite3 doesn't sync the new file twice.
		w.File, _, err = v.openBase(name, flags&^(sqlitevfs.OPEN_CREATE|sqlitevfs.OPEN_EXCLUSIVE))
		return err
	}
	if !w.blocks {
		return w, open()
	}
	return w, db.own.lend(func(own sqlitevfs.File) error {
		main.lent = own
		err := open()
		main.lent = nil
		if own != nil && err == nil {
			return nil
		}
		// There is none, or it has no key yet.
		w.barred = true
		return open()
	})
}
