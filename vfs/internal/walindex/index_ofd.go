//go:build (linux || darwin) && (386 || arm || amd64 || arm64 || riscv64 || ppc64le || loong64) && !(sqlite3_flock || sqlite3_dotlk)

package walindex

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Supported says that [Open] may succeed.
const Supported = true

// Index is a WAL-index that somebody else has made and uses.
//
// A connection of SQLite must use the same file for as long as the Index is open:
// whoever finds it unused makes it empty, and what is mapped of it would be gone.
type Index struct {
	file   *os.File
	region []byte // the first, mapped
}

// Open opens the WAL-index at path. It makes none.
//
// Open file description locks belong to the descriptor, so this one's are told from those of all connections,
// also of the same process, and closing it gives up no lock of theirs.
func Open(path string) (*Index, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotThere
		}
		return nil, err
	}
	x := &Index{file: f}
	if err := x.open(); err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return x, nil
}

func (x *Index) open() error {
	// Who uses the index has this byte locked. With nobody there it isn't to be trusted.
	used, err := x.lockOf(deadMans)
	if err != nil {
		return err
	}
	if used != syscall.F_RDLCK {
		return ErrNotThere
	}
	if ok, err := x.lock(syscall.F_RDLCK, deadMans); err != nil || !ok {
		return errors.Join(ErrNotThere, err)
	}
	info, err := x.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < regionSize {
		return ErrNotThere
	}
	x.region, err = syscall.Mmap(int(x.file.Fd()), 0, regionSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return err
}

// Close gives up all locks.
func (x *Index) Close() error {
	return errors.Join(syscall.Munmap(x.region), x.file.Close())
}

func (x *Index) word(at int) *uint32 { return (*uint32)(unsafe.Pointer(&x.region[at])) }

// Header returns what the last commit has published. It is false if it was being written.
// No lock is needed, and nobody is kept waiting.
func (x *Index) Header() (Header, bool) {
	var first, second [headerSize]byte
	// A writer writes the second one first.
	x.copy(&first, 0)
	x.copy(&second, headerSize)
	if first != second {
		return Header{}, false
	}
	return parse(&first)
}

func (x *Index) copy(to *[headerSize]byte, at int) {
	for i := 0; i < headerSize; i += 4 {
		binary.LittleEndian.PutUint32(to[i:], atomic.LoadUint32(x.word(at+i)))
	}
}

// Backfilled returns how many frames, the first ones, the database file has.
func (x *Index) Backfilled() uint32 { return atomic.LoadUint32(x.word(infoAt)) }

// SetBackfilled sets that. The caller has the [Checkpoint] lock.
func (x *Index) SetBackfilled(frame uint32) { atomic.StoreUint32(x.word(infoAt), frame) }

// SetAttempted says that frames up to that one may be in the database file. The caller has the [Checkpoint] lock.
func (x *Index) SetAttempted(frame uint32) { atomic.StoreUint32(x.word(attemptedAt), frame) }

// Attempted returns up to which frame the database file may have pages.
func (x *Index) Attempted() uint32 { return atomic.LoadUint32(x.word(attemptedAt)) }

// ReadMark returns up to which frame the readers use the WAL who have the lock of this mark,
// or [NoMark].
func (x *Index) ReadMark(i int) uint32 { return atomic.LoadUint32(x.word(infoAt + 4 + 4*i)) }

// SetReadMark sets a read mark. The caller has its lock.
func (x *Index) SetReadMark(i int, frame uint32) {
	atomic.StoreUint32(x.word(infoAt+4+4*i), frame)
}

// PageNumbers returns the page numbers of the frames from first to last.
// They are right if the frames are valid, and nobody restarts the WAL meanwhile.
func (x *Index) PageNumbers(first, last uint32) ([]uint32, error) {
	pages := make([]uint32, 0, last-first+1)
	buf := make([]byte, 4*moreFrames)
	for first <= last {
		at, more := place(first)
		n := min(more, last-first) + 1
		if _, err := x.file.ReadAt(buf[:4*n], at); err != nil {
			return nil, fmt.Errorf("read %s: %w", x.file.Name(), err)
		}
		for i := range n {
			pages = append(pages, binary.LittleEndian.Uint32(buf[4*i:]))
		}
		first += n
	}
	return pages, nil
}

// TryLock takes a lock, and keeps all others from it, if nobody has it.
func (x *Index) TryLock(l Lock) (bool, error) { return x.lock(syscall.F_WRLCK, locksAt+int64(l)) }

// Unlock gives a lock back.
func (x *Index) Unlock(l Lock) error {
	_, err := x.lock(syscall.F_UNLCK, locksAt+int64(l))
	return err
}

// Held reports whether somebody else has a lock. Nobody is kept from it by that.
func (x *Index) Held(l Lock) (bool, error) {
	typ, err := x.lockOf(locksAt + int64(l))
	return typ != syscall.F_UNLCK, err
}

func (x *Index) lock(typ int16, at int64) (bool, error) {
	for {
		err := syscall.FcntlFlock(x.file.Fd(), ofdSetLock, &syscall.Flock_t{Type: typ, Start: at, Len: 1})
		switch err {
		case nil:
			return true, nil
		case syscall.EAGAIN, syscall.EACCES:
			return false, nil
		case syscall.EINTR:
		default:
			return false, fmt.Errorf("lock %s: %w", x.file.Name(), err)
		}
	}
}

// lockOf returns what lock the others have.
func (x *Index) lockOf(at int64) (typ int16, err error) {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: at, Len: 1}
	for {
		err := syscall.FcntlFlock(x.file.Fd(), ofdGetLock, &lock)
		if err == nil {
			return lock.Type, nil
		}
		if err != syscall.EINTR {
			return 0, fmt.Errorf("look at a lock of %s: %w", x.file.Name(), err)
		}
	}
}
