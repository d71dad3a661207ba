package bench

import (
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// exposure follows how long commits that have returned aren't durable: until a sync of the WAL that began after them has ended.
// It is told so by the file itself, and so works for any VFS above it.
type exposure struct {
	clock time.Time

	mu     sync.Mutex
	oldest time.Duration // when the first commit returned that isn't durable; 0 is none; guarded by mu
	during time.Duration // when the first returned since a sync began that goes on; 0 is none; guarded by mu
	syncs  int           // that go on; guarded by mu
}

func (e *exposure) now() time.Duration { return time.Since(e.clock) }

func (e *exposure) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clock, e.oldest, e.during = time.Now(), 0, 0
}

// committed says that a commit has returned.
func (e *exposure) committed() {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.oldest == 0 {
		e.oldest = now
	}
	if e.during == 0 {
		e.during = now
	}
}

// window returns for how long the oldest commit that isn't durable has been so.
func (e *exposure) window() time.Duration {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.oldest == 0 {
		return 0
	}
	return now - e.oldest
}

// sync follows a sync of the WAL. Of two at a time the second counts for nothing: that is on the safe side.
func (e *exposure) sync(f func() error) error {
	e.mu.Lock()
	e.syncs++
	alone := e.syncs == 1
	if alone {
		e.during = 0
	}
	e.mu.Unlock()
	err := f()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.syncs--
	if alone && err == nil {
		e.oldest = e.during
	}
	return err
}

// watchedVFS tells an exposure of each sync of a WAL.
type watchedVFS struct {
	sqlitevfs.VFS
	exposed *exposure
}

// OpenFilename implements [sqlitevfs.VFSFilename].
func (v watchedVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	if flags&sqlitevfs.OPEN_WAL == 0 {
		return file, flags, nil
	}
	return &watchedFile{slowFile{file, 0}, v.exposed}, flags, nil
}

type watchedFile struct {
	slowFile
	exposed *exposure
}

// Sync implements [sqlitevfs.File].
func (f *watchedFile) Sync(flags sqlitevfs.SyncFlag) error {
	return f.exposed.sync(func() error { return f.File.Sync(flags) })
}
