package tasks

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// Step reads one row.
func (b *sqliteBackend) Step(ctx context.Context, id, step string) (raw json.RawMessage, err error) {
	err = b.query(ctx, "SELECT result FROM task_steps WHERE id=? AND step=?", []any{id, step}, func(s *sqlite3.Stmt) error {
		raw = json.RawMessage(s.ColumnText(0))
		return nil
	})
	return raw, err
}

// SetStep checks the lease in the same statement.
func (b *sqliteBackend) SetStep(ctx context.Context, id, lease, step string, result json.RawMessage, durable bool) error {
	return b.job(ctx, durable, func(c *conn) error {
		return leased(execute(c, `INSERT INTO task_steps(id, step, result) SELECT id, ?3, ?4 FROM task_leases WHERE id=?1 AND lease=?2
			ON CONFLICT(id, step) DO UPDATE SET result=?4`, []any{id, lease, step, string(result)}))
	})
}

// columnsOf returns the columns of an Info with the name of their table.
func columnsOf(table string) string {
	return table + "." + strings.ReplaceAll(infoColumns, ", ", ", "+table+".")
}
