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
	from  string   // the table, and the index
	names []string // of columns
	is    []string // their values
	tasks int      // so many
}

// where returns the conditions, and adds their values to the arguments.
func (w walk) where(args *[]any) (sql string) {
	for i, name := range w.names {
		*args = append(*args, w.is[i])
		sql += " AND " + name + "=?"
	}
	return sql
}

// walks returns the walks of a query without a label. Which types and statuses there are is known from the counts.
func walks(c *conn, q Query) (list []walk, err error) {
	if q.Owner == "" && len(q.Types) == 0 && len(q.Statuses) == 0 {
		return []walk{{from: "tasks INDEXED BY tasks_created"}}, nil
	}
	args := []any{q.Owner}
	sql := "SELECT type, status, n FROM task_counts WHERE owner=? AND n>0" + in("type", q.Types, &args) + in("status", q.Statuses, &args)
	err = each(c, sql, args, func(s *sqlite3.Stmt) error {
		w := walk{"tasks INDEXED BY tasks_by", []string{"type", "status"}, []string{s.ColumnText(0), s.ColumnText(1)}, s.ColumnInt(2)}
		if q.Owner != "" {
			w = walk{"tasks INDEXED BY tasks_owner", append([]string{"owner<>'' AND owner"}, w.names...), append([]string{q.Owner}, w.is...), w.tasks}
		}
		list = append(list, w)
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
		if q.Label[0] != "" && !few(ways) {
			list, err = labelled(r.conn, q)
			return err
		}
		list, err = merge(r.conn, ways, q)
		return err
	})
	return list, err
}

// fewTasks is how many tasks are looked at one by one for a label, instead of walking all that have it.
const fewTasks = 500

// few reports whether walks come by few tasks.
func few(ways []walk) bool {
	n := 0
	for _, w := range ways {
		if len(w.names) == 0 {
			return false // all there are
		}
		n += w.tasks
	}
	return n <= fewTasks
}

// hasLabel is a condition for tasks, of which each has a few labels.
const hasLabel = " AND EXISTS(SELECT 1 FROM task_labels l INDEXED BY task_labels_id WHERE l.id=tasks.id AND l.name=? AND l.value=?)"

// after adds the condition of the page, the order and the limit to a query.
func (q Query) after(sql string, args []any) (string, []any) {
	order, after := "", ">"
	if q.Newest {
		order, after = " DESC", "<"
	}
	if q.After.ID != "" {
		sql += " AND (created_at, id) " + after + " (?, ?)"
		args = append(args, q.After.CreatedAt.Unix(), q.After.ID)
	}
	return sql + " ORDER BY created_at" + order + ", id" + order + " LIMIT ?", append(args, q.Limit)
}

// readable is the condition for rows that can be read. A page begins in the index where the one before has ended: SQLite begins
// at one bound only, so the other one on that side, which is the loosest, is kept from it by a sign.
func (q Query) readable() string {
	switch {
	case q.After.ID == "":
		return readable
	case q.Newest:
		return strings.Replace(readable, "created_at<", "+created_at<", 1)
	}
	return strings.Replace(readable, "created_at>=", "+created_at>=", 1)
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
		sql := "SELECT " + infoColumns + " FROM " + w.from + " WHERE " + q.readable() + w.where(&args)
		if q.Label[0] != "" {
			sql += hasLabel
			args = append(args, q.Label[0], q.Label[1])
		}
		sql, args = q.after(sql, args)
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

// labelled walks the tasks that have a label. Of these it visits all up to the last that it returns,
// so it is for those of which many are asked for: see few.
func labelled(c *conn, q Query) (list []Info, err error) {
	args := []any{q.Label[0], q.Label[1]}
	sql := "SELECT " + columnsOf("t") + " FROM task_labels l CROSS JOIN tasks t ON t.id=l.id WHERE l.name=? AND l.value=? AND " + readableOf("t") +
		in("t.type", q.Types, &args) + in("t.status", q.Statuses, &args)
	if q.Owner != "" {
		sql += " AND t.owner=?"
		args = append(args, q.Owner)
	}
	order, after := "", ">"
	if q.Newest {
		order, after = " DESC", "<"
	}
	if q.After.ID != "" {
		sql += " AND (l.created_at, l.id) " + after + " (?, ?)"
		args = append(args, q.After.CreatedAt.Unix(), q.After.ID)
	}
	sql += " ORDER BY l.created_at" + order + ", l.id" + order + " LIMIT ?"
	err = each(c, sql, append(args, q.Limit), func(s *sqlite3.Stmt) error {
		t, err := info(s)
		if err != nil {
			return fmt.Errorf("task %q: %w", t.ID, err)
		}
		list = append(list, t)
		return nil
	})
	return list, err
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
