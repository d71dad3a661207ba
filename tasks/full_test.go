package tasks_test

import (
	"database/sql"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// smallDisk is a VFS on a disk with so many bytes left. It fails as the operating system does.
type smallDisk struct {
	sqlitevfs.VFS
	left *atomic.Int64
}

func (d smallDisk) Open(name string, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	f, flags, err := d.VFS.Open(name, flags)
	return &smallFile{f, d.left}, flags, err
}

func (d smallDisk) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	f, flags, err := vfsutil.WrapOpenFilename(d.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &smallFile{f, d.left}, flags, nil
}

type smallFile struct {
	sqlitevfs.File
	left *atomic.Int64
}

func (f *smallFile) SharedMemory() sqlitevfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }

func (f *smallFile) Unwrap() sqlitevfs.File { return f.File }

func (f *smallFile) WriteAt(p []byte, off int64) (int, error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	if more := off + int64(len(p)) - size; more > 0 && f.left.Add(-more) < 0 {
		f.left.Add(more)
		return 0, &fs.PathError{Op: "write", Path: "t.db", Err: syscall.ENOSPC}
	}
	return f.File.WriteAt(p, off)
}

func (f *smallFile) Truncate(to int64) error {
	size, err := f.Size()
	if err == nil {
		err = f.File.Truncate(to)
	}
	if err == nil {
		f.left.Add(size - to)
	}
	return err
}

// TestFullDisk: a full disk is known as one, by SQLite's code and by the system's.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	var left atomic.Int64
	left.Store(1 << 40)
	require.NoError(t, vfs.Register("tasks-small-disk", smallDisk{sqlitevfs.Find(""), &left}, vfs.Checkpoint(vfs.CheckpointOff)))
	st, _, _ := open(t, tasks.VFS("tasks-small-disk"))
	ctx := t.Context()
	large := strings.Repeat("x", 512<<10)
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	left.Store(16 << 20)
	var full error
	n := 0
	for ; full == nil; n++ {
		id := fmt.Sprint(n)
		if full = st.Create(ctx, id, tasks.Form); full == nil {
			full = st.Update(ctx, id, tasks.Completed, large)
		}
	}
	for _, err := range []error{full, st.Update(ctx, "a", tasks.Completed, large+large), st.Warm(ctx, tasks.Form, 1, large+large)} {
		require.ErrorIs(t, err, sqlite3.FULL)
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
}

// TestCleanupOnFullDisk: while the database file needn't grow, a full disk keeps nobody from writing, and a cleanup makes space.
// A reader that keeps the WAL from being written over shows that it is that.
func TestCleanupOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{false, true} {
		t.Run(fmt.Sprint("reads=", reads), func(t *testing.T) {
			var left atomic.Int64
			left.Store(1 << 40)
			name := fmt.Sprint("tasks-small-disk-", reads)
			require.NoError(t, vfs.Register(name, smallDisk{sqlitevfs.Find(""), &left}, vfs.Checkpoint(vfs.CheckpointOff)))
			path := filepath.Join(t.TempDir(), "tasks.db")
			sqlFile(t, path, pythonTable) // its free pages stay in the file
			st, err := tasks.Open(t.Context(), path, tasks.VFS(name))
			require.NoError(t, err)
			defer st.Close()
			ctx := t.Context()
			fill(t, st, 64, 64<<10)
			n, err := st.Cleanup(ctx, 0)
			require.NoError(t, err)
			require.Equal(t, 64, n)
			db, err := driver.Open("file:" + filepath.ToSlash(path) + "?vfs=" + name)
			require.NoError(t, err)
			defer db.Close()
			_, err = db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
			require.NoError(t, err)
			left.Store(1 << 20) // for the WAL, beside 4 MiB of free pages
			if reads {
				tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
				require.NoError(t, err)
				defer tx.Rollback()
				require.NoError(t, tx.QueryRow("SELECT count(*) FROM tasks").Scan(&n))
			}
			large := strings.Repeat("x", 64<<10)
			var full error
			made := 0
			for ; full == nil && made < 40; made++ {
				if full = st.Create(ctx, fmt.Sprint(made), tasks.Form); full == nil {
					full = st.Update(ctx, fmt.Sprint(made), tasks.Completed, large)
				}
			}
			if reads {
				require.ErrorIs(t, full, sqlite3.FULL)
				_, err := st.Cleanup(ctx, 0)
				require.ErrorIs(t, err, sqlite3.FULL)
				require.ErrorIs(t, err, syscall.ENOSPC)
				return
			}
			require.NoError(t, full)
			left.Store(0)
			n, err = st.Cleanup(ctx, 0)
			require.NoError(t, err)
			require.Equal(t, made, n)
			require.NoError(t, st.Create(ctx, "again", tasks.Form))
		})
	}
}
