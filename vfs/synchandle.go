package vfs

import (
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// syncHandle is a handle of the WAL by which one sync at a time is done. syncer.mu guards its fields but file.
//
// Several syncs run at a time by several handles: the operating system tells each handle once of what it couldn't write
// since the handle was opened, so that each sync learns by itself whether what it covers is durable.
type syncHandle struct {
	file   sqlitevfs.File
	busy   bool
	covers int64               // as far as the sync that runs makes the WAL durable
	header [walHeaderSize]byte // that the sync that runs has found
}

// openSyncHandles returns own's handle, and as many more as syncs may run at a time.
// H5: they are opened before this process's first write. With fewer of them, fewer syncs run at a time.
func openSyncHandles(v *asyncVFS, name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag, own *walHandle) []*syncHandle {
	handles := []*syncHandle{{file: own}}
	for len(handles) < maxInFlight {
		file, _, err := v.openBase(name, flags&^(sqlitevfs.OPEN_CREATE|sqlitevfs.OPEN_EXCLUSIVE))
		if err != nil {
			break
		}
		handles = append(handles, &syncHandle{file: file})
	}
	return handles
}

// takeHandle returns a handle for a sync of the WAL. As many syncs as handles run at a time.
// Called with mu held.
func (s *syncer) takeHandle() *syncHandle {
	for _, h := range s.handles {
		if !h.busy {
			h.busy = true
			return h
		}
	}
	panic("asyncvfs: more syncs of a WAL than handles")
}
