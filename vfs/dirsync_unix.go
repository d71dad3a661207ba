//go:build unix

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// dirHandle is an open directory.
type dirHandle struct {
	file *os.File // nil if it can't be opened, ever
}

// openDir opens the directory at path.
// Like SQLite, it does without where the directory may not be read or is gone.
func openDir(path string) (*dirHandle, error) {
	d, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return &dirHandle{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &dirHandle{d}, nil
}

// sync makes the directory's entries durable (H4), where the file system syncs directories.
func (d *dirHandle) sync() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

func (d *dirHandle) close() {
	if d.file != nil {
		d.file.Close()
	}
}
