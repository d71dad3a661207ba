package vfs

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// FileIdentity is implemented by the files of a base VFS that isn't made of operating system files.
// Handles of the same file return equal values, which must be comparable,
// and those of another file, also one made later under the same name, other values.
//
// Without it a file is known by its device and inode, or, where it has none, by its name.
type FileIdentity interface {
	sqlitevfs.File
	Identity() any
}

type statFile interface {
	sqlitevfs.File
	Stat() (fs.FileInfo, error)
}

// identity tells files apart, whatever the names that they were opened by.
type identity struct {
	key  any         // equal for the same file, if not nil
	info fs.FileInfo // for os.SameFile, where there is no key
}

type nameKey struct {
	vfs  *asyncVFS
	name string
}

func (v *asyncVFS) identify(file sqlitevfs.File, name string) (identity, error) {
	if f, ok := vfsutil.UnwrapFile[FileIdentity](file); ok {
		return identity{key: f.Identity()}, nil
	}
	if f, ok := vfsutil.UnwrapFile[statFile](file); ok {
		info, err := f.Stat()
		if err != nil {
			return identity{}, err
		}
		return identity{key: inode(info), info: info}, nil
	}
	return identity{key: nameKey{v, name}}, nil
}

// number is the file's, as text, where the operating system has one.
func (a identity) number() string {
	if a.info == nil || a.key == nil {
		return ""
	}
	return fmt.Sprint(a.key)
}

func (a identity) same(b identity) bool {
	if a.key != nil || b.key != nil {
		return a.key == b.key
	}
	return a.info != nil && b.info != nil && os.SameFile(a.info, b.info)
}
