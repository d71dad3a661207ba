package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// walk is one way through an index in the order of lists, with conditions that are equalities of the index's first columns.
// What a list asks for are several of them, merged: so none walks past tasks that it isn't asked for.
type walk struct {
	from  string   // the tables, and the index
	tasks string   // the name of the table of tasks there
	by    string   // the name of the table that the index belongs to
	names []string // of columns
	is    []string // their values
}

// where returns the conditions, and adds their values to the arguments.
func (w walk) where(args *[]any) (sql string) {
	for i, name := range w.names {
		*args = append(*args, w.is[i])
		sql += " AND " + name + "=?"
	}
	return sql
}

// and returns the walk with further conditions.
func (w walk) and(names []string, is ...string) walk {
	w.names, w.is = slices.Concat(w.names, names), slices.Concat(w.is, is)
	return w
}

// walks returns the walks of a query. Which types and statuses there are is known from the counts.
func walks(c *conn, q Query) (list []walk, err error) {
	w := walk{tasks: "tasks", by: "tasks"}
	created, owner, by := "tasks INDEXED BY tasks_created", "tasks INDEXED BY tasks_owner", "tasks INDEXED BY tasks_by"
	if q.Label[0] != "" {
		const joined = " CROSS JOIN tasks t ON t.id=l.id"
		w = walk{tasks: "t", by: "l"}.and([]string{"l.name", "l.value"}, q.Label[:]...)
		created = "task_labels l" + joined // the order of its primary key
		owner, by = "task_labels l INDEXED BY task_labels_owner"+joined, "task_labels l INDEXED BY task_labels_by"+joined
	}
	switch {
	case q.Owner != "":
		w.from = owner
		w = w.and([]string{w.by + ".owner<>'' AND " + w.by + ".owner"}, q.Owner)
	case len(q.Types) == 0 && len(q.Statuses) == 0:
		w.from = created
		return []walk{w}, nil
	default:
		w.from = by
	}
	args := []any{q.Owner}
	sql := "SELECT type, status FROM task_counts WHERE owner=? AND n>0" + in("type", q.Types, &args) + in("status", q.Statuses, &args)
	err = each(c, sql, args, func(s *sqlite3.Stmt) error {
		list = append(list, w.and([]string{w.by + ".type", w.by + ".status"}, s.ColumnText(0), s.ColumnText(1)))
		return nil
	})
	return list, err
}

// List returns tasks by the time that they were created, and by id where that is the same.
func (b *sqliteBackend) List(ctx context.Context, q Query) (list []Info, err error) {
	err = b.read(ctx, func(r *reader) error {
		// One look at the counts and the tasks.
		if err := r.conn.run("BEGIN"); err != nil {
			return err
		}
		defer func() {
			r.conn.SetInterrupt(context.Background())
			r.conn.run("COMMIT")
		}()
		ways, err := walks(r.conn, q)
		if err != nil {
			return err
		}
		list, err = merge(r.conn, ways, q)
		return err
	})
	return list, err
}

// after adds the condition of the page, the order and the limit to a query.
func (q Query) after(w walk, sql string, args []any) (string, []any) {
	order, after := "", ">"
	if q.Newest {
		order, after = " DESC", "<"
	}
	created, id := w.by+".created_at", w.by+".id"
	if q.After.ID != "" {
		sql += " AND (" + created + ", " + id + ") " + after + " (?, ?)"
		args = append(args, q.After.CreatedAt.Unix(), q.After.ID)
	}
	return sql + " ORDER BY " + created + order + ", " + id + order + " LIMIT ?", append(args, q.Limit)
}

// readable is the condition for rows that can be read. A page begins in the index where the one before has ended: SQLite begins
// at one bound only, so the other one on that side, which is the loosest, is kept from it by a sign.
func (q Query) readable(w walk) string {
	sql := readableOf(w.tasks)
	created := w.tasks + ".created_at"
	switch {
	case q.After.ID == "" || w.by != w.tasks:
		return sql
	case q.Newest:
		return strings.Replace(sql, created+"<", "+"+created+"<", 1)
	}
	return strings.Replace(sql, created+">=", "+"+created+">=", 1)
}

// merge returns the first tasks of several walks. It visits one more of each walk than it returns, at most.
func merge(c *conn, ways []walk, q Query) (list []Info, err error) {
	type head struct {
		sql  string
		stmt *sqlite3.Stmt
		info Info
	}
	var heads []head
	defer func() {
		for _, h := range heads {
			c.done(h.sql, h.stmt)
		}
	}()
	next := func(h *head) (more bool, err error) {
		if !h.stmt.Step() {
			return false, h.stmt.Err()
		}
		if h.info, err = info(h.stmt); err != nil {
			err = fmt.Errorf("task %q: %w", h.info.ID, err)
		}
		return true, err
	}
	for _, w := range ways {
		var args []any
		sql := "SELECT " + columnsOf(w.tasks) + " FROM " + w.from + " WHERE " + q.readable(w) + w.where(&args)
		sql, args = q.after(w, sql, args)
		s, err := c.statement(sql)
		if err != nil {
			return nil, err
		}
		bind(s, args)
		h := head{sql: sql, stmt: s}
		more, err := next(&h)
		if err != nil || !more {
			c.done(sql, s)
			if err != nil {
				return nil, err
			}
			continue
		}
		heads = append(heads, h)
	}
	for len(heads) > 0 && len(list) < q.Limit {
		best := 0
		for i := range heads {
			if precedes(heads[i].info, heads[best].info) != q.Newest && i != best {
				best = i
			}
		}
		list = append(list, heads[best].info)
		if len(list) == q.Limit {
			break
		}
		more, err := next(&heads[best])
		if err != nil {
			return nil, err
		}
		if !more {
			c.done(heads[best].sql, heads[best].stmt)
			heads = slices.Delete(heads, best, best+1)
		}
	}
	return list, nil
}

// precedes reports whether a task comes before another in a list that begins with the oldest.
func precedes(a, b Info) bool {
	if !a.CreatedAt.Equal(b.CreatedAt) {
		return a.CreatedAt.Before(b.CreatedAt)
	}
	return a.ID < b.ID
}

// Count reads what triggers have counted.
func (b *sqliteBackend) Count(ctx context.Context, owner string) (map[Type]map[Status]int, error) {
	counts := map[Type]map[Status]int{}
	err := b.query(ctx, "SELECT type, status, n FROM task_counts WHERE owner=? AND n>0", []any{owner}, func(s *sqlite3.Stmt) error {
		t := Type(s.ColumnText(0))
		if counts[t] == nil {
			counts[t] = map[Status]int{}
		}
		counts[t][Status(s.ColumnText(1))] = s.ColumnInt(2)
		return nil
	})
	return counts, err
}

// Input reads the table of inputs.
func (b *sqliteBackend) Input(ctx context.Context, id string) (raw json.RawMessage, err error) {
	found := false
	err = b.query(ctx, "SELECT input FROM tasks LEFT JOIN task_inputs i ON i.id=tasks.id WHERE tasks.id=?", []any{id}, func(s *sqlite3.Stmt) error {
		found = true
		if s.ColumnType(0) != sqlite3.NULL {
			raw = json.RawMessage(s.ColumnText(0))
		}
		return nil
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	return raw, err
}

// Use leaves out tasks that have gone.
func (b *sqliteBackend) Use(ctx context.Context, at map[string]time.Time) error {
	return b.job(ctx, false, func(c *conn) error {
		for id, t := range at {
			if _, err := execute(c, `INSERT INTO task_uses(id, used_at) SELECT id, ?2 FROM tasks WHERE id=?1
				ON CONFLICT(id) DO UPDATE SET used_at=max(used_at, ?2)`, []any{id, t.Unix()}); err != nil {
				return err
			}
		}
		return nil
	})
}
