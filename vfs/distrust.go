package vfs

import (
	"errors"
	"fmt"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
)

// nBackfill in the WAL-index says how many frames the database file has.
// Whoever believes it never brings those frames over again, and the WAL is started over without them.
// So it must not count what isn't durable (H2), and after a failed sync nobody knows what is.

// distrustPatience is how long it is tried at most to get the lock of a checkpoint that another one has, whose disk may hang.
const distrustPatience = 30 * time.Second

// errDistrust is why the WAL can't be opened.
var errDistrust = errors.New("after a failed sync, frames must be brought over once more, and another checkpoint goes on and on")

// syncPartial makes the database file durable at the end of SQLite's own checkpoint,
// if that doesn't bring over all of the WAL. SQLite says all the same that what it has brought over needn't be read any more,
// and to sync the database file is left to the checkpoint that ends it, maybe of another process:
// if that sync fails, these pages are lost and never written again.
func (f *dbFile) syncPartial() {
	if index, err := walindex.Open(f.db.indexPath()); err == nil {
		h, ok := index.Header()
		whole := ok && index.Attempted() == h.MaxFrame
		index.Close()
		if whole {
			return // SQLite syncs it next, or Truncate does at synchronous=OFF
		}
	}
	if f.db.rules.Off(rules.Partial) {
		f.endCheckpoint(nil)
		return
	}
	// Nobody can be told of an error here. It fails the database, and then nBackfill is taken back:
	// after SQLite has set it, and before it gives up the lock. See [dbFile.SharedMemory].
	err := f.syncDB(true)
	f.takeBack = err != nil
	f.endCheckpoint(err)
}

// takeBackNow is called by a connection that has the checkpoint lock: a sync of the database file has failed
// in its checkpoint. Nobody else can end that checkpoint before.
//
// It reports whether nothing was brought over.
func (db *database) takeBackNow() (nothing bool) {
	if db.rules.Off(rules.Distrust) {
		return true
	}
	index, err := walindex.Open(db.indexPath())
	if err != nil {
		return false
	}
	defer index.Close()
	nothing = index.Backfilled() == 0
	index.SetBackfilled(0)
	return nothing
}

// takeBack does that after another failure. Until it has succeeded the database is failed;
// whoever opens it anew does it first.
func (db *database) takeBack() {
	u := db.recallOwn()
	if u == nil {
		return
	}
	if err := db.distrust(distrustPatience); err != nil {
		db.log().Error("asyncvfs: after a failed sync, what was brought over to the database file is still taken for durable by other processes",
			"database", db.name, "err", err)
	}
	if db.startedOver(u) {
		db.log().Error("asyncvfs: another process has started the WAL over since a sync of the database file failed; "+
			"if its own sync of that didn't fail too, or there was none, as at synchronous=OFF, check the database, such as with PRAGMA integrity_check",
			"database", db.name)
	}
}

// startedOver reports whether another process has started the WAL over since a sync of the database file failed,
// so that it may be too late to take anything back. As a rule it isn't: whoever does that has synced the database file before,
// and the kernel tells each handle that was open of what it couldn't write.
func (db *database) startedOver(u *unsynced) bool {
	done, open := db.useWAL()
	defer done()
	if !open || u.file != syncqueue.DB.String() || u.doubt {
		return false
	}
	header, ok, err := readWALHeader(db.walHandle())
	return err == nil && ok && header != u.header
}

// distrust has all frames of the WAL brought over once more, by the next checkpoint of whichever process.
// To those who read it doesn't matter: they never take less than nBackfill for too little.
//
// Where nobody uses the WAL-index, the next one to open the database makes it anew, with nothing brought over.
func (db *database) distrust(patience time.Duration) error {
	if db.rules.Off(rules.Distrust) {
		return nil
	}
	index, err := walindex.Open(db.nextIndexPath())
	if errors.Is(err, walindex.ErrNotThere) || errors.Is(err, walindex.ErrUnsupported) || err != nil && db.rules.Off(rules.Doubt) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("asyncvfs: %s: take back what was brought over before a sync failed: %w", db.name, err)
	}
	defer index.Close()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		ok, err := index.TryLock(walindex.Checkpoint)
		if err != nil {
			return err
		}
		if ok {
			index.SetBackfilled(0)
			return index.Unlock(walindex.Checkpoint)
		}
		if time.Since(start) > patience {
			return fmt.Errorf("asyncvfs: %s: %w", db.name, errDistrust)
		}
	}
}
