package tasks

import (
	"context"

	"github.com/ncruces/go-sqlite3"
)

// otherTimes is a condition for tasks that others have written, whose created_at isn't a time in seconds: a text or a blob,
// which are greater than all numbers, or a number of milliseconds or less. What tells their age is tried in turn.
// One that nothing tells it of may have been created just now: it goes only with those of any age, whose time ends now.
const otherTimes = `created_at>=253402300800 AND coalesce(CASE
	WHEN typeof(created_at) NOT IN ('integer', 'real') THEN unixepoch(created_at)
	WHEN created_at<253402300800000 THEN created_at/1000
	WHEN created_at<253402300800000000 THEN created_at/1000000
	WHEN created_at<253402300800000000000 THEN created_at/1000000000 END, iif(updated_at<253402300800, updated_at, NULL), ?)<=?`

// cleanupTries is how many pages of tasks in a row may have been changed by others before they could be deleted.
const cleanupTries = 3

// deleteOtherTimes deletes tasks that others have written with another kind of time.
// What it deletes is gone when it looks again; if nothing goes, it ends.
func (b *sqliteBackend) deleteOtherTimes(ctx context.Context, q CleanupQuery, before int64) (deleted int, err error) {
	unknown := before + 1
	if q.Age == 0 {
		unknown = before
	}
	args := []any{unknown, before}
	which := otherTimes + in("status", q.Statuses, &args)
	if q.Owner != "" {
		which += " AND owner=?"
		args = append(args, q.Owner)
	}
	if q.ByUse {
		which += " AND NOT EXISTS(SELECT 1 FROM task_uses u WHERE u.id=tasks.id AND u.used_at>?)"
		args = append(args, before)
	}
	for tries := 0; tries < cleanupTries; tries++ {
		var rows []int64
		if err := b.query(ctx, "SELECT rowid FROM tasks WHERE "+which+" LIMIT ?", append(args[:len(args):len(args)], cleanupPage),
			func(s *sqlite3.Stmt) error {
				rows = append(rows, s.ColumnInt64(0))
				return nil
			}); err != nil {
			return deleted, err
		}
		if err := b.inParts(ctx, "DELETE FROM tasks WHERE "+which+" AND rowid=?", len(rows), func(i int) []any {
			return append(args[:len(args):len(args)], rows[i])
		}, func(int) {
			deleted++
			tries = -1
		}); err != nil || len(rows) < cleanupPage {
			return deleted, err
		}
	}
	return deleted, nil
}
