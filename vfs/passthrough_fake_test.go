package vfs_test

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// fakeVFS is a base VFS whose database and WAL files have every optional interface,
// and count how often they are called and with what.
type fakeVFS struct {
	sqlitevfs.VFS
	batchAtomic bool
	failWrites  atomic.Int32 // that many, to the database
	commitError atomic.Pointer[error]

	mu    sync.Mutex
	calls map[string]int // guarded by mu
}

func newFakeVFS() *fakeVFS {
	return &fakeVFS{VFS: sqlitevfs.Find(""), calls: map[string]int{}}
}

func (v *fakeVFS) called(format string, args ...any) {
	v.mu.Lock()
	v.calls[fmt.Sprintf(format, args...)]++
	v.mu.Unlock()
}

// take returns what was called since the last time.
func (v *fakeVFS) take() map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	calls := v.calls
	v.calls = map[string]int{}
	return calls
}

func (v *fakeVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, out, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	switch {
	case err != nil:
	case flags&sqlitevfs.OPEN_MAIN_DB != 0:
		file = &fakeFile{File: file, v: v, kind: "db"}
	case flags&sqlitevfs.OPEN_WAL != 0:
		file = &fakeFile{File: file, v: v, kind: "wal"}
	}
	return file, out, err
}

type fakeFile struct {
	sqlitevfs.File
	v    *fakeVFS
	kind string
}

var (
	_ sqlitevfs.FileUnwrap             = (*fakeFile)(nil)
	_ sqlitevfs.FileLockState          = (*fakeFile)(nil)
	_ sqlitevfs.FilePersistWAL         = (*fakeFile)(nil)
	_ sqlitevfs.FilePowersafeOverwrite = (*fakeFile)(nil)
	_ sqlitevfs.FileChunkSize          = (*fakeFile)(nil)
	_ sqlitevfs.FileSizeHint           = (*fakeFile)(nil)
	_ sqlitevfs.FileHasMoved           = (*fakeFile)(nil)
	_ sqlitevfs.FileOverwrite          = (*fakeFile)(nil)
	_ sqlitevfs.FileSync               = (*fakeFile)(nil)
	_ sqlitevfs.FileCommitPhaseTwo     = (*fakeFile)(nil)
	_ sqlitevfs.FileBatchAtomicWrite   = (*fakeFile)(nil)
	_ sqlitevfs.FileCheckpoint         = (*fakeFile)(nil)
	_ sqlitevfs.FilePragma             = (*fakeFile)(nil)
	_ sqlitevfs.FileBusyHandler        = (*fakeFile)(nil)
	_ sqlitevfs.FileSharedMemory       = (*fakeFile)(nil)
)

func (f *fakeFile) called(format string, args ...any) { f.v.called(f.kind+" "+format, args...) }
func (f *fakeFile) Unwrap() sqlitevfs.File            { return f.File }

func (f *fakeFile) SharedMemory() sqlitevfs.SharedMemory {
	f.called("SharedMemory")
	return vfsutil.WrapSharedMemory(f.File)
}

func (f *fakeFile) LockState() sqlitevfs.LockLevel {
	f.called("LockState")
	return sqlitevfs.LOCK_PENDING // that SQLite itself never stays in
}

func (f *fakeFile) PersistWAL() bool {
	f.called("PersistWAL")
	return vfsutil.WrapPersistWAL(f.File)
}

func (f *fakeFile) SetPersistWAL(keep bool) {
	f.called("SetPersistWAL %v", keep)
	vfsutil.WrapSetPersistWAL(f.File, keep)
}

func (f *fakeFile) PowersafeOverwrite() bool {
	f.called("PowersafeOverwrite")
	return vfsutil.WrapPowersafeOverwrite(f.File)
}

func (f *fakeFile) SetPowersafeOverwrite(psow bool) {
	f.called("SetPowersafeOverwrite %v", psow)
	vfsutil.WrapSetPowersafeOverwrite(f.File, psow)
}

func (f *fakeFile) ChunkSize(size int) { f.called("ChunkSize %d", size) }

func (f *fakeFile) SizeHint(size int64) error {
	f.called("SizeHint")
	return vfsutil.WrapSizeHint(f.File, size)
}

func (f *fakeFile) HasMoved() (bool, error) {
	f.called("HasMoved")
	return vfsutil.WrapHasMoved(f.File)
}

func (f *fakeFile) Overwrite() error {
	f.called("Overwrite")
	return nil
}

func (f *fakeFile) SyncSuper(super string) error {
	f.called("SyncSuper %v", super != "")
	return nil
}

func (f *fakeFile) CommitPhaseTwo() error {
	f.called("CommitPhaseTwo")
	if err := f.v.commitError.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *fakeFile) BeginAtomicWrite() error {
	f.called("BeginAtomicWrite")
	return nil
}

func (f *fakeFile) CommitAtomicWrite() error {
	f.called("CommitAtomicWrite")
	return nil
}

func (f *fakeFile) RollbackAtomicWrite() error {
	f.called("RollbackAtomicWrite")
	return nil
}

func (f *fakeFile) CheckpointStart() { f.called("CheckpointStart") }
func (f *fakeFile) CheckpointDone()  { f.called("CheckpointDone") }

func (f *fakeFile) Pragma(name, value string) (string, error) {
	f.called("Pragma %s=%s", name, value)
	switch name {
	case "passthrough":
		return "of the base: " + value, nil
	case "passthrough_error":
		return "", fmt.Errorf("refused: %s", value)
	}
	return "", sqlite3.NOTFOUND
}

func (f *fakeFile) BusyHandler(handler func() bool) {
	f.called("BusyHandler %v", handler != nil)
	vfsutil.WrapBusyHandler(f.File, handler)
}

func (f *fakeFile) SetDB(db any) {
	_, ok := db.(*sqlite3.Conn)
	f.called("SetDB %v", ok)
}

func (f *fakeFile) DeviceCharacteristics() sqlitevfs.DeviceCharacteristic {
	c := f.File.DeviceCharacteristics()
	if f.v.batchAtomic {
		c |= sqlitevfs.IOCAP_BATCH_ATOMIC
	}
	return c
}

func (f *fakeFile) WriteAt(p []byte, off int64) (int, error) {
	if f.kind == "db" && f.v.failWrites.Load() > 0 {
		f.v.failWrites.Add(-1)
		return 0, sqlite3.IOERR_WRITE
	}
	return f.File.WriteAt(p, off)
}
