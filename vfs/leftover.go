package vfs

import (
	"math"

	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// syncLeftover has the syncer sync a WAL that was there when it was opened: of what a process has left that was killed,
// nothing need be durable, and connections may read it, and build on it elsewhere, for as long as nobody writes.
// Until that is done all of it counts as pending.
// Called with db.mu held.
func (db *database) syncLeftover(wal sqlitevfs.File) {
	size, err := wal.Size()
	if err != nil || size == 0 {
		return
	}
	db.queue.Wrote(syncqueue.WAL, int(min(size, math.MaxInt32)))
	now := db.now()
	db.queue.Request(syncqueue.Request[*waiter]{
		File: syncqueue.WAL, Seq: db.queue.Written(syncqueue.WAL), Deadline: now,
	}, now)
}
