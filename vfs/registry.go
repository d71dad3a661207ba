package vfs

import (
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// registry holds the databases that this process has open through this package,
// whichever VFS name they were opened by.
//
// Locks are taken in the order registry.mu, database.walMu, database.mu.
var registry struct {
	mu  sync.Mutex
	dbs []*database // +checklocks:mu

	// mode is what databases start in; SetMode sets it.
	mode atomic.Uint32
}

// acquire returns the state of the database, which release gives back.
func acquire(v *asyncVFS, file sqlitevfs.File, name string) (*database, error) {
	id, err := v.identify(file, name)
	if err != nil {
		return nil, sqlitevfs.SystemError(err, sqlite3.IOERR_FSTAT)
	}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	for _, db := range registry.dbs {
		if db.id.same(id) {
			db.refs++
			return db, nil
		}
	}
	db := newDatabase(v, id, name)
	db.refs = 1
	registry.dbs = append(registry.dbs, db)
	return db, nil
}

func (db *database) release() {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if db.refs--; db.refs > 0 {
		return
	}
	for i, d := range registry.dbs {
		if d == db {
			registry.dbs = append(registry.dbs[:i], registry.dbs[i+1:]...)
			return
		}
	}
}

// databases returns the open databases.
func databases() []*database {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	return append([]*database(nil), registry.dbs...)
}

// find returns the open database of that name.
func find(name string) (*database, error) {
	full := name
	if path, err := filepath.EvalSymlinks(name); err == nil {
		full = path
	}
	if path, err := filepath.Abs(full); err == nil {
		full = path
	}
	for _, db := range databases() {
		if db.name == name || db.name == full {
			return db, nil
		}
	}
	return nil, ErrNotOpen
}

// ofWAL returns the open database whose WAL has that name.
func (v *asyncVFS) ofWAL(name string) *database {
	for _, db := range databases() {
		if db.hasWAL(nameKey{v, name}) {
			return db
		}
	}
	return nil
}
