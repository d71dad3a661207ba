package tasks

import (
	"context"

	"github.com/ncruces/go-sqlite3"
)

// Changes reads the log of changes.
func (b *sqliteBackend) Changes(ctx context.Context, after int64, limit int) (c Changes, err error) {
	err = b.read(ctx, func(r *reader) error {
		// One look at the end of the log and its entries.
		return r.inOne(func() error { return r.changes(after, limit, &c) })
	})
	return c, err
}

func (r *reader) changes(after int64, limit int, c *Changes) error {
	last, err := queryInt(r.conn, lastChange)
	if err != nil {
		return err
	}
	if after < 0 {
		c.Last = last
		return nil
	}
	if after > last {
		// Somebody has emptied the log, or the file is an older copy.
		c.Last, c.Lost = last, true
		return nil
	}
	next := after + 1
	c.Last = after
	err = each(r.conn, "SELECT seq, id FROM task_changes WHERE seq>? ORDER BY seq LIMIT ?", []any{after, limit}, func(s *sqlite3.Stmt) error {
		seq := s.ColumnInt64(0)
		c.Lost = c.Lost || seq != next
		c.Last, next = seq, seq+1
		c.IDs, c.Numbers = append(c.IDs, s.ColumnText(1)), append(c.Numbers, seq)
		return nil
	})
	c.More = c.Last < last
	return err
}

var _ ChangesBackend = (*sqliteBackend)(nil)
