package simdisk

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/shmguard"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// Stock is the name of the VFS that has the simulated disks' files as they are.
// A connection through it stands for another process, without this project's VFS.
const Stock = "powercut"

func init() { sqlitevfs.Register(Stock, Base{}) }

var registered sync.Map // names

// Async returns the name of this project's VFS over the simulated disks, with some rules switched off.
// Each process has a VFS of its own that shares nothing but the disk with another's, as if it were another process.
func Async(disabled rules.Set, process int) string {
	name := fmt.Sprintf("%s-async-%d", Stock, process)
	if disabled != 0 {
		name += "-without-" + disabled.String()
	}
	if _, loaded := registered.LoadOrStore(name, true); !loaded {
		if err := vfs.Register(name, Base{Disabled: disabled, under: true, process: process}, vfs.Logger(slog.New(&Logged))); err != nil {
			panic(err)
		}
	}
	return name
}

// Base is the VFS of the simulated disks. It works as a well-behaved VFS of a Unix system does:
// the directory entry of a new journal is made durable with the first sync of the file,
// and so is that of a WAL unless it lies under this project's VFS, which sees to that itself.
type Base struct {
	Disabled rules.Set
	under    bool
	process  int
}

// DisabledRules implements [rules.Disabler].
func (b Base) DisabledRules() rules.Set { return b.Disabled }

// SyncDir implements [vfs.DirSyncer].
func (b Base) SyncDir(name string) error {
	d, name, err := find(name)
	if err != nil {
		return err
	}
	return d.syncDir(name)
}

// Open is never called: there is OpenFilename.
func (b Base) Open(string, sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	return nil, 0, sqlite3.CANTOPEN
}

// OpenFilename opens a file of the disk that the path names.
func (b Base) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	if name == nil {
		// A temporary file, which SQLite deletes when it closes it.
		f := &file{d: &Disk{}, ino: &inode{quiet: true}, powersafe: true}
		f.main = f
		return f, flags, nil
	}
	d, base, err := find(name.String())
	if err != nil {
		return nil, flags, err
	}
	ino, err := d.open(base, flags&sqlitevfs.OPEN_CREATE != 0)
	if err != nil {
		return nil, flags, err
	}
	f := &file{d: d, ino: ino, name: base, process: b.process, stock: !b.under, powersafe: d.cfg.Powersafe}
	d.mu.Lock()
	f.errors = ino.errors
	f.handle = d.handles
	d.handles++
	d.mu.Unlock()
	// SQLite's own VFS does so for a WAL too. Ours is to do it itself (H4).
	const journals = sqlitevfs.OPEN_MAIN_JOURNAL | sqlitevfs.OPEN_SUPER_JOURNAL
	f.syncsDir = flags&sqlitevfs.OPEN_CREATE != 0 &&
		(flags&journals != 0 || flags&sqlitevfs.OPEN_WAL != 0 && !b.under)
	f.main = f
	if main, ok := vfsutil.UnwrapFile[*file](name.DatabaseFile()); ok && flags&sqlitevfs.OPEN_WAL != 0 {
		f.main = main
	}
	f.shmPath = filepath.Join(d.cfg.ShmDir, d.id+"-"+base+"-shm")
	f.shm = sqlitevfs.NewSharedMemory(f.shmPath, flags)
	return f, flags, nil
}

// Delete removes a file.
func (b Base) Delete(name string, syncDir bool) error {
	d, base, err := find(name)
	if err != nil {
		return err
	}
	if err := d.unlink(base); err != nil || !syncDir {
		return err
	}
	return d.syncDir(base)
}

// Access reports whether a file is there.
func (b Base) Access(name string, _ sqlitevfs.AccessFlag) (bool, error) {
	d, base, err := find(name)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names[base] != nil, nil
}

// FullPathname returns the name: there are full paths only.
func (b Base) FullPathname(name string) (string, error) { return name, nil }

// identity tells files apart, and keeps those of different processes apart too.
type identity struct {
	*inode
	process int
}

// walHeader is the size of a WAL's header.
const walHeader = 32

// file is a handle.
type file struct {
	d         *Disk
	ino       *inode
	name      string
	process   int
	handle    int
	shm       sqlitevfs.SharedMemory
	guard     shmguard.Guard
	shmPath   string
	powersafe bool
	syncsDir  bool
	main      *file // of the same connection
	stock     bool
	errors    int  // of the file's, those that this handle knows of; the disk's mutex guards it
	partial   bool // see [Op]; of the checkpoint that it is in
	conn      any
}

var (
	_ sqlitevfs.FileSharedMemory       = (*file)(nil)
	_ sqlitevfs.FilePowersafeOverwrite = (*file)(nil)
	_ sqlitevfs.FileHasMoved           = (*file)(nil)
	_ sqlitevfs.FileLockState          = (*file)(nil)
	_ sqlitevfs.FileCheckpoint         = (*file)(nil)
	_ vfs.FileIdentity                 = (*file)(nil)
	_ vfs.SharedMemoryPath             = (*file)(nil)
	_ vfs.DirSyncer                    = Base{}
	_ rules.Disabler                   = Base{}
)

func (f *file) op(kind EventKind, off int64, size int) Op {
	return Op{
		Kind: kind, Name: f.name, Handle: f.handle, Off: off, Size: size, Conn: f.main.conn,
		Process: f.process, Stock: f.stock, Partial: f.partial,
	}
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if off == 0 && len(p) == walHeader && strings.HasSuffix(f.name, "-wal") && f.d.cfg.Fault != nil {
		if err := f.d.cfg.Fault(f.op(Read, off, len(p))).Err; err != nil {
			return 0, err
		}
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.ino.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.ino.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	return f.d.write(f.ino, f.op(Write, off, len(p)), p)
}

func (f *file) Truncate(size int64) error {
	return f.d.truncate(f.ino, f.op(Truncate, size, 0))
}

func (f *file) Sync(sqlitevfs.SyncFlag) error {
	if f.ino.quiet {
		return nil
	}
	if err := f.d.sync(f.op(SyncStart, 0, 0), f, SyncEnd); err != nil {
		return err
	}
	if f.syncsDir {
		f.syncsDir = false
		return f.d.syncDir(f.name)
	}
	return nil
}

func (f *file) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.ino.data)), nil
}

func (f *file) Close() error {
	f.main.guard.Unused()
	if f.shm != nil {
		if c, ok := f.shm.(io.Closer); ok {
			c.Close()
		}
	}
	return f.Unlock(sqlitevfs.LOCK_NONE)
}

func (f *file) Lock(level sqlitevfs.LockLevel) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.ino.locks.lock(f, level)
}

func (f *file) Unlock(level sqlitevfs.LockLevel) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.ino.locks.unlock(f, level)
	return nil
}

func (f *file) CheckReservedLock() (bool, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return max(f.ino.locks.others(f), f.ino.locks.held[f]) >= sqlitevfs.LOCK_RESERVED, nil
}

func (f *file) LockState() sqlitevfs.LockLevel {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.ino.locks.held[f]
}

func (f *file) SectorSize() int {
	if f.d.cfg.SectorSize == 0 {
		return 4096
	}
	return f.d.cfg.SectorSize
}

func (f *file) DeviceCharacteristics() sqlitevfs.DeviceCharacteristic {
	if f.powersafe {
		return sqlitevfs.IOCAP_POWERSAFE_OVERWRITE
	}
	return 0
}

func (f *file) PowersafeOverwrite() bool      { return f.powersafe }
func (f *file) SetPowersafeOverwrite(on bool) { f.powersafe = on && f.d.cfg.Powersafe }
func (f *file) Identity() any                 { return identity{f.ino, f.process} }

// SharedMemory implements [sqlitevfs.FileSharedMemory].
func (f *file) SharedMemory() sqlitevfs.SharedMemory {
	f.guard.Used(f.shm)
	return f.shm
}

// SharedMemoryPath implements [vfs.SharedMemoryPath].
func (f *file) SharedMemoryPath() string {
	if f.d.cfg.Fault != nil && f.d.cfg.Fault(f.op(Index, 0, 0)).Err != nil {
		return f.d.cfg.ShmDir // which can't be opened
	}
	return f.shmPath
}

// CheckpointStart implements [sqlitevfs.FileCheckpoint].
func (f *file) CheckpointStart() {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.partial = f.stock && f.ino.stockWrites > f.ino.stockSynced
}

// CheckpointDone implements [sqlitevfs.FileCheckpoint].
func (f *file) CheckpointDone() {}

// SetDB is told the connection.
func (f *file) SetDB(db any) { f.conn = db }

func (f *file) HasMoved() (bool, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return !f.ino.quiet && f.d.names[f.name] != f.ino, nil
}
