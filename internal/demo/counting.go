package main

import (
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// countingVFS counts the syncs of files.
// All runs are put over it, so that they are counted alike.
//
// It sees the syncs of database, WAL and journal files.
// Those of directories, a few in a run, are made past it.
type countingVFS struct {
	sqlitevfs.VFS
	syncs atomic.Int64
	nanos atomic.Int64 // that they took together
}

// reset starts the count anew.
func (v *countingVFS) reset() {
	v.syncs.Store(0)
	v.nanos.Store(0)
}

// counted returns how many syncs there were and how long they took together.
func (v *countingVFS) counted() (int64, time.Duration) {
	return v.syncs.Load(), time.Duration(v.nanos.Load())
}

// OpenFilename implements [sqlitevfs.VFSFilename].
func (v *countingVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &countingFile{file, v}, flags, nil
}

type countingFile struct {
	sqlitevfs.File
	vfs *countingVFS
}

// What isn't listed here is lost. These are all that go-sqlite3's own files implement,
// but for memory mapping, which is off unless a PRAGMA asks for it.
var (
	_ sqlitevfs.VFSFilename            = (*countingVFS)(nil)
	_ sqlitevfs.FileUnwrap             = (*countingFile)(nil)
	_ sqlitevfs.FileSharedMemory       = (*countingFile)(nil)
	_ sqlitevfs.FileLockState          = (*countingFile)(nil)
	_ sqlitevfs.FileHasMoved           = (*countingFile)(nil)
	_ sqlitevfs.FileSizeHint           = (*countingFile)(nil)
	_ sqlitevfs.FilePersistWAL         = (*countingFile)(nil)
	_ sqlitevfs.FilePowersafeOverwrite = (*countingFile)(nil)
	_ sqlitevfs.FileBatchAtomicWrite   = (*countingFile)(nil) // on F2FS
)

// Sync counts the sync, whether or not it fails.
func (f *countingFile) Sync(flags sqlitevfs.SyncFlag) error {
	start := time.Now()
	err := f.File.Sync(flags)
	f.vfs.nanos.Add(int64(time.Since(start)))
	f.vfs.syncs.Add(1)
	return err
}

func (f *countingFile) Unwrap() sqlitevfs.File               { return f.File }
func (f *countingFile) SharedMemory() sqlitevfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *countingFile) LockState() sqlitevfs.LockLevel       { return vfsutil.WrapLockState(f.File) }
func (f *countingFile) HasMoved() (bool, error)              { return vfsutil.WrapHasMoved(f.File) }
func (f *countingFile) SizeHint(size int64) error            { return vfsutil.WrapSizeHint(f.File, size) }
func (f *countingFile) PersistWAL() bool                     { return vfsutil.WrapPersistWAL(f.File) }
func (f *countingFile) SetPersistWAL(keep bool)              { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *countingFile) PowersafeOverwrite() bool             { return vfsutil.WrapPowersafeOverwrite(f.File) }
func (f *countingFile) SetPowersafeOverwrite(on bool)        { vfsutil.WrapSetPowersafeOverwrite(f.File, on) }
func (f *countingFile) BeginAtomicWrite() error              { return vfsutil.WrapBeginAtomicWrite(f.File) }
func (f *countingFile) CommitAtomicWrite() error             { return vfsutil.WrapCommitAtomicWrite(f.File) }
func (f *countingFile) RollbackAtomicWrite() error           { return vfsutil.WrapRollbackAtomicWrite(f.File) }
