package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks/internal/foreign"
	"github.com/ncruces/go-sqlite3"
)

// reader is a connection that reads.
type reader struct {
	conn                    *conn
	get, look, holds, last  *sqlite3.Stmt
	getSettled, lookSettled *sqlite3.Stmt // see settledSQL
}

func (b *sqliteBackend) newReader(ctx context.Context) (*reader, error) {
	c, err := b.connect(ctx, readerCache)
	if err != nil {
		return nil, err
	}
	if b.readOnly {
		if err := c.makeUp(b.older); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	r := &reader{conn: c}
	for _, s := range []struct {
		stmt **sqlite3.Stmt
		sql  string
	}{
		{&r.get, "SELECT " + infoColumns + ", result FROM tasks WHERE id=?1"},
		{&r.look, "SELECT " + infoColumns + " FROM tasks WHERE id=?1"},
		{&r.holds, "SELECT 1 FROM task_leases WHERE id=? AND lease=?"},
		{&r.last, lastChange},
		{&r.getSettled, settledSQL(infoColumns + ", result")},
		{&r.lookSettled, settledSQL(infoColumns)},
	} {
		if *s.stmt, _, err = c.PrepareFlags(s.sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

func (r *reader) close() error {
	return errors.Join(r.get.Close(), r.look.Close(), r.holds.Close(), r.last.Close(), r.getSettled.Close(), r.lookSettled.Close(), r.conn.Close())
}

// infoColumns are the columns of an Info, infoCount of them.
const (
	infoColumns = "id, type, status, created_at, updated_at, attempts, error, uncounted, cancelled, started_at, ended_at, run_at, owner, priority, labels, done, total, note"
	infoCount   = 18
)

// read lends out a connection.
func (b *sqliteBackend) read(ctx context.Context, f func(*reader) error) error {
	if b.unlocked {
		return broken(b.readUnlocked(ctx, f))
	}
	return broken(b.pool.lend(ctx, f))
}

// Get returns a task.
func (b *sqliteBackend) Get(ctx context.Context, id string) (res Result, err error) {
	err = b.read(ctx, func(r *reader) (err error) {
		defer r.get.Reset()
		r.get.BindText(1, id)
		if !r.get.Step() {
			if err := r.get.Err(); err != nil {
				return err
			}
			return ErrNotFound
		}
		res, err = result(r.get)
		return err
	})
	return res, err
}

// result reads the columns of infoColumns and the result after them.
func result(s *sqlite3.Stmt) (res Result, err error) {
	res.Info, err = info(s)
	// To the Python module, an empty text is no result.
	if text := s.ColumnText(infoCount); text != "" {
		res.Raw = json.RawMessage(text)
	}
	return res, err
}

// Look returns what is known of tasks, without their results.
func (b *sqliteBackend) Look(ctx context.Context, ids []string) ([]Info, []error) {
	infos, errs := make([]Info, len(ids)), make([]error, len(ids))
	if err := b.read(ctx, func(r *reader) error {
		look := func() error {
			for i, id := range ids {
				if infos[i], errs[i] = r.lookAt(id); ctx.Err() != nil {
					return ctx.Err()
				}
			}
			return nil
		}
		if len(ids) > 1 {
			return r.inOne(look)
		}
		return look()
	}); err != nil {
		return make([]Info, len(ids)), slices.Repeat([]error{err}, len(ids))
	}
	return infos, errs
}

// inOne has looks be made in one transaction, which sees one state and takes SQLite's lock once.
func (r *reader) inOne(f func() error) error {
	if err := r.conn.run("BEGIN"); err != nil {
		return err
	}
	defer func() {
		r.conn.SetInterrupt(context.Background())
		r.conn.run("COMMIT")
	}()
	return f()
}

func (r *reader) lookAt(id string) (Info, error) {
	defer r.look.Reset()
	r.look.BindText(1, id)
	if r.look.Step() {
		return info(r.look)
	}
	if err := r.look.Err(); err != nil {
		return Info{}, err
	}
	return Info{}, ErrNotFound
}

// info reads the columns of infoColumns. Types and statuses that aren't known are returned as they are:
// others write to the file too. But times have to be times.
func info(s *sqlite3.Stmt) (t Info, err error) {
	t = Info{
		ID:       s.ColumnText(0),
		Type:     Type(s.ColumnText(1)),
		Status:   Status(s.ColumnText(2)),
		Attempts: s.ColumnInt(5),
		Error:    s.ColumnText(6),
	}
	t.Uncounted, t.Cancelled = s.ColumnInt(7), s.ColumnBool(8) && t.Status == Error
	t.StartedAt, t.EndedAt, t.RunAt = milliseconds(s, 9), milliseconds(s, 10), milliseconds(s, 11)
	t.Owner, t.Priority, t.Labels = s.ColumnText(12), s.ColumnInt(13), Labels{s.ColumnText(14)}
	t.Advance = Advance{foreign.Number(s.ColumnFloat(15)), foreign.Number(s.ColumnFloat(16)), s.ColumnText(17)}
	if t.CreatedAt, err = seconds(s, 3); err != nil {
		return Info{ID: t.ID}, err
	}
	if s.ColumnType(4) != sqlite3.NULL {
		if t.UpdatedAt, err = seconds(s, 4); err != nil {
			return Info{ID: t.ID}, err
		}
	}
	// The Python module knows nothing of it.
	if !t.Status.Final() {
		t.EndedAt = time.Time{}
	} else if t.EndedAt.IsZero() {
		t.EndedAt = t.UpdatedAt
	}
	return t, nil
}

// milliseconds reads a time that only this package writes: zero if there is none.
func milliseconds(s *sqlite3.Stmt, column int) time.Time {
	if n := s.ColumnInt64(column); s.ColumnType(column) == sqlite3.INTEGER && n >= minTime*1000 && n <= maxTime*1000+999 {
		return time.UnixMilli(n).UTC()
	}
	return time.Time{}
}

// The seconds since 1970 of the first and the last second that JSON has a form for.
const (
	minTime = -62167219200 // in the year 0
	maxTime = 253402300799 // in the year 9999
)

// readable is a condition for the rows that [info] can read and that somebody can name. Lists leave the others out:
// one of them shall not keep the rest from being seen. Texts and blobs are greater than all numbers.
const readable = "typeof(id)='text' AND id<>'' AND created_at>=-62167219200 AND created_at<253402300800" +
	" AND (updated_at IS NULL OR updated_at>=-62167219200 AND updated_at<253402300800)"

// readableOf is the condition for a table in a query of several.
func readableOf(table string) string {
	return strings.NewReplacer("id)", table+".id)", "id<>", table+".id<>", "created_at", table+".created_at", "updated_at", table+".updated_at").Replace(readable)
}

// seconds reads a time. What isn't one may be a time in milliseconds, for example, or a text.
func seconds(s *sqlite3.Stmt, column int) (time.Time, error) {
	n := s.ColumnInt64(column)
	if t := s.ColumnType(column); t != sqlite3.INTEGER && t != sqlite3.FLOAT || n < minTime || n > maxTime {
		text := s.ColumnText(column)
		return time.Time{}, unreadable(fmt.Sprintf("%s is %.40q in the database: want seconds since 1970, in the years 0 to 9999", s.ColumnName(column), text))
	}
	return time.Unix(n, 0).UTC(), nil
}

func (b *sqliteBackend) query(ctx context.Context, sql string, args []any, row func(*sqlite3.Stmt) error) error {
	return b.read(ctx, func(r *reader) error {
		return each(r.conn, sql, args, row)
	})
}
