package vfs

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// registry holds the databases that this process has open through this package,
// whichever VFS name they were opened by.
//
// The order of locks is in ARCHITECTURE.md: this one is the first.
var registry struct {
	mu  sync.Mutex
	dbs []*database // guarded by mu

	observers []*observer // of events, in the order in which they were added; guarded by mu
	loggers   []*observer // of databases by name; guarded by mu

	// unsyncedMu guards the list and whether each is over. No lock is taken while it is held.
	unsyncedMu sync.Mutex
	unsynced   []*unsynced

	// mode is what databases start in; SetMode sets it.
	mode atomic.Uint32
}

// lease is a connection's part in a database.
// It holds on to the connection's files: were they closed by the garbage collector,
// because the connection was dropped without being closed,
// another database could get the inode while the registry still knows this one by it.
type lease struct {
	db   *database
	file sqlitevfs.File
	wal  sqlitevfs.File // nil while the connection doesn't have the WAL open
}

// acquire returns a lease of the database, which ends with end.
func acquire(v *asyncVFS, file sqlitevfs.File, name *sqlitevfs.Filename) (*lease, error) {
	id, err := v.identify(file, name.String())
	if err != nil {
		return nil, sqlitevfs.SystemError(err, sqlite3.IOERR_FSTAT)
	}
	lookAgain()
	l, opened := newLease(v, file, name, id)
	if opened {
		l.db.tellOpened()
	}
	return l, nil
}

// newLease returns a lease of the database, and whether it is the first.
func newLease(v *asyncVFS, file sqlitevfs.File, name *sqlitevfs.Filename, id identity) (l *lease, opened bool) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	var db *database
	for _, d := range registry.dbs {
		if d.id.same(id) {
			db = d
			break
		}
	}
	if db == nil {
		db = newDatabase(v, id, name)
		registry.dbs = append(registry.dbs, db)
		db.observe()
		opened = true
	}
	l = &lease{db: db, file: file}
	db.leases[l] = struct{}{}
	return l, opened
}

// end closes the database file and gives the lease back.
func (l *lease) end() error {
	err := l.file.Close()
	registry.mu.Lock()
	delete(l.db.leases, l)
	left := len(l.db.leases)
	if left == 0 {
		registry.dbs = slices.DeleteFunc(registry.dbs, func(db *database) bool { return db == l.db })
	}
	registry.mu.Unlock()
	if left == 0 {
		l.db.own.close()
		l.db.dir.close()
		l.db.tellClosed()
	}
	return err
}

// abandon ends the lease of a connection that was dropped without being closed.
func (l *lease) abandon() {
	if l.wal != nil {
		l.db.closeWAL(&dbFile{File: l.file, db: l.db, waiter: newWaiter()})
		l.wal.Close()
	}
	l.end()
}

// databases returns the open databases.
func databases() []*database {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	return append([]*database(nil), registry.dbs...)
}

// find returns the open database of that name.
func find(name string) (*database, error) {
	dbs := databases()
	if info, err := os.Stat(name); err == nil {
		id := identity{key: inode(info), info: info}
		for _, db := range dbs {
			if db.id.same(id) {
				return db, nil
			}
		}
	}
	// It may be deleted, or not be the operating system's.
	for _, db := range dbs {
		if db.name == name {
			return db, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotOpen, name)
}

// ofWAL returns the open databases whose WAL has, or had, that name.
// There are several where a database was deleted while it was open, and made again.
func (v *asyncVFS) ofWAL(name string) []*database {
	return slices.DeleteFunc(databases(), func(db *database) bool {
		return !db.hasWAL(nameKey{v, name})
	})
}
