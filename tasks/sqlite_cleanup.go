package tasks

import (
	"context"
	"strconv"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	// lockTime is how long a job that deletes goes on before others get their turn at the write lock.
	// It is exceeded by one row at most: SQLite can't delete half a row.
	lockTime = 2 * time.Millisecond
	// partRows is how many rows it deletes at most, because the commit takes its time for each page that has changed.
	partRows = 100
	// cleanupPage is how many rows to delete are looked for at once, without the write lock.
	cleanupPage = 1000
	// vacuumStep is how many pages are given back between two looks at the time.
	vacuumStep = 8
)

// inParts runs a statement with the arguments for 0 to n-1, in jobs of lockTime. After each job,
// it calls changed for those that have changed a row. It doesn't wait for durability: see Sync.
func (b *sqliteBackend) inParts(ctx context.Context, sql string, n int, args func(i int) []any, changed func(i int)) error {
	for next, full := 0, false; next < n; {
		var done []bool
		rows := partRows
		if full {
			rows = 1
		}
		err := b.job(ctx, false, func(c *conn) error {
			done = nil // it may be the second try
			s, err := c.statement(sql)
			if err != nil {
				return err
			}
			defer c.done(sql, s)
			for start := time.Now(); next+len(done) < n && len(done) < rows && (len(done) == 0 || time.Since(start) < lockTime); {
				bind(s, args(next+len(done)))
				s.Step()
				if err := s.Reset(); err != nil {
					return err
				}
				done = append(done, c.Changes() > 0)
			}
			return nil
		})
		if fullDisk(err) && !full {
			// To delete takes space in the WAL first: as little as possible.
			full = true
			continue
		}
		if err != nil {
			return err // the job may still run
		}
		for i, ok := range done {
			if ok {
				changed(next + i)
			}
		}
		next += len(done)
	}
	return nil
}

// Sync is the end of a change that changes nothing: changes are made durable in order, those of other processes among them.
// On another VFS a process can only speak for itself, and makes each of its changes durable at once.
func (b *sqliteBackend) Sync(ctx context.Context) error {
	return b.job(ctx, true, func(*conn) error { return nil })
}

// oldTask is a task to delete.
type oldTask struct {
	rowid, created int64
	id             string
}

// Cleanup looks for old tasks without the write lock. One that has changed since, so that it is to be kept, is kept.
func (b *sqliteBackend) Cleanup(ctx context.Context, q CleanupQuery) (deleted int, err error) {
	if b.readOnly {
		return 0, b.job(ctx, false, nil)
	}
	created, err := b.created(ctx, q.Age)
	if err != nil {
		return 0, err
	}
	walks, err := b.cleanupWalks(ctx, q)
	if err != nil {
		return 0, err
	}
	for _, w := range walks {
		n, err := b.cleanupWalk(ctx, q, created.Unix(), w)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	n, err := b.deleteOtherTimes(ctx, q, created.Unix())
	if deleted += n; err != nil || deleted == 0 {
		return deleted, err
	}
	if err := b.Sync(ctx); err != nil {
		return deleted, err
	}
	return deleted, b.shrink(ctx)
}

// cleanupWalks returns the walks of an index that find the tasks, so that none walks past those that are kept.
func (b *sqliteBackend) cleanupWalks(ctx context.Context, q CleanupQuery) (list []walk, err error) {
	err = b.read(ctx, func(r *reader) (err error) {
		list, err = walks(r.conn, Query{Owner: q.Owner, Statuses: q.Statuses})
		return err
	})
	return list, err
}

func (b *sqliteBackend) cleanupWalk(ctx context.Context, q CleanupQuery, before int64, w walk) (deleted int, err error) {
	used := ""
	if q.ByUse {
		used = " AND NOT EXISTS(SELECT 1 FROM task_uses u WHERE u.id=tasks.id AND u.used_at>?2)"
	}
	var last *oldTask
	for more := true; more; {
		so := deleted
		old, err := b.oldTasks(ctx, before, w, last, used)
		if err != nil {
			return deleted, err
		}
		args := []any{nil, before}
		sql := "DELETE FROM tasks WHERE rowid=?1 AND created_at<=?2" + used + in("status", q.Statuses, &args)
		if err := b.inParts(ctx, sql, len(old), func(i int) []any {
			args[0] = old[i].rowid
			return args
		}, func(int) {
			deleted++
		}); err != nil {
			return deleted, err
		}
		if more = len(old) == cleanupPage; more {
			next := &old[len(old)-1]
			switch {
			case deleted > so:
				// What was found is gone. Others' ids and times may not be what they would be compared with.
				last = nil
			case last != nil && *next == *last:
				more = false
			default:
				last = next
			}
		}
	}
	return deleted, nil
}

// oldTasks returns the next tasks of a walk that were created before a time.
func (b *sqliteBackend) oldTasks(ctx context.Context, before int64, w walk, last *oldTask, used string) (old []oldTask, err error) {
	args := []any{cleanupPage, before}
	sql := "SELECT rowid, created_at, id FROM " + w.from + " WHERE created_at<=?2" + used + w.where(&args)
	if last != nil {
		sql += " AND (created_at, id) > (?, ?)"
		args = append(args, last.created, last.id)
	}
	err = b.query(ctx, sql+" ORDER BY created_at, id LIMIT ?1", args, func(s *sqlite3.Stmt) error {
		old = append(old, oldTask{s.ColumnInt64(0), s.ColumnInt64(1), s.ColumnText(2)})
		return nil
	})
	return old, err
}

// shrink gives free pages back to the file system. A database that the Python module has made keeps them for later.
// It ends when others free pages as fast as it gives them back.
func (b *sqliteBackend) shrink(ctx context.Context) error {
	for last := int64(-1); ; {
		free := int64(0)
		if err := b.job(ctx, false, func(c *conn) (err error) {
			const incremental = 2
			if mode, err := queryInt(c, "PRAGMA auto_vacuum"); err != nil || mode != incremental {
				return err
			}
			free, err = vacuum(c)
			return err
		}); err != nil {
			return err
		}
		if free == 0 || last >= 0 && free >= last {
			return nil
		}
		last = free
	}
}

// vacuum gives pages back for lockTime. It returns how many are left.
func vacuum(c *conn) (free int64, err error) {
	s, _, err := c.Prepare("PRAGMA incremental_vacuum(" + strconv.Itoa(vacuumStep) + ")")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for start := time.Now(); ; {
		for s.Step() {
			// Each step gives one page back.
		}
		if err := s.Reset(); err != nil {
			return 0, err
		}
		if free, err = queryInt(c, "PRAGMA freelist_count"); free == 0 || err != nil || time.Since(start) >= lockTime {
			return free, err
		}
	}
}
