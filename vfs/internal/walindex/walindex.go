// Package walindex reads SQLite's WAL-index, the file that ends in -shm, and takes the locks that lie in it,
// beside the connections of SQLite that use the same one, in this process and in others.
//
// It knows the file's format, not what may be done with it:
// that is for who checkpoints, and stands in SQLite's wal.c at walCheckpoint.
//
// https://sqlite.org/walformat.html#the_wal_index_file_format
package walindex

import (
	"encoding/binary"
	"errors"
)

// ErrUnsupported is returned by [Open] where go-sqlite3 keeps the WAL-index elsewhere than in a mapped file with OFD locks.
var ErrUnsupported = errors.New("walindex: not supported on this system")

// ErrNotThere is returned by [Open] if nobody has made the index yet, or nobody uses it any more.
var ErrNotThere = errors.New("walindex: there is no WAL-index in use")

// Readers is the number of read locks and of read marks.
const Readers = 5

// NoMark is the value of a read mark that isn't used.
const NoMark = 0xffffffff

// Lock is one of the locks of a WAL-index.
//
// https://sqlite.org/walformat.html#wal_locks
type Lock int

// The locks. Each of the [Readers] has one of its own.
const (
	Write      Lock = 0
	Checkpoint Lock = 1
	Recover    Lock = 2
	// Backfill isn't SQLite's: it stands far behind the last byte that SQLite locks.
	// Those right behind that are go-sqlite3's, for parts of files that an encrypting VFS reads and writes.
	// Who checkpoints beside SQLite has it from the first page that is copied until nBackfill is published,
	// also while the [Checkpoint] lock is given up.
	Backfill Lock = 100
	// Marker isn't either. Who has it may write or remove the marker of a failed sync.
	Marker Lock = 101
	// FirstIOLock is the first of go-sqlite3's, as [WithIOLock] takes them.
	FirstIOLock Lock = 9
)

// Read returns the lock of a read mark, from 0 to 4.
func Read(i int) Lock { return Lock(3 + i) }

// Header is what the last commit has published.
type Header struct {
	PageSize int     // in bytes
	MaxFrame uint32  // number of the last valid frame in the WAL; the first one is 1
	Pages    uint32  // size of the database
	Salt     [8]byte // of the WAL's header, as it stands there
}

const (
	headerSize  = 48  // of one of the two copies of the header
	infoAt      = 96  // where nBackfill stands, and the read marks behind it
	attemptedAt = 128 // where nBackfillAttempted stands
	framesAt    = 136 // where the page numbers of the first region begin

	locksAt  = 120 // the byte of the first lock
	deadMans = 128 // the byte that everybody who uses the index has locked

	ioLocks = 7 // go-sqlite3's locks for parts of blocks

	regionSize  = 32768
	firstFrames = (regionSize - framesAt - 8192*2) / 4 // frames in the first region
	moreFrames  = 4096                                 // and in each of the others
)

// parse reads a copy of the header. It is false if that isn't whole.
//
// The index is written in the byte order of the machine that SQLite runs on, which is a little-endian one.
func parse(b *[headerSize]byte) (h Header, ok bool) {
	le := binary.LittleEndian
	var s1, s2 uint32
	for i := 0; i < 40; i += 8 {
		s1 += le.Uint32(b[i:]) + s2
		s2 += le.Uint32(b[i+4:]) + s1
	}
	if b[12] == 0 || le.Uint32(b[40:]) != s1 || le.Uint32(b[44:]) != s2 {
		return Header{}, false
	}
	size := int(le.Uint16(b[14:]))
	h = Header{
		PageSize: size&0xfe00 + size&1<<16, // 1 stands for 64 KiB
		MaxFrame: le.Uint32(b[16:]),
		Pages:    le.Uint32(b[20:]),
		Salt:     [8]byte(b[32:40]),
	}
	return h, true
}

// place returns where the page number of a frame stands,
// and how many more follow it in the same region.
func place(frame uint32) (at int64, more uint32) {
	if frame <= firstFrames {
		return framesAt + 4*int64(frame-1), firstFrames - frame
	}
	n := frame - firstFrames - 1
	region, i := int64(1+n/moreFrames), n%moreFrames
	return region*regionSize + 4*int64(i), moreFrames - 1 - i
}
