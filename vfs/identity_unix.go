//go:build unix

package vfs

import (
	"io/fs"
	"syscall"
)

type inodeKey struct {
	dev, ino uint64
}

// inode returns the device and inode of a file.
func inode(info fs.FileInfo) any {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return inodeKey{uint64(st.Dev), uint64(st.Ino)}
	}
	return nil
}
