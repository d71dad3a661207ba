//go:build !unix

package vfs

import "io/fs"

// inode returns nil: [os.SameFile] compares files here.
func inode(fs.FileInfo) any { return nil }
