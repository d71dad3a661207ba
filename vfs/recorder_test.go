package vfs_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// op is what a base VFS was asked to do, in the order in which it ended.
type op struct {
	kind string // open, write, truncate, sync, delete, syncdir, close
	file string // db, wal, journal, temp
	off  int64
	size int
	own  bool // on a handle that SQLite doesn't have
	full bool // a sync with SYNC_FULL
	err  error
}

func (o op) String() string {
	return fmt.Sprintf("%s(%s) off=%d size=%d own=%v err=%v", o.kind, o.file, o.off, o.size, o.own, o.err)
}

// recorder is a base VFS that records what goes to the disk, over the real one.
type recorder struct {
	sqlitevfs.VFS
	disabled rules.Set
	// before is called before each operation, with no lock held; its error becomes the operation's.
	before func(op) error
	// read is called before each read; its error becomes the read's.
	read func(file string, off int64) error
	// characteristics are added to those of the real files.
	characteristics sqlitevfs.DeviceCharacteristic
	outFlags        sqlitevfs.OpenFlag

	mu  sync.Mutex
	ops []op
}

func newRecorder() *recorder { return &recorder{VFS: sqlitevfs.Find("")} }

func (r *recorder) DisabledRules() rules.Set { return r.disabled }

func (r *recorder) do(o op, f func() error) error {
	if r.before != nil {
		o.err = r.before(o)
	}
	if o.err == nil {
		o.err = f()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, o)
	return o.err
}

// take returns what was recorded since the last call.
func (r *recorder) take() []op {
	r.mu.Lock()
	defer r.mu.Unlock()
	ops := r.ops
	r.ops = nil
	return ops
}

// connections leaves out what was done through the library's own handles.
func connections(ops []op) []op {
	return slices.DeleteFunc(ops, func(o op) bool { return o.own })
}

func count(ops []op, kind, file string) (n int) {
	for _, o := range ops {
		if o.kind == kind && o.file == file {
			n++
		}
	}
	return n
}

func kindOf(name string) string {
	switch {
	case strings.HasSuffix(name, "-wal"):
		return "wal"
	case strings.HasSuffix(name, "-journal"):
		return "journal"
	}
	return "db"
}

func (r *recorder) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	kind := "temp"
	if name != nil {
		kind = kindOf(name.String())
	}
	var file sqlitevfs.File
	var out sqlitevfs.OpenFlag
	// The library's handles: these tests' connections make files.
	own := (kind == "wal" || kind == "db") && flags&sqlitevfs.OPEN_CREATE == 0
	err := r.do(op{kind: "open", file: kind, own: own}, func() (err error) {
		file, out, err = vfsutil.WrapOpenFilename(r.VFS, name, flags)
		return err
	})
	if err != nil {
		return nil, flags, err
	}
	return &recordedFile{File: file, r: r, kind: kind, own: own}, out | r.outFlags, nil
}

func (r *recorder) Delete(name string, syncDir bool) error {
	return r.do(op{kind: "delete", file: kindOf(name)}, func() error { return r.VFS.Delete(name, syncDir) })
}

func (r *recorder) SyncDir(name string) error {
	return r.do(op{kind: "syncdir", file: kindOf(name)}, func() error { return nil })
}

type recordedFile struct {
	sqlitevfs.File
	r    *recorder
	kind string
	own  bool
}

func (f *recordedFile) Unwrap() sqlitevfs.File               { return f.File }
func (f *recordedFile) SharedMemory() sqlitevfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *recordedFile) HasMoved() (bool, error)              { return vfsutil.WrapHasMoved(f.File) }
func (f *recordedFile) PowersafeOverwrite() bool             { return vfsutil.WrapPowersafeOverwrite(f.File) }
func (f *recordedFile) SetPowersafeOverwrite(on bool) {
	vfsutil.WrapSetPowersafeOverwrite(f.File, on)
}
func (f *recordedFile) Stat() (fs.FileInfo, error) {
	return f.File.(interface{ Stat() (fs.FileInfo, error) }).Stat()
}

func (f *recordedFile) DeviceCharacteristics() sqlitevfs.DeviceCharacteristic {
	return f.File.DeviceCharacteristics() | f.r.characteristics
}

func (f *recordedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.r.do(op{kind: "write", file: f.kind, off: off, size: len(p), own: f.own}, func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f *recordedFile) ReadAt(p []byte, off int64) (int, error) {
	if f.r.read != nil {
		if err := f.r.read(f.kind, off); err != nil {
			return 0, err
		}
	}
	return f.File.ReadAt(p, off)
}

func (f *recordedFile) Truncate(size int64) error {
	return f.r.do(op{kind: "truncate", file: f.kind, off: size, own: f.own}, func() error {
		return f.File.Truncate(size)
	})
}

func (f *recordedFile) Sync(flags sqlitevfs.SyncFlag) error {
	return f.r.do(op{kind: "sync", file: f.kind, own: f.own, full: flags&sqlitevfs.SYNC_FULL == sqlitevfs.SYNC_FULL}, func() error { return f.File.Sync(flags) })
}

func (f *recordedFile) Close() error {
	return f.r.do(op{kind: "close", file: f.kind, own: f.own}, f.File.Close)
}

// register puts the VFS over a base and returns its name.
func register(t testing.TB, base sqlitevfs.VFS, opts ...vfs.Option) string {
	name := "test-" + strings.NewReplacer("/", "-", "=", "-", " ", "-", "#", "-").Replace(t.Name())
	require.NoError(t, vfs.Register(name, base, opts...))
	return name // connections need it until they are closed
}

func dsn(path, vfsName string, params ...string) string {
	return "file:" + filepath.ToSlash(path) + "?vfs=" + vfsName + "&_pragma=busy_timeout(10000)&" + strings.Join(params, "&")
}

const (
	wal    = "_pragma=journal_mode(wal)"
	full   = "_pragma=synchronous(full)"
	normal = "_pragma=synchronous(normal)"
	off    = "_pragma=synchronous(off)"
	noAuto = "_pragma=wal_autocheckpoint(0)"
	slow   = "max_delay=1m" // nothing is synced for its deadline's sake
)

// open opens a connection that the test's end closes.
func open(t testing.TB, path, vfsName string, params ...string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open(dsn(path, vfsName, params...))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func exec(t testing.TB, c *sqlite3.Conn, sql string) {
	t.Helper()
	require.NoError(t, c.Exec(sql))
}

// query returns the first column of the first row.
func query(t testing.TB, c *sqlite3.Conn, sql string) string {
	t.Helper()
	s, _, err := c.Prepare(sql)
	require.NoError(t, err)
	defer s.Close()
	require.True(t, s.Step(), "no row: %s: %v", sql, s.Err())
	return s.ColumnText(0)
}

// checkIntegrity opens the database with the stock VFS.
func checkIntegrity(t testing.TB, path string) {
	t.Helper()
	db, err := driver.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer db.Close()
	var ok string
	require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&ok))
	require.Equal(t, "ok", ok)
}
