package tasks

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

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
	err = b.query(ctx, sql, args, func(s *sqlite3.Stmt) error {
		t, err := info(s)
		if err != nil {
			return fmt.Errorf("task %q: %w", t.ID, err)
		}
		list = append(list, t)
		return nil
	})
	return list, err
}

// Count returns how many tasks there are of each type and status.
func (b *sqliteBackend) Count(ctx context.Context) (map[Type]map[Status]int, error) {
	counts := map[Type]map[Status]int{}
	err := b.query(ctx, "SELECT type, status, count(*) FROM tasks GROUP BY 1, 2", nil, func(s *sqlite3.Stmt) error {
		t := Type(s.ColumnText(0))
		if counts[t] == nil {
			counts[t] = map[Status]int{}
		}
		counts[t][Status(s.ColumnText(1))] = s.ColumnInt(2)
		return nil
	})
	return counts, err
}
