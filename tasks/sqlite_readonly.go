package tasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// ErrReadOnly is returned by calls that change something at a store that was opened with [ReadOnly], or whose server takes no changes:
// if it may take some later, as a standby does once it is promoted, that is [ErrBusy], too.
var ErrReadOnly = errors.New("the store is read-only")

// errNeedsShm says what keeps a database from being looked at.
var errNeedsShm = errors.New("its -wal file holds changes that aren't in the database file yet, and to read them SQLite has to write a -shm file beside it: " +
	"make the folder writable, or copy the database with its -wal file to one that is")

// stamp is what a file that nobody can lock is known by.
type stamp struct {
	size     int64
	modified time.Time
}

// stampOf returns the stamp of a database that has no changes in a -wal file, or [errNeedsShm].
func stampOf(path string) (s stamp, err error) {
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 {
		return s, errNeedsShm
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return s, err
	}
	return stamp{info.Size(), info.ModTime()}, nil
}

// openReadOnly opens a database to look at it. Nothing is migrated: what an older one lacks is made up for each connection.
//
// In a folder that can't be written, a database in WAL mode can be read without locks only: then each call opens a connection
// of its own, and looks whether the file has changed meanwhile.
func (b *sqliteBackend) openReadOnly(ctx context.Context) error {
	if info, err := os.Stat(b.path); err != nil {
		return err
	} else if info.IsDir() {
		return &InputError{"path", fmt.Sprintf("%q", b.path), "the path of a file"}
	}
	b.uri = fileURI(b.path, b.vfs, "ro")
	err := b.lookFirst(ctx)
	if errors.Is(err, sqlite3.CANTOPEN) || errors.Is(err, sqlite3.READONLY) {
		if _, e := stampOf(b.path); e != nil {
			return errors.Join(e, err)
		}
		b.unlocked, b.pool.once = true, true
		b.uri += "&immutable=1"
		err = b.lookFirst(ctx)
	}
	return err
}

// lookFirst finds out what the database has.
func (b *sqliteBackend) lookFirst(ctx context.Context) (err error) {
	c, err := b.connect(ctx, readerCache)
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := checkTables(c); err != nil {
		return err
	}
	found, err := objects(c)
	if err != nil {
		return err
	}
	if found["tasks"] == "" {
		return &TableError{"tasks", "there is none"}
	}
	if b.older, err = older(c, found); err != nil {
		return err
	}
	if b.unlocked {
		return nil
	}
	if err := c.makeUp(b.older); err != nil {
		return err
	}
	if b.poller.seq, err = queryInt(c, lastChange); err != nil {
		return err
	}
	// It stays open, so that the store holds on to the file that it has found.
	if b.files, err = filesOf(c); err == nil {
		b.held, keep = c, true
	}
	return err
}

// older returns statements that make up what a database of an older version lacks, for one connection: empty tables, and columns with
// their defaults. It returns "" for one of this version.
func older(c *conn, found map[string]string) (sql string, err error) {
	ours, err := newSchema()
	if err != nil {
		return "", err
	}
	for _, t := range ours.tables {
		switch {
		case t.name == "tasks_schema":
		case found[t.name] != "":
			has := map[string]bool{}
			if err := each(c, "SELECT lower(name) FROM pragma_table_xinfo(?)", []any{t.name}, func(s *sqlite3.Stmt) error {
				has[s.ColumnText(0)] = true
				return nil
			}); err != nil {
				return "", err
			}
			lacks := ""
			for _, col := range t.columns {
				if !has[col.name] {
					lacks += ", " + col.value + " AS " + col.name
				}
			}
			switch {
			case lacks == "":
			case t.name == "task_labels": // what labelSchema adds
				sql += "CREATE TEMP VIEW task_labels AS SELECT l.*, t.owner, t.type, t.status FROM main.task_labels l JOIN main.tasks t ON t.id=l.id;\n"
			default:
				sql += fmt.Sprintf("CREATE TEMP VIEW %s AS SELECT *%s FROM main.%s;\n", t.name, lacks, t.name)
			}
		case t.name == "task_counts":
			sql += "CREATE TEMP VIEW task_counts AS SELECT '' AS owner, type, status, count(*) AS n FROM main.tasks GROUP BY type, status;\n"
		default:
			sql += strings.Replace(t.sql, "CREATE TABLE", "CREATE TEMP TABLE", 1) + ";\n"
		}
	}
	return sql, nil
}

// makeUp makes up what an older database lacks. A view has no indexes that a statement could name.
func (c *conn) makeUp(older string) error {
	if older != "" {
		c.older = true
		if err := c.Exec("PRAGMA temp_store=memory; " + older); err != nil {
			return err
		}
	}
	return c.Exec("PRAGMA query_only=1")
}

var indexedBy = regexp.MustCompile(` INDEXED BY \w+`)

// readUnlocked calls f with a connection of its own, again if the file has changed meanwhile.
func (b *sqliteBackend) readUnlocked(ctx context.Context, f func(*reader) error) error {
	const tries = 10
	for range tries {
		before, err := stampOf(b.path)
		if err != nil {
			return err
		}
		err = b.pool.lend(ctx, f)
		after, e := stampOf(b.path)
		if e != nil {
			return e
		}
		if before == after || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("the file is being written, and its folder is not writable for locks: %w", sqlite3.BUSY)
}

// lookUnlocked tells all who wait if the file has changed since the last look.
func (p *poller) lookUnlocked(b *sqliteBackend) error {
	now, err := stampOf(b.path)
	if err != nil {
		return err
	}
	if now != p.stamp {
		p.stamp = now
		b.notifier.all()
	}
	return nil
}
