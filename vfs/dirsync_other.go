//go:build !unix

package vfs

// dirHandle is nothing: directories can't be synced here,
// and the file system keeps their entries in a journal of its own.
type dirHandle struct{}

func openDir(string) (*dirHandle, error) { return &dirHandle{}, nil }
func (*dirHandle) sync() error           { return nil }
func (*dirHandle) close()                {}
