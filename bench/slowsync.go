package bench

import (
	"time"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// SlowSync is a base VFS on which every sync takes longer, as on a slower disk.
type SlowSync struct {
	sqlitevfs.VFS
	Delay time.Duration
}

// OpenFilename implements [sqlitevfs.VFSFilename].
func (v SlowSync) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &slowFile{file, v.Delay}, flags, nil
}

type slowFile struct {
	sqlitevfs.File
	delay time.Duration
}

var (
	_ sqlitevfs.FileUnwrap             = (*slowFile)(nil)
	_ sqlitevfs.FileSharedMemory       = (*slowFile)(nil)
	_ sqlitevfs.FileLockState          = (*slowFile)(nil)
	_ sqlitevfs.FileHasMoved           = (*slowFile)(nil)
	_ sqlitevfs.FileSizeHint           = (*slowFile)(nil)
	_ sqlitevfs.FilePersistWAL         = (*slowFile)(nil)
	_ sqlitevfs.FilePowersafeOverwrite = (*slowFile)(nil)
)

// Sync waits, as the disk would, without the use of a processor.
func (f *slowFile) Sync(flags sqlitevfs.SyncFlag) error {
	time.Sleep(f.delay)
	return f.File.Sync(flags)
}

func (f *slowFile) Unwrap() sqlitevfs.File               { return f.File }
func (f *slowFile) SharedMemory() sqlitevfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *slowFile) LockState() sqlitevfs.LockLevel       { return vfsutil.WrapLockState(f.File) }
func (f *slowFile) HasMoved() (bool, error)              { return vfsutil.WrapHasMoved(f.File) }
func (f *slowFile) SizeHint(size int64) error            { return vfsutil.WrapSizeHint(f.File, size) }
func (f *slowFile) PersistWAL() bool                     { return vfsutil.WrapPersistWAL(f.File) }
func (f *slowFile) SetPersistWAL(keep bool)              { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *slowFile) PowersafeOverwrite() bool             { return vfsutil.WrapPowersafeOverwrite(f.File) }
func (f *slowFile) SetPowersafeOverwrite(on bool)        { vfsutil.WrapSetPowersafeOverwrite(f.File, on) }
