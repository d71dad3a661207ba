package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	// busyTimeout is how long to wait for the write lock.
	busyTimeout = 10 * time.Second
	// prepareAgain is how long to wait for others who prepare the same new file.
	prepareAgain = 5 * time.Millisecond
)

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
	changeLog,
	queueSchema,
	clockSchema,
	replaceSchema,
	labelSchema,
}

// setUp brings a database to the newest schema. It leaves one alone that a newer program has made.
func (b *sqliteBackend) setUp(ctx context.Context, c *conn) (err error) {
	c.SetInterrupt(ctx)
	defer func() {
		c.SetInterrupt(context.Background())
		err = interrupted(ctx, err)
	}()
	// It reads only: what the next steps change in the file's header can't be rolled back.
	if err := checkTables(c); err != nil {
		return err
	}
	// What prepare changes is a commit too.
	if err := b.setDurability(c); err != nil {
		return err
	}
	if err := prepare(ctx, c); err != nil {
		return err
	}
	return migrate(c)
}

func schemaVersion(c *conn) (int, error) {
	n, err := queryInt(c, "SELECT coalesce(max(version), 0) FROM tasks_schema")
	version := int(n)
	if err == nil && (version < 0 || version > len(migrations)) {
		err = fmt.Errorf("the schema of the tasks has version %d: this program knows versions up to %d", version, len(migrations))
	}
	return version, err
}

// prepare puts the database into WAL mode. A new one gives space back to the file system.
// SQLite doesn't wait for others that do the same at the same time: it has them wait for each other, or fails.
func prepare(ctx context.Context, c *conn) error {
	for start := time.Now(); ; {
		err := c.Exec("PRAGMA auto_vacuum=incremental; PRAGMA journal_mode=wal")
		if !errors.Is(err, sqlite3.BUSY) || ctx.Err() != nil || time.Since(start) > busyTimeout {
			return err
		}
		select {
		case <-time.After(prepareAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// setDurability makes every commit durable where nothing else can: on another VFS.
func (b *sqliteBackend) setDurability(c *conn) error {
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

// resultLast makes result the last column of a new table: SQLite reads a row's columns in order, and pages only as far as
// it has to. In a table that others have made, a look at a task goes through the pages of its result, but copies none.
func resultLast(c *conn) error {
	rows, err := queryInt(c, "SELECT EXISTS(SELECT 1 FROM tasks)")
	if err != nil || rows != 0 {
		return err
	}
	return c.Exec("ALTER TABLE tasks DROP COLUMN result; ALTER TABLE tasks ADD COLUMN result TEXT")
}

// migrate brings the schema up to date, in one transaction.
// The version isn't kept in PRAGMA user_version: the file may hold tables of the application too.
func migrate(c *conn) (err error) {
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil && !c.GetAutocommit() {
			err = errors.Join(err, c.Exec("ROLLBACK"))
		}
	}()
	found, err := objects(c)
	if err != nil {
		return err
	}
	if found["tasks"] == "" && found["tasks_schema"] == "" {
		return create(c)
	}
	if err := c.Exec(schemaTable); err != nil {
		return err
	}
	version, err := schemaVersion(c)
	if err != nil {
		return err
	}
	for _, m := range migrations[version:] {
		if err := c.Exec(m); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	if version == 0 {
		if err := resultLast(c); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	if version < len(migrations) {
		if err := c.Exec(fmt.Sprintf("DELETE FROM tasks_schema; INSERT INTO tasks_schema VALUES(%d)", len(migrations))); err != nil {
			return err
		}
	}
	return c.Exec("COMMIT")
}

// create makes what the migrations make of an empty database, without going all the way.
func create(c *conn) error {
	ours, err := newSchema()
	if err != nil {
		return err
	}
	if err := c.Exec(ours.sql + fmt.Sprintf("INSERT INTO tasks_schema VALUES(%d)", len(migrations))); err != nil {
		return fmt.Errorf("create the tables: %w", err)
	}
	return c.Exec("COMMIT")
}

const schemaTable = "CREATE TABLE IF NOT EXISTS tasks_schema(version INTEGER NOT NULL)"
