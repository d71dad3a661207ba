//go:build unix

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// syncDir makes the directory entry of name durable (H4).
// Like SQLite, it does without where the directory may not be read or is gone,
// or where the file system doesn't sync directories.
func syncDir(name string) error {
	d, err := os.Open(filepath.Dir(name))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
