package taskhttp_test

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// disk is a VFS whose syncs can be made to wait, or to fail.
type disk struct {
	sqlitevfs.VFS
	mu    sync.Mutex
	open  chan struct{} // closed while syncs may go on; guarded by mu
	waits chan struct{} // gets one for each sync that has to wait
}

// onDisk opens a store on a disk of its own.
func onDisk(t *testing.T, opts ...tasks.Option) (*tasks.Store, *disk) {
	t.Helper()
	d := &disk{VFS: sqlitevfs.Find(""), open: make(chan struct{}), waits: make(chan struct{}, 1000)}
	close(d.open)
	name := "disk-" + strings.ReplaceAll(t.Name(), "/", "-")
	require.NoError(t, vfs.Register(name, d))
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), append(opts, tasks.VFS(name))...)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st, d
}

// stop makes syncs wait from now on. It returns what lets them go on.
func (d *disk) stop() (goOn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	open := make(chan struct{})
	d.open = open
	return sync.OnceFunc(func() { close(open) })
}

func (d *disk) sync() error {
	d.mu.Lock()
	open := d.open
	d.mu.Unlock()
	select {
	case <-open:
	default:
		d.waits <- struct{}{}
		<-open
	}
	return nil
}

func (d *disk) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(d.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &diskFile{file, d}, flags, nil
}

type diskFile struct {
	sqlitevfs.File
	disk *disk
}

func (f *diskFile) Sync(flags sqlitevfs.SyncFlag) error {
	if err := f.disk.sync(); err != nil {
		return err
	}
	return f.File.Sync(flags)
}

func (f *diskFile) Unwrap() sqlitevfs.File               { return f.File }
func (f *diskFile) SharedMemory() sqlitevfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *diskFile) LockState() sqlitevfs.LockLevel       { return vfsutil.WrapLockState(f.File) }
func (f *diskFile) HasMoved() (bool, error)              { return vfsutil.WrapHasMoved(f.File) }
func (f *diskFile) SizeHint(size int64) error            { return vfsutil.WrapSizeHint(f.File, size) }
func (f *diskFile) PersistWAL() bool                     { return vfsutil.WrapPersistWAL(f.File) }
func (f *diskFile) SetPersistWAL(keep bool)              { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *diskFile) PowersafeOverwrite() bool             { return vfsutil.WrapPowersafeOverwrite(f.File) }
func (f *diskFile) SetPowersafeOverwrite(on bool)        { vfsutil.WrapSetPowersafeOverwrite(f.File, on) }

var _ sqlitevfs.FileSharedMemory = (*diskFile)(nil)
