//go:build (linux || darwin) && (386 || arm || amd64 || arm64 || riscv64 || ppc64le || loong64) && !(sqlite3_flock || sqlite3_dotlk)

package walindex

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// WithIOLock calls f while nobody writes part of a block of the database's files, or, if exclusive is set, reads or writes one.
// path is that of the WAL-index, where go-sqlite3 has locks for that, from v0.37 on: each is for some of the blocks, and held for a moment.
// If there is no WAL-index, nobody uses the files.
//
// https://pkg.go.dev/github.com/ncruces/go-sqlite3/vfs#SharedMemory
func WithIOLock(path string, exclusive bool, f func() error) error {
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return f()
	}
	if err != nil {
		return err
	}
	// It gives up the locks.
	defer file.Close()
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Start: locksAt + int64(FirstIOLock), Len: ioLocks}
	if exclusive {
		lock.Type = syscall.F_WRLCK
	}
	for {
		err := syscall.FcntlFlock(file.Fd(), ofdWaitLock, &lock)
		if err == nil {
			return f()
		}
		if err != syscall.EINTR {
			return fmt.Errorf("lock %s: %w", path, err)
		}
	}
}
