//go:build !unix

package vfs

// syncDir does nothing: directories can't be synced here,
// and the file system keeps their entries in a journal of its own.
func syncDir(string) error { return nil }
