//go:build wazero && (linux || darwin) && !(sqlite3_flock || sqlite3_dotlk)

package shmguard

import (
	"path/filepath"
	"reflect"
	"runtime/debug"
	"testing"
	"unsafe"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/embed"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// guarded is a VFS whose files have a guard, or do without.
type guarded struct {
	sqlitevfs.VFS
	off bool
}

type file struct {
	sqlitevfs.File
	guard   Guard
	off     bool
	regions []reflect.Value // all that SQLite has used
}

type wal struct {
	sqlitevfs.File
	main *file
}

func (v guarded) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	f, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	if flags&sqlitevfs.OPEN_MAIN_DB != 0 {
		return &file{File: f, off: v.off}, flags, nil
	}
	main, _ := vfsutil.UnwrapFile[*file](name.DatabaseFile())
	return &wal{f, main}, flags, nil
}

func (f *file) SharedMemory() sqlitevfs.SharedMemory {
	shm := vfsutil.WrapSharedMemory(f.File)
	f.guard.Used(shm)
	if len(f.guard.regions) > 0 {
		f.regions = append([]reflect.Value(nil), f.guard.regions...)
	}
	return shm
}

func (w *wal) Close() error {
	if !w.main.off {
		w.main.guard.Unused()
	}
	return w.File.Close()
}

// TestGuard: what a WAL-index has left of SQLite's memory can be read, and without the guard it can't.
func TestGuard(t *testing.T) {
	for name, off := range map[string]bool{"shmguard-on": false, "shmguard-off": true} {
		sqlitevfs.Register(name, guarded{sqlitevfs.Find("os"), off})
		c, err := sqlite3.Open(":memory:")
		require.NoError(t, err)
		path := filepath.ToSlash(filepath.Join(t.TempDir(), "a.db"))
		var f *file
		for range 2 { // the second time it is mapped into the hole
			require.NoError(t, c.Exec("ATTACH 'file:"+path+"?vfs="+name+"' AS a; PRAGMA a.journal_mode=wal; CREATE TABLE IF NOT EXISTS a.t(x); INSERT INTO a.t VALUES(1)"))
			pointer, err := c.FileControl("a", sqlite3.FCNTL_FILE_POINTER)
			require.NoError(t, err)
			var ok bool
			f, ok = vfsutil.UnwrapFile[*file](pointer.(sqlitevfs.File))
			require.True(t, ok)
			require.NotEmpty(t, f.regions)
			require.NoError(t, c.Exec("DETACH a"))
			require.Equal(t, off, faults(f.regions))
		}
		require.NoError(t, c.Close())
	}
}

// faults reports whether reading the memory is a segmentation fault.
func faults(regions []reflect.Value) (faults bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { faults = recover() != nil || faults }()
	var sum byte
	for _, r := range regions {
		for _, b := range unsafe.Slice((*byte)(r.FieldByName("addr").UnsafePointer()), r.FieldByName("size").Int()) {
			sum |= b
		}
	}
	return sum != 0
}
