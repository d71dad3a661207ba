package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// In WAL mode, what a failed sync leaves undone is in the WAL, and is written once more.
// In a rollback-journal mode there is nothing to write it from: the kernel takes the pages for written,
// and nobody can tell those that it still has from those that it has given up.
// So what was committed until then stays in doubt, and waits say so,
// until the system was started anew (what can be read then is durable), or the database file is another one.
// A marker tells those who open the database later, as [markerSuffix] does of a WAL.

// doubtSuffix is what the name of that marker has after that of its database.
const doubtSuffix = "-doubtful"

// ErrInDoubt is returned by whoever waits for durability of a database in a rollback-journal mode
// of which a sync has failed before it was opened, in this process or another:
// what was committed until then may be lost on a power cut, and no sync can tell or change that.
//
// It ends when the system is started anew, or when the database file is replaced by one that VACUUM INTO has made.
// Where starts of the system have no name (all but Linux), the file that ends in -doubtful is to be deleted by hand then.
var ErrInDoubt = errors.New("asyncvfs: a sync has failed in a rollback-journal mode: what was committed until then may be lost on a power cut")

func (db *database) doubtPath() string { return db.name + doubtSuffix }

// inDoubt notes that a sync has failed that made commits of a rollback-journal mode durable:
// until the database is closed, and, if it stays, for who opens it later too.
func (db *database) inDoubt(failure *SyncError, stays bool) *SyncError {
	if !db.coverage.doubt.CompareAndSwap(nil, failure) {
		return db.coverage.doubt.Load()
	}
	if !stays || db.noMarker() {
		return failure
	}
	raw, err := marker{Of: db.id.number(), Boot: bootID(), File: failure.File, Err: failure.Err.Error(), At: time.Now().UTC()}.encode()
	if err == nil {
		err = errors.Join(db.markerVFS().WriteMarker(db.doubtPath(), raw), db.vfs.syncDir(db.doubtPath()))
	}
	if err != nil {
		db.log().Error("asyncvfs: a sync has failed, and what is in doubt can't be noted for who opens the database later: copy it by VACUUM INTO",
			"database", db.name, "marker", db.doubtPath(), "err", err)
	}
	return failure
}

// lookForDoubt returns what is in doubt, by this process or the marker of another. It costs one look at the directory.
func (db *database) lookForDoubt() error {
	if doubt := db.coverage.doubt.Load(); doubt != nil {
		return doubt
	}
	if db.noMarker() {
		return nil
	}
	m, _, err := db.readMarker(db.doubtPath())
	if m == nil {
		db.coverage.looked.Store(err == nil)
		return err
	}
	if boot := bootID(); m.Boot != "" && boot != "" && m.Boot != boot || m.Of != db.id.number() {
		if err := db.markerVFS().DeleteMarker(db.doubtPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			db.log().Warn("asyncvfs: the marker of a failed sync can't be removed, though nothing is in doubt any more", "database", db.name, "err", err)
		}
		return nil
	}
	db.coverage.doubt.CompareAndSwap(nil, &SyncError{
		Err:      fmt.Errorf("%w: at %s: %s", ErrInDoubt, m.At.Format(time.RFC3339), m.Err),
		Database: db.name, File: m.File,
	})
	return db.coverage.doubt.Load()
}
