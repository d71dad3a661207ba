//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pgtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// hold takes the lock of a folder, which ends with this process, however that does. The file gets its name once it is locked,
// so that nobody finds it without.
func hold(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "lock")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_EX), os.Rename(f.Name(), filepath.Join(dir, lockName))); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// left reports whether a folder has a lock that nobody holds.
func left(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
