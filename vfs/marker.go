package vfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/ncruces/go-sqlite3"
)

// markerSuffix is what the name of a marker has after that of its database.
//
// The marker is there from a failed sync until all that it may have left undone is durable.
// It tells those who open the database later, in this process and in others on this VFS, what this one knows of the WAL:
// the kernel takes what it couldn't write for written, so that nobody else is told of it.
// To the stock VFS it means nothing.
const markerSuffix = "-unsynced"

// errorMax is how much of an error's text it keeps, in bytes.
const errorMax = 1000

// ErrMarker is returned when a WAL is opened and the marker of a failed sync beside it, the file that ends in -unsynced,
// can't be read, or isn't one; and for the one of [ErrInDoubt] by whoever waits for durability. The text says what is wrong with it.
//
// What it would say is how much of the WAL a power cut may lose. If the machine was restarted since the failure, nothing that is left can be lost,
// and the marker may be deleted. Else have the stock VFS checkpoint all of the WAL at synchronous=FULL, and then delete it.
var ErrMarker = errors.New("asyncvfs: the marker of a failed sync can't be used")

// MarkerVFS is implemented by a base VFS that keeps files elsewhere than the operating system.
// It keeps a small file beside the database while what a failed sync has left isn't durable.
// For a base VFS without it, that is a file of the operating system; where the database isn't one, there is none.
//
// Errors of a file that isn't there are [io/fs.ErrNotExist].
type MarkerVFS interface {
	// ReadMarker returns the content of the file.
	ReadMarker(name string) ([]byte, error)
	// WriteMarker makes the file, or replaces it, as a whole. It returns once its content is durable; its directory is synced next.
	WriteMarker(name string, content []byte) error
	// DeleteMarker deletes the file.
	DeleteMarker(name string) error
}

// noMarker reports whether a test has switched markers off, or what they are for.
func (db *database) noMarker() bool {
	return db.rules.Off(rules.Marker) || db.rules.Off(rules.Refresh)
}

// markerVFS returns who keeps the marker.
func (db *database) markerVFS() MarkerVFS {
	if m, ok := db.vfs.VFS.(MarkerVFS); ok {
		return m
	}
	if db.id.info == nil {
		return noMarkers{}
	}
	return osMarkers{}
}

// noMarkers is for databases that aren't files.
type noMarkers struct{}

func (noMarkers) ReadMarker(string) ([]byte, error) { return nil, fs.ErrNotExist }
func (noMarkers) WriteMarker(string, []byte) error  { return nil }
func (noMarkers) DeleteMarker(string) error         { return fs.ErrNotExist }

// osMarkers keeps files of the operating system.
type osMarkers struct{}

// ReadMarker takes no descriptor where there is no marker.
func (osMarkers) ReadMarker(name string) ([]byte, error) {
	if _, err := os.Stat(name); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

func (osMarkers) DeleteMarker(name string) error { return os.Remove(name) }

func (osMarkers) WriteMarker(name string, content []byte) (err error) {
	// Whoever may write the database may also see to the marker.
	f, err := os.OpenFile(fmt.Sprintf("%s-%d", name, os.Getpid()), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), name)
}

// marker is what the file holds.
type marker struct {
	// Header of the WAL that a sync failed of; empty if it couldn't be read.
	Header []byte `json:"wal_header"`
	// Salt is that of the last WAL that was known, if the header couldn't be read.
	Salt []byte `json:"wal_salt,omitempty"`
	// Durable is as far as the WAL with that header or salt was durable, in bytes.
	Durable int64 `json:"durable_bytes"`
	// Of is the number of the database file, if it has one, where the marker isn't of a WAL.
	Of string `json:"database_file,omitempty"`
	// Boot is when the system was started, if that has a name: after another start, what can be read is durable.
	Boot string `json:"boot,omitempty"`

	// For people.
	File string    `json:"file"` // that was synced: wal, db, dir or journal
	Err  string    `json:"error"`
	At   time.Time `json:"at"`
}

// encode returns the file's content: a line that says what it is, with a checksum of the rest, and JSON.
func (m marker) encode() ([]byte, error) {
	if m.Err = cutText(m.Err); m.Header == nil {
		m.Header = []byte{}
	}
	body, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return nil, err
	}
	body = append(body, '\n')
	return append(fmt.Appendf(nil, "asyncvfs unsynced 1 %08x\n", crc32.ChecksumIEEE(body)), body...), nil
}

func cutText(s string) string { return s[:min(len(s), errorMax)] }

func decodeMarker(raw []byte) (m marker, err error) {
	head, body, _ := bytes.Cut(raw, []byte("\n"))
	var version int
	var sum uint32
	if _, err := fmt.Sscanf(string(head), "asyncvfs unsynced %d %08x", &version, &sum); err != nil {
		return m, fmt.Errorf("it begins with %.60q", head)
	}
	if version != 1 {
		return m, fmt.Errorf("it is of version %d: want 1", version)
	}
	if crc32.ChecksumIEEE(body) != sum {
		return m, errors.New("its checksum is wrong")
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, err
	}
	if n := len(m.Header); n != 0 && n != walHeaderSize || m.Durable < 0 {
		return m, fmt.Errorf("a WAL header of %d bytes and %d durable bytes: want %d, and 0 or more", n, m.Durable, walHeaderSize)
	}
	return m, nil
}

// markers is what a database knows of its marker.
type markers struct {
	mu ioMutex
	// raw is the content that is being seen to, nil if there is none; guarded by mu
	raw []byte
	// after is how much of the WAL, as the queue counts, has to be durable before it can go, or 0; guarded by mu
	after uint64
	due   atomic.Bool // after is set
}

func (db *database) markerPath() string { return db.name + markerSuffix }

// mark writes the marker. What can't be written is logged: this process knows of it all the same.
func (db *database) mark(u *unsynced, failure *SyncError) {
	if db.noMarker() {
		return
	}
	m := marker{Durable: u.upTo.Load(), Boot: bootID(), File: failure.File, Err: failure.Err.Error(), At: time.Now().UTC()}
	if u.doubt {
		m.Salt, m.Durable = u.known.salt[:], u.known.durable
	} else {
		m.Header = u.header[:]
	}
	db.markers.mu.Lock()
	defer db.markers.mu.Unlock()
	write := func() error {
		// Another process may have failed too: what both take for durable is.
		if old, raw, err := db.readMarker(db.markerPath()); err == nil && old != nil && old.Boot == m.Boot && !bytes.Equal(raw, db.markers.raw) {
			if bytes.Equal(old.Header, m.Header) && bytes.Equal(old.Salt, m.Salt) {
				m.Durable = min(m.Durable, old.Durable)
			}
		}
		return db.writeMarker(m)
	}
	err := db.withMarker(markerPatience, write)
	if errors.Is(err, errMarkerTaken) {
		err = write() // better at the same time than not at all
	}
	if err != nil {
		db.log().Error("asyncvfs: a sync has failed, and what is in doubt can't be noted for other processes: "+
			"let this one open the database anew, and commit or async_wait, before it ends",
			"database", db.name, "marker", db.markerPath(), "err", err)
	}
}

// markerPatience is how long another process may take to write or remove the marker.
const markerPatience = time.Second

// errMarkerTaken is returned while another process writes or removes the marker.
var errMarkerTaken = errors.New("another process writes or removes it")

// withMarker calls f while no other process writes the marker or removes it.
// Where the WAL-index can't be had, none has the WAL open, or it has no locks for that.
func (db *database) withMarker(patience time.Duration, f func() error) error {
	index, err := walindex.Open(db.nextIndexPath())
	if err != nil {
		return f()
	}
	defer index.Close()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		ok, err := index.TryLock(walindex.Marker)
		if err != nil {
			return f()
		}
		if ok {
			defer index.Unlock(walindex.Marker)
			return f()
		}
		if time.Since(start) >= patience {
			return errMarkerTaken
		}
	}
}

// Called with db.markers.mu held.
func (db *database) writeMarker(m marker) (err error) {
	raw, err := m.encode()
	if err != nil {
		return err
	}
	db.markers.raw, db.markers.after = raw, 0
	db.markers.due.Store(false)
	return errors.Join(db.markerVFS().WriteMarker(db.markerPath(), raw), db.vfs.syncDir(db.markerPath()))
}

// readMarker returns the marker of that name, and what it is made of, or nil if there is none.
func (db *database) readMarker(name string) (*marker, []byte, error) {
	raw, err := db.markerVFS().ReadMarker(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	wrong := func(err error) error { return fmt.Errorf("%w: %s: %w", ErrMarker, name, err) }
	if err != nil {
		return nil, nil, wrong(err)
	}
	m, err := decodeMarker(raw)
	if err != nil {
		return nil, nil, wrong(err)
	}
	return &m, raw, nil
}

// recallMarker returns what the marker says of the WAL that has this header, or of none if ok isn't set.
// It is nil if that needn't be seen to; then there is no marker any more.
func (db *database) recallMarker(header [walHeaderSize]byte, ok bool) (*unsynced, error) {
	if db.noMarker() {
		return nil, nil
	}
	db.markers.mu.Lock()
	defer db.markers.mu.Unlock()
	m, raw, err := db.readMarker(db.markerPath())
	if err != nil {
		return nil, err
	}
	if m == nil {
		db.markers.raw, db.markers.after = nil, 0
		return nil, nil
	}
	db.markers.raw, db.markers.after = raw, 0
	db.markers.due.Store(false)
	u := &unsynced{id: db.id, file: m.File, header: header}
	boot := bootID()
	switch {
	case m.Boot != "" && boot != "" && m.Boot != boot:
		// What can be read has come from the disk.
		db.dropMarker()
		return nil, nil
	case !ok:
		db.dropMarker() // the WAL is empty: all of it was brought over
		return nil, nil
	case len(m.Header) == 0:
		if s := saltOf(header); bytes.Equal(m.Salt, s[:]) {
			u.upTo.Store(m.Durable)
		}
	case [walHeaderSize]byte(m.Header) == header:
		u.upTo.Store(m.Durable)
	default:
		db.dropMarker() // all of that WAL was brought over, and somebody has started it over
		return nil, nil
	}
	return u, nil
}

// resolved has the marker go once the WAL is durable up to seq.
func (db *database) resolved(seq uint64) {
	db.markers.mu.Lock()
	defer db.markers.mu.Unlock()
	if db.markers.raw == nil {
		return
	}
	db.markers.after = max(1, seq)
	db.markers.due.Store(true)
	if db.rules.Off(rules.MarkerStays) {
		db.dropMarker()
	}
}

// settleMarker removes the marker if its time has come: so much of the WAL is durable.
func (db *database) settleMarker(durable uint64) {
	db.markers.mu.Lock()
	defer db.markers.mu.Unlock()
	if db.markers.after == 0 || durable < db.markers.after {
		return
	}
	db.dropMarker()
}

// dropMarker removes a marker that has nothing to say any more. To leave it does no harm:
// where another process sees to it just then, that is left to the next sync, or to the next to open the database.
// Called with db.markers.mu held.
func (db *database) dropMarker() {
	if err := db.withMarker(0, db.unmark); err != nil && !errors.Is(err, errMarkerTaken) {
		db.log().Warn("asyncvfs: the marker of a failed sync can't be removed, though all is durable by now; the next to open the database tries again",
			"database", db.name, "err", err)
	}
}

// unmark removes the marker that was seen to, unless another process has written one since.
// Called with db.markers.mu held.
func (db *database) unmark() error {
	seen := db.markers.raw
	db.markers.raw, db.markers.after = nil, 0
	db.markers.due.Store(false)
	if seen == nil {
		return nil
	}
	if _, raw, err := db.readMarker(db.markerPath()); err != nil || !bytes.Equal(raw, seen) {
		return err
	}
	if err := db.markerVFS().DeleteMarker(db.markerPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: delete %s: %w", ErrMarker, db.markerPath(), err)
	}
	// If the entry comes back after a power cut, it is of another boot, or what it says is written once more.
	return db.vfs.syncDir(db.markerPath())
}

// lookForMarker is called where a process relies on what others have written. It costs one look at the directory.
// If a sync has failed in another process, what that may have left undone is to be done first.
//
// In a checkpoint of SQLite's, the connection has the lock that is needed, and SQLite has looked already how far the last one came:
// if that isn't to be trusted, this one is BUSY, and the next begins at the first frame.
func (db *database) lookForMarker(inCheckpoint bool) error {
	if db.unsynced.Load() != nil || db.failed() != nil || db.noMarker() {
		return nil
	}
	if db.markers.due.Load() {
		return nil // it goes with the next sync
	}
	if m, _, err := db.readMarker(db.markerPath()); m == nil {
		return err
	}
	header, ok, err := readWALHeader(db.walHandle())
	if err != nil {
		return err
	}
	u, err := db.recallMarker(header, ok)
	if u == nil || err != nil {
		return err
	}
	trusted := true
	if inCheckpoint {
		trusted = db.takeBackNow()
	} else if err := db.distrust(holdPatience); err != nil {
		return err
	}
	db.mu.Lock()
	db.extent = walExtent{salt: saltOf(header), durable: min(db.extent.durable, u.upTo.Load())}
	db.mu.Unlock()
	db.unsynced.CompareAndSwap(nil, u)
	if !trusted {
		return sqlite3.BUSY
	}
	return nil
}
