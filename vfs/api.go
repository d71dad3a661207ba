// Package vfs is an SQLite VFS that takes the fsync out of the commit:
// commits at synchronous=FULL share fsyncs, after the write lock is released,
// and commits at synchronous=NORMAL return at once and are durable a bounded time later.
//
// Importing package vfs registers the VFS "async" over the default VFS of
// [github.com/ncruces/go-sqlite3]:
//
//	import (
//		_ "github.com/docusnap/asyncvfs/vfs"
//		_ "github.com/ncruces/go-sqlite3/driver"
//	)
//
//	db, err := sql.Open("sqlite3", "file:app.db?vfs=async"+
//		"&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
//
// [DSN] returns such a name with the settings that are recommended, and [TestDB] one for a test.
//
// # Guarantees
//
// PRAGMA synchronous keeps the meaning that SQLite documents. What a commit waits for at each level, and what a power cut
// may lose of it at most, is in [a table of the README], with what it rests on and the rules that keep it.
//
// Rollback-journal modes pass straight through, but for waits: async_wait, [WaitDurable], [Flush] and async_mode=sync
// keep their word there too. So do temporary files and in-memory databases, which have nothing to wait for.
//
// # URI parameters
//
// An unknown value is an error at open (a [*ParameterError]), before any file is made.
//
//   - max_delay: how long after COMMIT the sync of a commit at NORMAL starts at the latest,
//     a Go duration from 1ms to 1m. Default 50ms. See [MaxDelay].
//   - max_pending: how much of the WAL may be lost at NORMAL, in bytes, or with KiB or MiB,
//     from 4KiB to 1024MiB. Default 8MiB. See [MaxPending].
//   - checkpoint: who runs checkpoints. With background, the default, the library does,
//     while commits go on; with inline the connection whose commit fills the WAL, as SQLite does;
//     with off nobody, unless told to. See [Checkpoint].
//   - filesystem: any, for a database in WAL mode on a file system of several machines, such as NFS,
//     which is a [*FileSystemError] otherwise: it is up to you that all of its processes are on this machine.
//
// They belong to the connection; its commits are held to them,
// whatever those of other connections to the database are.
//
// # Checkpoints
//
// PRAGMA wal_autocheckpoint=N means what it means in SQLite: a commit that finds N frames in the WAL, 1000 by default,
// asks for a checkpoint; with 0 none does. With checkpoint=background that runs beside the commits.
// Where they don't pause, the WAL grows beyond N frames:
// once it has three times as many, or 8 MiB more, the most of it is brought over,
// and then the commits of this process wait for the little that is left, so that the next one starts the WAL over.
// They also wait where it has twice as many as that, because the disk is too slow for what is committed,
// and a transaction that writes N frames or more waits for the checkpoint that it has asked for, as with SQLite.
// None waits for longer than 2 seconds: then commits do what they do with SQLite, which is logged once.
//
// A reader that goes on makes the WAL grow further, as with SQLite. For shorter ones that overlap, commits wait
// the longer the larger the WAL is, up to a second, and so it stays smaller than with SQLite.
//
// Nothing else of it is to be seen. It needs no connection, never has the write lock, also not of other processes' writers,
// and ends before SQLite closes the WAL, leaves WAL mode or prepares PRAGMA wal_checkpoint.
// It works on Linux and macOS, with go-sqlite3's default locks, on the operating system's files or a base VFS's over them.
// Elsewhere, where the database has checksums ([SQLite's VFS] for those computes them in checkpoints), and where an encrypting base writes
// larger blocks than the database's pages, commits checkpoint as SQLite does, and the log says why.
// [github.com/ncruces/go-sqlite3.Conn.WALCheckpoint] may return BUSY while a checkpoint runs, as it may with two connections:
// [WALCheckpoint] of this package doesn't.
// A connection with a hook of its own ([github.com/ncruces/go-sqlite3.Conn.WALHook]), or with SQLite's
// ([github.com/ncruces/go-sqlite3.Conn.WALAutoCheckpoint]), or whose main database is on another VFS,
// checkpoints as SQLite does. An authorizer or a trace function sees no statement that the application doesn't run.
//
// # Waiting for the write lock
//
// PRAGMA busy_timeout, and [github.com/ncruces/go-sqlite3.Conn.BusyTimeout], mean what they mean in SQLite.
// A connection that waits with a timeout is woken when another one of this process commits,
// in the order in which they came, instead of trying again after sleeps. That needs nothing from an application
// that sets its timeout in the name of the database, or by PRAGMA. The rest is up to it:
//
//   - Begin transactions that will write with BEGIN IMMEDIATE (_txlock=immediate with package driver).
//     SQLite doesn't let one wait that has begun to read.
//   - A timeout set through the Go API, as package driver does where the name of the database has no _pragma,
//     is taken over at the connection's next commit if that is its first, unless an authorizer or a trace function is set,
//     which would see that SQLite is asked for it. Else, or with a busy handler of its own, a connection waits as that says.
//
// The lock of another process, and that of a transaction that was rolled back, is tried for every 2ms.
//
// # PRAGMAs
//
// They act on the main database unless a schema is named, as in PRAGMA aux.async_stats.
//
//   - PRAGMA async_wait returns once every commit made before it is durable,
//     by whichever connection or process, at whichever level, and in whichever journal mode.
//     It returns a row with "ok".
//   - PRAGMA async_stats returns a row with a JSON object: [Statistics].
//   - PRAGMA async_mode returns a row with the mode, "async" or "sync";
//     PRAGMA async_mode=sync, for when a power cut is foreseen, flushes what is pending
//     and makes every later commit of the process to this database durable when COMMIT returns,
//     whatever its level. PRAGMA async_mode=async takes that back.
//
// SQLite runs them when they are prepared, so prepare them anew each time, or use the SQL function async_wait(),
// as in SELECT async_wait(): it does what the PRAGMA does, for the main database, each time that it is called.
// It isn't there on connections whose main database is on another VFS, nor in views and triggers.
//
// To wait for one commit, from another goroutine than that of its connection, there are [Token] and [WaitToken].
//
// # Errors
//
// Once a sync fails, every commit, write to the database file and restart of the WAL fails with
// [github.com/ncruces/go-sqlite3.IOERR_FSYNC], until all connections of the process are closed;
// see [SyncError] and [Failure]. The commits that waited for it are made,
// and whether they are durable isn't known. Reads go on.
// The first commit, checkpoint or async_wait after that writes once more what wasn't durable by then,
// since the kernel may have dropped it; of a WAL that another process has restarted, all of it.
// All frames of the WAL are brought over to the database file once more, by whichever process checkpoints next
// (on Linux and macOS; elsewhere once every process has closed the database).
// Until the WAL can be read again it isn't opened, and nothing is called durable.
//
// Other processes on this VFS are told by a file beside the database, whose name ends in -unsynced: it says how much of which WAL was durable
// and what failed, and is there until all is durable. Who opens the WAL, is about to rely on it in a checkpoint or in async_wait, or writes to it
// for the first time, looks for it, and does the same. If it can't be read the WAL isn't opened: see [ErrMarker].
// On Linux it counts only until the system is started anew: what can be read then has come from the disk.
// If it can't be written that is logged; then let the process that saw the failure reopen the database before it ends.
// A process on the stock VFS knows nothing of it.
//
// In a rollback-journal mode there is nothing to write it from. What was committed until a sync failed stays in doubt,
// and whoever waits for durability is told so, also after the database was opened anew: see [ErrInDoubt].
//
// An error met before a sync, such as that there are no file descriptors left, isn't a failure of it:
// it fails the commits that wait for that sync, and the next one tries again.
//
// A commit that waits returns early with [ErrDurabilityUnknown] if its context is done; see there.
//
// # Events
//
// [AddEvents] sets functions that are called after syncs, waits, checkpoints and so on, and [SetLogger] where failures are logged:
// for every database, or for one by its path, open or not yet, also for the VFS that the import registers.
//
// # What durable means
//
// Durable is what has come through an fsync. On macOS that leaves it in the drive's cache, as SQLite does by default:
// it survives a crash of the system, but maybe not a power cut. For that set PRAGMA fullfsync=on on each connection,
// in the name of the database before journal_mode: from then on each sync of the database's files is an F_FULLFSYNC,
// also those of a WAL that was there at open and of checkpoints in the background.
// PRAGMA checkpoint_fullfsync=on does the same here: one sync serves all.
//
// A WAL that is there at open, such as a killed process leaves, is synced once in the background, and pending until then:
// what is read of it is durable soon. A read-only connection may not be able to.
//
// # Limits
//
// Readers can see a commit before it is durable.
// As with SQLite, transactions over several attached databases aren't atomic
// across a power cut in WAL mode, and a network file system isn't safe for WAL mode:
// there it is a [*FileSystemError], which names it (on Linux, macOS and FreeBSD).
//
// [a table of the README]: https://github.com/docusnap/asyncvfs#what-is-guaranteed
// [SQLite's VFS]: https://sqlite.org/cksumvfs.html
package vfs

import (
	"context"
	"errors"
	"fmt"

	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

func init() {
	if err := Register("async", sqlitevfs.Find("")); err != nil {
		panic(err)
	}
}

// Register registers this VFS over a base VFS, under a name to use as ?vfs=name.
// A nil base is go-sqlite3's default VFS.
//
// It returns an error if the name or an option isn't allowed.
//
// A base VFS may implement [DirSyncer], and its files [FileIdentity].
// Put this one over others, such as go-sqlite3's encrypting ones, not under them:
// under another VFS it does every sync when SQLite asks for it, as if it weren't there.
//
// https://sqlite.org/c3ref/vfs_find.html
func Register(name string, base sqlitevfs.VFS, opts ...Option) error {
	if name == "" || name == "os" {
		return &ParameterError{"name", name, `any but "" and "os"`}
	}
	cfg, err := newConfig(opts)
	if err != nil {
		return err
	}
	if base == nil {
		base = sqlitevfs.Find("")
	}
	sqlitevfs.Register(name, &asyncVFS{VFS: base, config: cfg, name: name})
	return nil
}

// Mode says whether commits at NORMAL and OFF wait.
type Mode uint32

const (
	// Async lets commits wait as PRAGMA synchronous says.
	Async Mode = iota
	// Sync makes every commit durable before COMMIT returns.
	Sync
)

// String returns "async" or "sync".
func (m Mode) String() string {
	if m == Sync {
		return "sync"
	}
	return "async"
}

// MarshalText returns the same as String.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMode(string(text))
	return err
}

// ParseMode is the inverse of [Mode.String]. Its error is a [*ParameterError].
func ParseMode(s string) (Mode, error) {
	switch s {
	case "async":
		return Async, nil
	case "sync":
		return Sync, nil
	}
	return Async, &ParameterError{"async_mode", s, "async or sync"}
}

// WaitDurable returns once every commit made before to the database is durable,
// by whichever connection or process.
// The name is a path, not a URI.
//
// It syncs the WAL, and, where that was started over since the last time, the database file;
// in a rollback-journal mode the database file, the journal and their directory.
//
// It returns [ErrNotOpen] if this process doesn't have the database open through this package,
// [ErrWALNotOpen] if it hasn't read it yet, [ErrReadOnly] if it may only read it,
// the context's error, or the [*SyncError] that failed the database, which is an [ErrInDoubt] if that was before it was opened.
func WaitDurable(ctx context.Context, name string) error {
	db, err := find(name)
	if err != nil {
		return err
	}
	return db.waitDurable(ctx, nil)
}

// Flush returns once every commit that this process has made before,
// to any database through this package, is durable.
// It flushes all of them, and joins the errors of those that fail.
func Flush(ctx context.Context) error {
	return each(func(db *database) error { return db.flush(ctx) })
}

// SetMode sets the mode of every open database, and of those opened later.
// With [Sync] it also flushes, like [Flush]; it is for when a power cut is foreseen.
func SetMode(ctx context.Context, mode Mode) error {
	if mode > Sync {
		return &ParameterError{"mode", fmt.Sprint(uint32(mode)), "Async or Sync"}
	}
	registry.mode.Store(uint32(mode))
	return each(func(db *database) error { return db.setMode(ctx, mode) })
}

func each(f func(*database) error) error {
	dbs := databases()
	errs := make(chan error, len(dbs))
	for _, db := range dbs {
		go func() {
			err := f(db)
			if err != nil {
				err = fmt.Errorf("%s: %w", db.name, err)
			}
			errs <- err
		}()
	}
	var all error
	for range dbs {
		all = errors.Join(all, <-errs)
	}
	return all
}

// Stats returns the statistics of an open database.
// The name is a path, not a URI. It returns [ErrNotOpen] if the database isn't open.
func Stats(name string) (Statistics, error) {
	db, err := find(name)
	if err != nil {
		return Statistics{}, err
	}
	return db.stats(), nil
}

// AllStats returns the statistics of all open databases.
func AllStats() []Statistics {
	var all []Statistics
	for _, db := range databases() {
		all = append(all, db.stats())
	}
	return all
}

// Failure returns the [*SyncError] that failed an open database, or nil.
// The name is a path, not a URI. It returns [ErrNotOpen] if the database isn't open.
func Failure(name string) error {
	db, err := find(name)
	if err != nil {
		return err
	}
	if failure := db.failure.Load(); failure != nil {
		return failure
	}
	return nil
}
