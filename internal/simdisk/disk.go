package simdisk

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// Image is what a disk holds: files by name.
type Image map[string][]byte

// Config is how a disk behaves.
type Config struct {
	// ShmDir is a directory of the operating system, for the WAL-index.
	ShmDir string
	// Powersafe is what SQLite calls powersafe overwrite:
	// a write that a power cut interrupts harms no bytes beside its own.
	// Otherwise the rest of the sector is lost with it.
	//
	// https://sqlite.org/psow.html
	Powersafe bool
	// Linear is what SQLite takes for granted: a power cut leaves of a write to a sector its beginning or its end,
	// and what was there before in the rest. Otherwise it may leave anything.
	//
	// https://sqlite.org/atomiccommit.html#hardware
	Linear bool
	// SectorSize is the sector size that is reported. Default 4096.
	SectorSize int
	// Ordered is how a journalling file system such as ext4 keeps directory entries:
	// changes reach the disk in order, and a sync of any file carries along those before it.
	// Otherwise they reach it in any order, and only a sync of the directory makes them durable.
	Ordered bool
	// Gate is called before each operation that the trace records, with no lock held.
	Gate func(Op)
	// Fault is called for each such operation.
	Fault func(Op) Fault
	// SpaceLimit is the size in bytes of all files together past which the disk is full; 0 is none.
	SpaceLimit int64
	// Quiet records no trace.
	Quiet bool
}

// Op is an operation that is about to be done.
type Op struct {
	Kind   EventKind
	Name   string // the name that the file was opened by
	Handle int    // number of the handle, in the order in which they were opened
	Off    int64
	Size   int
	Conn   any // of a write: the connection, if it is known
	// Process has done it, and Stock is set if that is one on the stock VFS.
	Process int
	Stock   bool
	// Partial is set for a sync of a database file by a process on the stock VFS that doesn't cover all
	// that such processes have brought over and not made durable: they may say all the same that it is there.
	Partial bool
}

// Fault is what goes wrong with an operation. The zero Fault is nothing.
type Fault struct {
	Err error
	// Short is how many bytes of a write that fails get written.
	Short int
	// Lost is whether a sync that fails drops what it should have written.
	Lost bool
	// Hang is how long the operation takes.
	Hang time.Duration
}

// Disk is a simulated disk, with one directory.
// Its files are opened with the VFSes of this package, by the names that Path returns.
type Disk struct {
	cfg   Config
	id    string
	start time.Time

	mu      sync.Mutex
	failed  int  // syncs that failed
	failing int  // syncs that run and will fail
	told    bool // a process on the stock VFS was told of a failed sync of a WAL
	names   map[string]*inode
	files   int
	handles int
	trace   []Event

	markers sync.Map // names to contents
}

// inode is a file, under whatever name.
type inode struct {
	id    int
	data  []byte
	quiet bool // temporary: a power cut leaves nothing of it
	locks locks
	// errors counts failed syncs: one is reported to each handle that was open by then, by the next sync of that.
	errors int
	// stockWrites are those of processes on the stock VFS, of which stockSynced were made durable.
	stockWrites, stockSynced int
}

var disks = struct {
	sync.RWMutex
	byID map[string]*Disk
	last int
}{byID: map[string]*Disk{}}

// NewDisk returns a disk that holds the image, durably. Remove it after use.
func NewDisk(img Image, cfg Config) *Disk {
	if cfg.SectorSize == 0 {
		cfg.SectorSize = 4096
	}
	d := &Disk{cfg: cfg, start: time.Now(), names: map[string]*inode{}}
	for _, name := range slices.Sorted(maps.Keys(img)) {
		d.names[name] = &inode{id: d.files, data: bytes.Clone(img[name])}
		d.files++
	}
	disks.Lock()
	defer disks.Unlock()
	disks.last++
	d.id = strconv.Itoa(disks.last)
	disks.byID[d.id] = d
	return d
}

// Remove forgets the disk. Its files must be closed.
func (d *Disk) Remove() {
	disks.Lock()
	defer disks.Unlock()
	delete(disks.byID, d.id)
}

// Path returns the path to open a file by.
func (d *Disk) Path(name string) string { return "/" + d.id + "/" + name }

func find(p string) (*Disk, string, error) {
	disks.RLock()
	defer disks.RUnlock()
	id, _, _ := strings.Cut(strings.TrimPrefix(path.Dir(p), "/"), "@")
	d := disks.byID[id]
	if d == nil {
		return nil, "", fmt.Errorf("powercut: no disk for %s", p)
	}
	return d, path.Base(p), nil
}

// PathIn returns the path to open a file by in a process: see [Async].
// It differs from process to process, for what a process finds by its name.
func (d *Disk) PathIn(process int, name string) string {
	return fmt.Sprintf("/%s@%d/%s", d.id, process, name)
}

// Image returns what the disk holds, durable or not.
func (d *Disk) Image() Image {
	d.mu.Lock()
	defer d.mu.Unlock()
	img := Image{}
	for name, ino := range d.names {
		img[name] = bytes.Clone(ino.data)
	}
	return img
}

// Trace returns what happened so far.
func (d *Disk) Trace() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trace[:len(d.trace):len(d.trace)]
}

// Mark puts a mark in the trace, and returns its place and time.
func (d *Disk) Mark(note any) (int, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record(Event{Kind: Mark, Note: note}), time.Since(d.start)
}

// FailedSyncs returns how many syncs have failed.
func (d *Disk) FailedSyncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Failing reports whether a sync runs that will fail.
func (d *Disk) Failing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failing > 0
}

// Told reports whether a process on the stock VFS was told that a sync of a WAL has failed.
func (d *Disk) Told() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told
}

// Mend makes room for any number of files.
func (d *Disk) Mend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cfg.SpaceLimit = 0
}

// used returns the size of all files. It needs d.mu.
func (d *Disk) used() (size int64) {
	for _, ino := range d.names {
		size += int64(len(ino.data))
	}
	return size
}

// Len returns the length of the trace, and the time.
func (d *Disk) Len() (int, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.trace), time.Since(d.start)
}

// record needs d.mu.
func (d *Disk) record(e Event) int {
	if d.cfg.Quiet {
		return 0
	}
	e.Time = time.Since(d.start)
	d.trace = append(d.trace, e)
	return len(d.trace) - 1
}

// begin lets an operation begin. It returns what goes wrong with it.
func (d *Disk) begin(op Op) Fault {
	if d.cfg.Gate != nil {
		d.cfg.Gate(op)
	}
	var f Fault
	if d.cfg.Fault != nil {
		f = d.cfg.Fault(op)
	}
	if f.Hang > 0 && op.Kind != SyncStart && op.Kind != DirSyncStart {
		time.Sleep(f.Hang)
	}
	return f
}

// open returns the file of that name, and makes it if create is set.
func (d *Disk) open(name string, create bool) (*inode, error) {
	d.mu.Lock()
	ino := d.names[name]
	d.mu.Unlock()
	if ino != nil {
		return ino, nil
	}
	if !create {
		return nil, sqlite3.CANTOPEN
	}
	if f := d.begin(Op{Kind: Link, Name: name}); f.Err != nil {
		return nil, f.Err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if ino := d.names[name]; ino != nil {
		return ino, nil
	}
	ino = &inode{id: d.files}
	d.files++
	d.names[name] = ino
	d.record(Event{Kind: Link, File: ino.id, Name: name})
	return ino, nil
}

func (d *Disk) unlink(name string) error {
	d.mu.Lock()
	ino := d.names[name]
	d.mu.Unlock()
	if ino == nil {
		return sqlite3.IOERR_DELETE_NOENT
	}
	if f := d.begin(Op{Kind: Unlink, Name: name}); f.Err != nil {
		return f.Err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] != ino {
		return sqlite3.IOERR_DELETE_NOENT
	}
	delete(d.names, name)
	d.record(Event{Kind: Unlink, File: ino.id, Name: name})
	return nil
}

// syncDir makes the directory durable.
func (d *Disk) syncDir(name string) error {
	return d.sync(Op{Kind: DirSyncStart, Name: name}, nil, DirSyncEnd)
}

// sync syncs the file of a handle, or the directory if that is nil.
//
// A failed sync is reported once to each handle that was open before it, as with Linux.
// What else that sync was to write got to the disk or waits for the next one.
func (d *Disk) sync(op Op, h *file, end EventKind) error {
	file := -1
	if h != nil {
		file = h.ino.id
	}
	called := time.Since(d.start)
	f := d.begin(op)
	d.mu.Lock()
	start := d.record(Event{Kind: op.Kind, File: file, Name: op.Name, Called: called})
	if f.Err != nil {
		d.failing++
	}
	var stockWrites int
	if h != nil {
		stockWrites = h.ino.stockWrites
	}
	d.mu.Unlock()
	if f.Hang > 0 {
		time.Sleep(f.Hang)
	}
	if d.cfg.Gate != nil {
		op.Kind = end
		d.cfg.Gate(op)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.Err != nil {
		d.failing--
	}
	if h != nil {
		if f.Err != nil {
			h.ino.errors++
		} else if h.errors != h.ino.errors {
			f = Fault{Err: syscall.EIO}
		} else {
			h.ino.stockSynced = max(h.ino.stockSynced, stockWrites)
		}
		h.errors = h.ino.errors
		d.told = d.told || f.Err != nil && op.Stock && strings.HasSuffix(op.Name, "-wal")
	}
	e := d.record(Event{Kind: end, File: file, Name: op.Name, Pair: start, Err: f.Err, Lost: f.Lost})
	if !d.cfg.Quiet {
		d.trace[start].Pair = e
	}
	if f.Err != nil {
		d.failed++
	}
	return f.Err
}

func (d *Disk) write(ino *inode, op Op, p []byte) (int, error) {
	var f Fault
	if !ino.quiet {
		f = d.begin(op)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	grown := op.Off + int64(len(p)) - int64(len(ino.data))
	if f.Err == nil && grown > 0 && d.cfg.SpaceLimit > 0 && d.used()+grown > d.cfg.SpaceLimit {
		f.Err = sqlite3.FULL
		f.Short = int(max(0, int64(len(p))-grown))
	}
	if f.Err != nil {
		p = p[:min(len(p), f.Short)]
	}
	if len(p) == 0 {
		return 0, f.Err
	}
	ino.data = put(ino.data, p, op.Off)
	if op.Stock {
		ino.stockWrites++
	}
	if !ino.quiet {
		d.record(Event{Kind: Write, File: ino.id, Name: op.Name, Off: op.Off, Data: bytes.Clone(p), Conn: op.Conn})
	}
	return len(p), f.Err
}

func (d *Disk) truncate(ino *inode, op Op) error {
	if !ino.quiet {
		if f := d.begin(op); f.Err != nil {
			return f.Err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ino.data = resize(ino.data, op.Off)
	if !ino.quiet {
		d.record(Event{Kind: Truncate, File: ino.id, Name: op.Name, Off: op.Off})
	}
	return nil
}

// put writes p into data at off, and returns data, grown where needed.
func put(data, p []byte, off int64) []byte {
	if end := off + int64(len(p)); end > int64(len(data)) {
		data = resize(data, end)
	}
	copy(data[off:], p)
	return data
}

// resize returns data with that size. What is added is zero.
func resize(data []byte, size int64) []byte {
	n := int64(len(data))
	if size <= n {
		return data[:size]
	}
	data = slices.Grow(data, int(size-n))[:size]
	clear(data[n:])
	return data
}

var _ sqlitevfs.VFSFilename = Base{}
