package vfs

import (
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// What the database file doesn't do itself, it forwards to the base file.
// An interface that isn't listed here is dead.
var (
	_ sqlitevfs.File                   = (*dbFile)(nil)
	_ sqlitevfs.FileUnwrap             = (*dbFile)(nil)
	_ sqlitevfs.FileLockState          = (*dbFile)(nil)
	_ sqlitevfs.FilePersistWAL         = (*dbFile)(nil)
	_ sqlitevfs.FilePowersafeOverwrite = (*dbFile)(nil)
	_ sqlitevfs.FileChunkSize          = (*dbFile)(nil)
	_ sqlitevfs.FileSizeHint           = (*dbFile)(nil)
	_ sqlitevfs.FileHasMoved           = (*dbFile)(nil)
	_ sqlitevfs.FileOverwrite          = (*dbFile)(nil)
	_ sqlitevfs.FileSync               = (*dbFile)(nil)
	_ sqlitevfs.FileCommitPhaseTwo     = (*dbFile)(nil)
	_ sqlitevfs.FileBatchAtomicWrite   = (*dbFile)(nil)
	_ sqlitevfs.FileCheckpoint         = (*dbFile)(nil)
	_ sqlitevfs.FilePragma             = (*dbFile)(nil)
	_ sqlitevfs.FileBusyHandler        = (*dbFile)(nil)
	_ sqlitevfs.FileSharedMemory       = (*dbFile)(nil)

	_ sqlitevfs.File                   = (*walFile)(nil)
	_ sqlitevfs.FileUnwrap             = (*walFile)(nil)
	_ sqlitevfs.FilePowersafeOverwrite = (*walFile)(nil)
	_ sqlitevfs.FileChunkSize          = (*walFile)(nil)
	_ sqlitevfs.FileSizeHint           = (*walFile)(nil)
)

// Unwrap returns the base VFS's file: that is how it finds the database that a WAL belongs to.
// While it opens the WAL for the library's own use, it finds the library's own handle (see walHandle).
func (f *dbFile) Unwrap() sqlitevfs.File {
	if f.lent != nil {
		return f.lent
	}
	return f.File
}

func (f *dbFile) SharedMemory() sqlitevfs.SharedMemory {
	if f.takeBack {
		// SQLite is about to give up the first of a checkpoint's locks.
		f.takeBack = false
		f.db.takeBackNow()
	}
	f.guard.Used(f.shm)
	return f.shm
}
func (f *dbFile) LockState() sqlitevfs.LockLevel  { return vfsutil.WrapLockState(f.File) }
func (f *dbFile) PersistWAL() bool                { return vfsutil.WrapPersistWAL(f.File) }
func (f *dbFile) SetPersistWAL(keep bool)         { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *dbFile) PowersafeOverwrite() bool        { return vfsutil.WrapPowersafeOverwrite(f.File) }
func (f *dbFile) SetPowersafeOverwrite(psow bool) { vfsutil.WrapSetPowersafeOverwrite(f.File, psow) }
func (f *dbFile) ChunkSize(size int)              { vfsutil.WrapChunkSize(f.File, size) }
func (f *dbFile) HasMoved() (bool, error)         { return vfsutil.WrapHasMoved(f.File) }
func (f *dbFile) Overwrite() error                { return vfsutil.WrapOverwrite(f.File) }
func (f *dbFile) SyncSuper(super string) error    { return vfsutil.WrapSyncSuper(f.File, super) }
func (f *dbFile) BeginAtomicWrite() error         { return vfsutil.WrapBeginAtomicWrite(f.File) }
func (f *dbFile) CommitAtomicWrite() error        { return vfsutil.WrapCommitAtomicWrite(f.File) }
func (f *dbFile) RollbackAtomicWrite() error      { return vfsutil.WrapRollbackAtomicWrite(f.File) }

// SizeHint may make the file longer, which counts as a write.
func (f *dbFile) SizeHint(size int64) error {
	if err := f.writable(); err != nil {
		return tag(err)
	}
	f.db.wrote(syncqueue.DB, 1)
	err := vfsutil.WrapSizeHint(f.File, size)
	f.db.wrote(syncqueue.DB, 1)
	return err
}

// DeviceCharacteristics leaves out IOCAP_SEQUENTIAL (H7):
// it would make SQLite leave out the sync of the WAL's header.
func (f *dbFile) DeviceCharacteristics() sqlitevfs.DeviceCharacteristic {
	return f.File.DeviceCharacteristics() &^ sqlitevfs.IOCAP_SEQUENTIAL
}

// DeviceCharacteristics leaves out IOCAP_SEQUENTIAL (H7).
func (w *walFile) DeviceCharacteristics() sqlitevfs.DeviceCharacteristic {
	return w.File.DeviceCharacteristics() &^ sqlitevfs.IOCAP_SEQUENTIAL
}

func (w *walFile) Unwrap() sqlitevfs.File          { return w.File }
func (w *walFile) PowersafeOverwrite() bool        { return vfsutil.WrapPowersafeOverwrite(w.File) }
func (w *walFile) SetPowersafeOverwrite(psow bool) { vfsutil.WrapSetPowersafeOverwrite(w.File, psow) }
func (w *walFile) ChunkSize(size int)              { vfsutil.WrapChunkSize(w.File, size) }
func (w *walFile) SizeHint(size int64) error       { return vfsutil.WrapSizeHint(w.File, size) }
