package tasks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "github.com/docusnap/asyncvfs/vfs" // registers async
	"github.com/ncruces/go-sqlite3"
)

// sqliteBackend keeps tasks in an SQLite database.
type sqliteBackend struct {
	*config
	path   string
	uri    string
	async  bool // the VFS is this project's
	writer *writer
	// readers are connections that nobody uses at the moment. Each takes part in no transaction.
	readers chan *reader
	// reading is held while a connection is lent out.
	reading sync.RWMutex
	closed  bool // +checklocks:reading

	notifier notifier
	polls    sync.WaitGroup
	closing  chan struct{}
}

// readers is how many connections a store keeps for reading.
const readers = 8

// migrations bring the schema from the version of their index to the next one.
// The table has columns that the Python module doesn't know of; its statements go on working.
var migrations = []string{
	`CREATE TABLE IF NOT EXISTS tasks(
		id TEXT PRIMARY KEY,
		type TEXT NOT NULL,
		status TEXT NOT NULL,
		result TEXT,
		created_at INTEGER NOT NULL,
		updated_at INTEGER
	);
	ALTER TABLE tasks ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE tasks ADD COLUMN error TEXT;
	-- In milliseconds since 1970: when it may be claimed at the earliest, and until when it is.
	ALTER TABLE tasks ADD COLUMN run_at INTEGER;
	ALTER TABLE tasks ADD COLUMN lease_until INTEGER;
	ALTER TABLE tasks ADD COLUMN lease TEXT;
	CREATE INDEX tasks_created ON tasks(created_at, id);
	CREATE INDEX tasks_pending ON tasks(type, created_at, id) WHERE status='pending';
	CREATE INDEX tasks_leased ON tasks(lease_until) WHERE lease_until IS NOT NULL;
	CREATE TABLE task_attempts(
		id TEXT NOT NULL,
		attempt INTEGER NOT NULL,
		started_at INTEGER NOT NULL,
		ended_at INTEGER,
		error TEXT,
		PRIMARY KEY(id, attempt)
	) WITHOUT ROWID;
	CREATE TABLE task_cache(
		type TEXT NOT NULL,
		key TEXT NOT NULL,
		result TEXT,
		created_at INTEGER NOT NULL,
		expires_at INTEGER,
		used_at INTEGER NOT NULL,
		uses INTEGER NOT NULL DEFAULT 0,
		lease_until INTEGER,
		lease TEXT,
		PRIMARY KEY(type, key)
	) WITHOUT ROWID;`,
	"CREATE TRIGGER tasks_deleted AFTER DELETE ON tasks BEGIN DELETE FROM task_attempts WHERE id=old.id; END",
}

func openSQLite(ctx context.Context, path string, c *config) (_ *sqliteBackend, err error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, &InputError{"path", fmt.Sprintf("%q", path), "the path of a file"}
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	b := &sqliteBackend{config: c, path: path, readers: make(chan *reader, readers), closing: make(chan struct{})}
	b.uri = fileURI(path, c.vfs)
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := errors.Join(prepare(conn), b.setDurability(conn), migrate(conn)); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, conn.Close()))
	}
	if b.writer, err = newWriter(b, conn); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return b, nil
}

func fileURI(path, vfs string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "vfs=" + url.QueryEscape(vfs)}).String()
}

// connect opens a connection.
func (b *sqliteBackend) connect(ctx context.Context) (*sqlite3.Conn, error) {
	c, err := sqlite3.OpenContext(ctx, b.uri)
	if err != nil {
		return nil, err
	}
	// A cancelled context shall not break the connection later.
	c.SetInterrupt(context.Background())
	err = c.Exec("PRAGMA busy_timeout=10000; PRAGMA synchronous=normal; PRAGMA cache_size=-16000")
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// prepare puts the database into WAL mode. A new one gives space back to the file system.
func prepare(c *sqlite3.Conn) error {
	return c.Exec("PRAGMA auto_vacuum=incremental; PRAGMA journal_mode=wal; PRAGMA synchronous=normal")
}

// setDurability makes every commit durable where nothing else can: on another VFS.
func (b *sqliteBackend) setDurability(c *sqlite3.Conn) error {
	s, _, err := c.Prepare("PRAGMA async_mode")
	if err != nil {
		return err
	}
	defer s.Close()
	if b.async = s.Step(); b.async {
		return s.Err()
	}
	return c.Exec("PRAGMA synchronous=full")
}

// migrate brings the schema up to date, in one transaction.
// The version isn't kept in PRAGMA user_version: the file may hold tables of the application too.
func migrate(c *sqlite3.Conn) (err error) {
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil && !c.GetAutocommit() {
			err = errors.Join(err, c.Exec("ROLLBACK"))
		}
	}()
	if err := c.Exec("CREATE TABLE IF NOT EXISTS tasks_schema(version INTEGER NOT NULL)"); err != nil {
		return err
	}
	version, err := queryInt(c, "SELECT coalesce(max(version), 0) FROM tasks_schema")
	if err != nil {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("the schema of the tasks has version %d: this program knows versions up to %d", version, len(migrations))
	}
	for _, m := range migrations[version:] {
		if err := c.Exec(m); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	if version < len(migrations) {
		err := c.Exec(fmt.Sprintf("DELETE FROM tasks_schema; INSERT INTO tasks_schema VALUES(%d)", len(migrations)))
		if err != nil {
			return err
		}
	}
	return c.Exec("COMMIT")
}

func queryInt(c *sqlite3.Conn, sql string) (int, error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if !s.Step() {
		return 0, s.Err()
	}
	return s.ColumnInt(0), s.Err()
}

// Close closes all connections. The last one brings everything into the database file, durably.
func (b *sqliteBackend) Close() error {
	b.reading.Lock()
	closed := b.closed
	b.closed = true
	b.reading.Unlock()
	if closed {
		return ErrClosed
	}
	b.notifier.mu.Lock()
	close(b.closing)
	b.notifier.mu.Unlock()
	b.polls.Wait()
	var err error
	for range len(b.readers) {
		r := <-b.readers
		err = errors.Join(err, r.get.Close(), r.conn.Close())
	}
	return errors.Join(err, b.writer.close())
}

// cleanupChunk is how many tasks are deleted at once.
const cleanupChunk = 100

// Cleanup deletes in chunks, so that other writers wait for a few milliseconds only.
func (b *sqliteBackend) Cleanup(ctx context.Context, age time.Duration, statuses []Status) (int, error) {
	args := []any{b.now().Add(-age).Unix()}
	sql := "DELETE FROM tasks WHERE rowid IN (SELECT rowid FROM tasks WHERE created_at<=?" + in("status", statuses, &args) + " ORDER BY created_at LIMIT ?) RETURNING id"
	args = append(args, cleanupChunk)
	for deleted := 0; ; {
		var ids []string
		err := b.job(ctx, true, func(c *sqlite3.Conn) error {
			return each(c, sql, args, func(s *sqlite3.Stmt) { ids = append(ids, s.ColumnText(0)) })
		})
		if err != nil {
			return deleted, err // the job may still run
		}
		for _, id := range ids {
			b.notifier.changed(id)
		}
		deleted += len(ids)
		if len(ids) < cleanupChunk {
			return deleted, b.shrink(ctx, deleted)
		}
	}
}

// shrink gives the space of what was deleted back to the file system, a few pages at a time.
// A database that the Python module has made keeps it for later.
func (b *sqliteBackend) shrink(ctx context.Context, deleted int) error {
	for deleted > 0 {
		free := 0
		err := b.job(ctx, false, func(c *sqlite3.Conn) (err error) {
			mode, err := queryInt(c, "PRAGMA auto_vacuum")
			if err != nil || mode != 2 {
				return err
			}
			if err := c.Exec("PRAGMA incremental_vacuum(100)"); err != nil {
				return err
			}
			free, err = queryInt(c, "PRAGMA freelist_count")
			return err
		})
		if err != nil {
			return err
		}
		if free == 0 {
			return nil
		}
	}
	return nil
}

// execute runs a statement and returns how many rows it changed.
func execute(c *sqlite3.Conn, sql string, args []any) (int, error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	bind(s, args)
	s.Step()
	return int(c.Changes()), s.Err()
}
