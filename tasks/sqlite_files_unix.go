//go:build unix

package tasks

import (
	"io/fs"
	"os"
	"syscall"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// osFile is what a file of go-sqlite3's own VFS has. Others may not have it.
type osFile interface {
	sqlitevfs.File
	Stat() (fs.FileInfo, error)
}

// sameFile reports whether two files that are open are one. It is true where that can't be told.
func sameFile(a, b sqlitevfs.File) bool {
	x, ok := vfsutil.UnwrapFile[osFile](a)
	y, ok2 := vfsutil.UnwrapFile[osFile](b)
	if !ok || !ok2 {
		return true
	}
	i, err := x.Stat()
	j, err2 := y.Stat()
	return err != nil || err2 != nil || os.SameFile(i, j)
}

func deleted(f sqlitevfs.File) bool {
	file, ok := vfsutil.UnwrapFile[osFile](f)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Nlink == 0
}
