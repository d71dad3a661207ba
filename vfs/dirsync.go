package vfs

// DirSyncer is implemented by a base VFS that keeps directories of its own.
// SyncDir makes durable the directory entry of the named file:
// that it is there, or that it is not.
//
// For a base VFS without it, the directory of that name
// is synced with the operating system, where that is possible.
type DirSyncer interface {
	SyncDir(name string) error
}

func (v *asyncVFS) syncDir(name string) error {
	if d, ok := v.VFS.(DirSyncer); ok {
		return d.SyncDir(name)
	}
	return syncDir(name)
}
