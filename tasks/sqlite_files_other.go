//go:build !unix

package tasks

import sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

// A file that is open can't be moved.
func sameFile(_, _ sqlitevfs.File) bool { return true }

// A file that is open can't be deleted.
func deleted(sqlitevfs.File) bool { return false }
