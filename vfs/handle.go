package vfs

import (
	"context"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// WaitDurableFile is [WaitDurable] for a database's file that SQLite has open, as [sqlite3.Conn.FileControl] returns it
// for FCNTL_FILE_POINTER, whatever has become of the file's name. The file must not be closed meanwhile.
// It returns [ErrNotOpen] for a file of another VFS.
//
// [sqlite3.Conn.FileControl]: https://pkg.go.dev/github.com/ncruces/go-sqlite3#Conn.FileControl
func WaitDurableFile(ctx context.Context, f sqlitevfs.File) error {
	db, ok := vfsutil.UnwrapFile[*dbFile](f)
	if !ok {
		return ErrNotOpen
	}
	return db.db.waitDurable(ctx, nil)
}
