package vfs

import (
	"math"
	"strings"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// asyncVFS wraps a base VFS. Everything that touches the disk goes through that.
type asyncVFS struct {
	sqlitevfs.VFS
	*config
	name string
}

var _ sqlitevfs.VFSFilename = (*asyncVFS)(nil)

func (v *asyncVFS) Open(name string, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	// SQLite calls OpenFilename instead.
	return vfsutil.WrapOpen(v.VFS, name, flags)
}

func (v *asyncVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	switch {
	case name == nil:
		return v.openBase(name, flags)
	case flags&sqlitevfs.OPEN_MAIN_DB != 0:
		return v.openDB(name, flags)
	case flags&sqlitevfs.OPEN_WAL != 0:
		return v.openWAL(name, flags)
	case flags&sqlitevfs.OPEN_MAIN_JOURNAL != 0 && flags&sqlitevfs.OPEN_CREATE != 0:
		// H5: the database can't be written to, and a journal that can't be rolled back stops reads.
		if f, ok := mainFile(name.DatabaseFile()); ok && f.db.failed() != nil {
			return nil, flags, tag(f.db.failed())
		} else if ok {
			if err := f.db.settleDelete(); err != nil {
				return nil, flags, tag(err)
			}
		}
		return v.openBase(name, flags)
	default:
		return v.openBase(name, flags)
	}
}

func (v *asyncVFS) openBase(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	return vfsutil.WrapOpenFilename(v.VFS, name, flags)
}

func (v *asyncVFS) openDB(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	// Before the file is made.
	knobs, err := v.knobs.parse(name)
	if err != nil {
		return nil, flags, err
	}
	file, flags, err := v.openBase(name, flags)
	if err != nil || flags&(sqlitevfs.OPEN_MEMORY|sqlitevfs.OPEN_DELETEONCLOSE) != 0 {
		return file, flags, err
	}
	if inWALMode(file) {
		if err := knobs.checkFileSystem(name); err != nil {
			file.Close()
			return nil, flags, err
		}
	}
	lease, err := acquire(v, file, name)
	if err != nil {
		file.Close()
		return nil, flags, err
	}
	if err := lease.db.checkWALName(name); err != nil {
		lease.end()
		return nil, flags, sqlitevfs.SystemError(err, sqlite3.CANTOPEN)
	}
	lease.db.dir.open(v, name.String())
	lease.db.own.open(v, name, flags, lease.db.id, file)
	return newDBFile(lease, knobs), flags, nil
}

func (v *asyncVFS) openWAL(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	if main, ok := mainFile(name.DatabaseFile()); ok {
		// Before the file is made.
		if err := main.knobs.checkFileSystem(name); err != nil {
			// SQLite closes files next, and then go-sqlite3 has forgotten the cause.
			main.db.log().Error("asyncvfs: the WAL can't be opened", "database", main.db.name, "err", err)
			return nil, flags, err
		}
	}
	file, out, err := v.openBase(name, flags)
	if err != nil || out&(sqlitevfs.OPEN_READONLY|sqlitevfs.OPEN_MEMORY) != 0 {
		return file, out, err
	}
	main, ok := mainFile(name.DatabaseFile())
	if !ok {
		// Every sync is done when SQLite asks for it.
		return file, out, nil
	}
	main.inheritFullfsync()
	if err := main.db.openWAL(v, name, main, file, flags); err != nil {
		file.Close()
		main.db.log().Error("asyncvfs: the WAL can't be opened", "database", main.db.name, "err", err) // as above
		return nil, flags, sqlitevfs.SystemError(err, sqlite3.CANTOPEN)
	}
	main.lease.wal = file
	main.wal = &walFile{File: file, db: main.db, main: main}
	return main.wal, out, nil
}

// mainFile finds our handle of the database in the file that SQLite has.
// It is false if another VFS lies between: that may keep commits or checkpoints to itself,
// or write in other units than SQLite does, so that the WAL's header isn't known when it is written.
func mainFile(file sqlitevfs.File) (*dbFile, bool) {
	if f, ok := file.(*dbFile); ok {
		return f, true
	}
	// The outermost is go-sqlite3's own, for its checksums.
	if u, ok := file.(sqlitevfs.FileUnwrap); ok {
		f, ok := u.Unwrap().(*dbFile)
		return f, ok
	}
	return nil, false
}

// Delete keeps the rules for a WAL that is deleted.
// SQLite ignores its error, and a WAL that isn't deleted does no harm.
func (v *asyncVFS) Delete(name string, syncDir bool) error {
	if !strings.HasSuffix(name, "-wal") {
		return v.VFS.Delete(name, syncDir)
	}
	dbs := v.ofWAL(name)
	for _, db := range dbs {
		// H2: the WAL stays until the database file is durable.
		if db.rules.Off(rules.DBBeforeReuse) {
			continue
		}
		if err := db.failed(); err != nil {
			return tag(err)
		}
		if db.pending(syncqueue.DB) {
			return sqlite3.IOERR_DELETE
		}
	}
	if err := v.VFS.Delete(name, syncDir); err != nil {
		return err
	}
	if rules.Disabled(v.VFS).Off(rules.RemovalBeforeReturn) {
		return nil
	}
	// H4: a WAL that came back would be replayed over a newer database.
	var err error
	if len(dbs) > 0 {
		err = dbs[0].dir.sync(v, name)
	} else {
		err = v.syncDir(name)
	}
	if err == nil {
		for _, db := range dbs {
			db.resolved(0) // all of the WAL is in the database file
			db.settleMarker(math.MaxUint64)
		}
		return nil
	}
	for _, db := range dbs {
		if wasNotTried(err) {
			db.deleted.Store(&nameKey{v, name})
			db.warnNotTried(err)
		} else {
			db.fail("dir", err)
		}
	}
	return sqlitevfs.SystemError(err, sqlite3.IOERR_DIR_FSYNC)
}
