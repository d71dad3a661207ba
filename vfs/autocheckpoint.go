package vfs

import (
	"strconv"
	"strings"

	"github.com/docusnap/asyncvfs/vfs/internal/ckptplan"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// SQLite checkpoints in the commit that finds enough frames in the WAL: by a hook of its own,
// which PRAGMA wal_autocheckpoint and sqlite3_wal_autocheckpoint set.
// Before the application has a connection, this VFS puts a hook of its own in that one's place (see [connected]),
// which lets the database's [checkpointer] do the work.
// What the application sets after that stands.
//
// https://sqlite.org/c3ref/wal_autocheckpoint.html

// autoCheckpoint is a connection's setting. It belongs to the handle of its main database.
type autoCheckpoint struct {
	taken bool // what SQLite was told to do is known
	pages int  // PRAGMA wal_autocheckpoint; 0 is never
}

// mainDB returns the handle of the connection's main database, or nil if that is on another VFS.
// SQLite asks only that one for the PRAGMAs of a connection.
func (f *dbFile) mainDB() *dbFile {
	if f.conn == nil || !isOpen(f.conn) {
		return f
	}
	main, _ := fileOf(f.conn, "main")
	return main
}

// fileOf returns our handle of one of the connection's databases.
func fileOf(c *sqlite3.Conn, schema string) (*dbFile, bool) {
	pointer, err := c.FileControl(schema, sqlite3.FCNTL_FILE_POINTER)
	if err != nil {
		return nil, false
	}
	file, _ := pointer.(sqlitevfs.File)
	return mainFile(file)
}

// takeHook puts our hook in the place of SQLite's own, if that is the one in place.
func (f *dbFile) takeHook() {
	if f.auto.taken || f.knobs.checkpoint == CheckpointInline {
		return
	}
	if f.knobs.checkpoint == CheckpointOff {
		f.auto = autoCheckpoint{taken: true}
		f.setHook()
		return
	}
	pages, ok := f.askSQLite("PRAGMA wal_autocheckpoint")
	if !ok {
		return
	}
	f.auto = autoCheckpoint{taken: true, pages: pages}
	if pages > 0 { // else it is turned off, or a hook of the application's
		f.setHook()
	}
}

// askSQLite returns a setting of the connection's. It may be called within a commit.
// It is false if it can't be told, or if the application would see that it is asked.
func (f *dbFile) askSQLite(pragma string) (int, bool) {
	if observed(f.conn) {
		return 0, false
	}
	f.asking = true
	defer func() { f.asking = false }()
	s, _, err := f.conn.Prepare(pragma)
	if err != nil {
		return 0, false
	}
	defer s.Close()
	// Not as far as its end: there SQLite would call the hooks of the commit that is under way.
	if !s.Step() {
		return 0, false
	}
	return max(0, s.ColumnInt(0)), true
}

func (f *dbFile) setHook() {
	if f.auto.pages == 0 {
		f.conn.WALAutoCheckpoint(0)
		return
	}
	f.conn.WALHook(f.filled)
}

// autoPragma is PRAGMA wal_autocheckpoint.
func (f *dbFile) autoPragma(value string) (string, bool) {
	main := f.mainDB()
	if main == nil || !main.auto.taken || main.asking {
		return "", false
	}
	if value != "" {
		main.auto.pages = max(0, leadingInt(value))
		main.setHook()
	} else if !main.hookInPlace() {
		return "", false
	}
	return strconv.Itoa(main.auto.pages), true
}

// hookInPlace reports whether our hook is the one that SQLite calls.
func (f *dbFile) hookInPlace() bool {
	if f.auto.pages == 0 || !isFunc(f.conn, "wal", f.filled) {
		return false
	}
	// SQLite's own, if WALAutoCheckpoint has set that since then.
	pages, _ := f.askSQLite("PRAGMA wal_autocheckpoint")
	return pages == 0
}

// leadingInt reads a number as SQLite does: what follows it doesn't matter, and too large a one is 0.
func leadingInt(s string) int {
	digits := strings.TrimLeft(s, "+-")
	end := len(digits) - len(strings.TrimLeft(digits, "0123456789"))
	n, err := strconv.ParseInt(digits[:end], 10, 32)
	if err != nil || strings.HasPrefix(s, "-") {
		return 0
	}
	return int(n)
}

// filled is the hook. The commit is over: the connection holds no lock,
// unless another of its statements still reads.
func (f *dbFile) filled(c *sqlite3.Conn, schema string, pages int) error {
	if pages < f.auto.pages {
		return nil
	}
	file := f
	if schema != "main" {
		file, _ = fileOf(c, schema)
	}
	if file == nil || file.wal == nil || file.exclusive != nil || !file.db.checkpointer.filled(f.context(), ckptplan.Commit{
		Frames: pages, Own: file.wal.committed, Threshold: f.auto.pages, PageSize: file.wal.pageSize(),
	}) {
		// As SQLite's own, which ignores errors too.
		c.WALCheckpoint(schema, sqlite3.CHECKPOINT_PASSIVE)
	}
	return nil
}
