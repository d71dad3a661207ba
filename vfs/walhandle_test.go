package vfs_test

import (
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// cipherBase is a base VFS whose handles use a buffer, as those of encrypting ones do:
// the database's has one, and its WAL's has the same. It notes when two goroutines use one at a time.
type cipherBase struct {
	*recorder
	met *atomic.Int64

	index    *atomic.Pointer[walindex.Index] // if set, the library's reads of the WAL are checked
	unlocked *atomic.Int64                   // those that others may write a part of meanwhile
}

func newCipherBase() cipherBase {
	return cipherBase{newRecorder(), new(atomic.Int64), new(atomic.Pointer[walindex.Index]), new(atomic.Int64)}
}

func (b cipherBase) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, out, err := b.recorder.OpenFilename(name, flags)
	if err != nil {
		return nil, out, err
	}
	f := &cipherFile{recordedFile: file.(*recordedFile), base: b, busy: new(atomic.Bool)}
	if main, ok := vfsutil.UnwrapFile[*cipherFile](name.DatabaseFile()); ok {
		f.busy = main.busy
	}
	return f, out, nil
}

type cipherFile struct {
	*recordedFile
	busy *atomic.Bool
	base cipherBase
}

func (f *cipherFile) Unwrap() sqlitevfs.File { return f.recordedFile }

func (f *cipherFile) use(do func(p []byte, off int64) (int, error), p []byte, off int64) (int, error) {
	if !f.busy.CompareAndSwap(false, true) {
		f.base.met.Add(1)
	} else {
		defer f.busy.Store(false)
	}
	if index := f.base.index.Load(); index != nil && f.own && f.kind == "wal" {
		for l := range walindex.Lock(7) {
			if held, err := index.Held(walindex.FirstIOLock + l); err != nil || !held {
				f.base.unlocked.Add(1)
			}
		}
	}
	runtime.Gosched()
	return do(p, off)
}

func (f *cipherFile) ReadAt(p []byte, off int64) (int, error) {
	return f.use(f.recordedFile.ReadAt, p, off)
}

func (f *cipherFile) WriteAt(p []byte, off int64) (int, error) {
	return f.use(f.recordedFile.WriteAt, p, off)
}

// TestHandlesAreUsedByOne: no two goroutines use handles at a time that have something in common,
// whoever comes first, and whatever is done.
func TestHandlesAreUsedByOne(t *testing.T) {
	for _, first := range []string{"writer", "reader", "no-handle"} {
		t.Run(first, func(t *testing.T) {
			base := newCipherBase()
			if first == "no-handle" {
				base.before = func(o op) error {
					if o.kind == "open" && o.file == "db" && o.own {
						return sqlite3.CANTOPEN
					}
					return nil
				}
			}
			name := register(t, base, vfs.Logger(new(logs).logger()))
			path := filepath.Join(t.TempDir(), "test.db")
			exec(t, open(t, path, "os", wal), "CREATE TABLE t(x)")
			if first == "reader" {
				query(t, open(t, path, name, "mode=ro"), "SELECT count(*) FROM t")
			}
			var all sync.WaitGroup
			for i := range 3 {
				c := open(t, path, name, full, "_pragma=wal_autocheckpoint(20)", "_pragma=cache_size(2)")
				if i == 0 && walindex.Supported {
					query(t, c, "SELECT count(*) FROM t")
					index, err := walindex.Open(path + "-shm")
					require.NoError(t, err)
					defer index.Close()
					base.index.Store(index)
				}
				all.Go(func() {
					for range 60 {
						if err := c.Exec("BEGIN IMMEDIATE; INSERT INTO t VALUES(randomblob(9000)); COMMIT; PRAGMA async_wait; SELECT count(*) FROM t"); err != nil {
							t.Error(err)
						}
						if _, err := vfs.Token(c, "main"); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			s := stats(t, path)
			require.NotZero(t, s.Checkpoints)
			require.Equal(t, first == "no-handle", s.FailedCheckpoints > 0)
			require.Zero(t, base.met.Load())
			require.Zero(t, base.unlocked.Load())
			checkIntegrity(t, path)
		})
	}
}
