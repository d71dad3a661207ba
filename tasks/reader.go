package tasks

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// reader is a connection that reads.
type reader struct {
	conn *sqlite3.Conn
	get  *sqlite3.Stmt
}

const infoColumns = "id, type, status, created_at, updated_at, attempts, error"

// read lends out a connection.
func (b *sqliteBackend) read(ctx context.Context, f func(*reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.reading.RLock()
	defer b.reading.RUnlock()
	if b.closed {
		return ErrClosed
	}
	var r *reader
	select {
	case r = <-b.readers:
	default:
		c, err := b.connect(ctx)
		if err != nil {
			return err
		}
		get, _, err := c.PrepareFlags("SELECT "+infoColumns+", result FROM tasks WHERE id=?1", sqlite3.PREPARE_PERSISTENT)
		if err != nil {
			c.Close()
			return err
		}
		r = &reader{c, get}
	}
	err := f(r)
	select {
	case b.readers <- r:
	default:
		r.get.Close()
		r.conn.Close()
	}
	return err
}

// Get returns a task.
func (b *sqliteBackend) Get(ctx context.Context, id string) (res Result, err error) {
	err = b.read(ctx, func(r *reader) error {
		defer r.get.Reset()
		r.get.BindText(1, id)
		if !r.get.Step() {
			if err := r.get.Err(); err != nil {
				return err
			}
			return ErrNotFound
		}
		res.Info = info(r.get)
		if r.get.ColumnType(7) != sqlite3.NULL {
			res.Raw = json.RawMessage(r.get.ColumnText(7))
		}
		return nil
	})
	return res, err
}

// info reads the columns of infoColumns.
func info(s *sqlite3.Stmt) Info {
	t := Info{
		ID:        s.ColumnText(0),
		Type:      Type(s.ColumnText(1)),
		Status:    Status(s.ColumnText(2)),
		CreatedAt: time.Unix(s.ColumnInt64(3), 0).UTC(),
		Attempts:  s.ColumnInt(5),
		Error:     s.ColumnText(6),
	}
	if s.ColumnType(4) != sqlite3.NULL {
		t.UpdatedAt = time.Unix(s.ColumnInt64(4), 0).UTC()
	}
	return t
}

// List returns tasks by the time that they were created, and by id where that is the same.
func (b *sqliteBackend) List(ctx context.Context, q Query) (list []Info, err error) {
	order, after := "", ">"
	if q.Newest {
		order, after = " DESC", "<"
	}
	var args []any
	sql := "SELECT " + infoColumns + " FROM tasks WHERE true" + in("type", q.Types, &args) + in("status", q.Statuses, &args)
	if q.After.ID != "" {
		sql += " AND (created_at, id) " + after + " (?, ?)"
		args = append(args, q.After.CreatedAt.Unix(), q.After.ID)
	}
	sql += " ORDER BY created_at" + order + ", id" + order + " LIMIT ?"
	args = append(args, q.Limit)
	err = b.query(ctx, sql, args, func(s *sqlite3.Stmt) { list = append(list, info(s)) })
	return list, err
}

// Count returns how many tasks there are of each type and status.
func (b *sqliteBackend) Count(ctx context.Context) (map[Type]map[Status]int, error) {
	counts := map[Type]map[Status]int{}
	err := b.query(ctx, "SELECT type, status, count(*) FROM tasks GROUP BY 1, 2", nil, func(s *sqlite3.Stmt) {
		t := Type(s.ColumnText(0))
		if counts[t] == nil {
			counts[t] = map[Status]int{}
		}
		counts[t][Status(s.ColumnText(1))] = s.ColumnInt(2)
	})
	return counts, err
}

// in returns a condition that a column has one of the values, and adds them to the arguments.
func in[S ~string](column string, values []S, args *[]any) string {
	if len(values) == 0 {
		return ""
	}
	for _, v := range values {
		*args = append(*args, string(v))
	}
	return " AND " + column + " IN (?" + strings.Repeat(",?", len(values)-1) + ")"
}

// bind binds arguments: strings, integers and nil.
func bind(s *sqlite3.Stmt, args []any) {
	for i, a := range args {
		switch a := a.(type) {
		case nil:
			s.BindNull(i + 1)
		case string:
			s.BindText(i+1, a)
		case int64:
			s.BindInt64(i+1, a)
		case int:
			s.BindInt(i+1, a)
		}
	}
}

func (b *sqliteBackend) query(ctx context.Context, sql string, args []any, row func(*sqlite3.Stmt)) error {
	return b.read(ctx, func(r *reader) error {
		s, _, err := r.conn.Prepare(sql)
		if err != nil {
			return err
		}
		defer s.Close()
		bind(s, args)
		for s.Step() {
			row(s)
		}
		return s.Err()
	})
}
