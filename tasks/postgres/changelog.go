package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// changeLog reads the log of changes: a row for each transaction, with its number and the tasks that it has changed.
// Transactions aren't committed in the order of their numbers. So a look begins at the oldest transaction
// that was running at the last one, and what was seen of it is remembered.
type changeLog struct {
	mu      sync.Mutex
	xmin    int64          // all transactions before have been seen; guarded by mu
	seen    map[int64]bool // of those since; guarded by mu
	trimmed time.Time      // guarded by mu
}

const (
	// keepChanges is how many transactions the log keeps at least.
	keepChanges = 10000
	trimEvery   = time.Minute
	// manyChanges are so many that everybody is told to look.
	manyChanges = 5000
)

func (l *changeLog) begin(ctx context.Context, b *backend) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.trimmed = map[int64]bool{}, time.Now()
	return b.pool.QueryRow(ctx, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint").Scan(&l.xmin)
}

const (
	// readLog has no row of the log if nobody else has changed anything.
	readLog = `SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, c.xid, c.ids, c.writer
		FROM (SELECT 1) one LEFT JOIN (SELECT xid, ids, writer FROM @task_changes WHERE xid>=$1 ORDER BY xid LIMIT $2) c ON true`
	// trimLog deletes the oldest entries, of transactions that have all ended: no other comes in between later.
	// It has to be durable. Then an entry that can't be seen any more is so, too.
	trimLog = `DELETE FROM @task_changes WHERE xid<(SELECT xid FROM @task_changes ORDER BY xid DESC OFFSET $1 LIMIT 1)
		AND xid<pg_snapshot_xmin(pg_current_snapshot())::text::bigint AND pg_try_advisory_xact_lock(hashtext($2))`
)

// look returns the tasks that others have changed since the last look, or that there are too many to tell.
func (l *changeLog) look(ctx context.Context, b *backend) (ids []string, all bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := b.name()
	rows, err := b.pool.Query(ctx, b.stmt(readLog), l.xmin, manyChanges)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	xmin, n, seen := l.xmin, 0, map[int64]bool{}
	for rows.Next() {
		var xid *int64
		var changed []string
		var writer *string
		if err := rows.Scan(&xmin, &xid, &changed, &writer); err != nil {
			return nil, false, err
		}
		if xid == nil {
			continue
		}
		n++
		if *writer != own && !l.seen[*xid] {
			ids = append(ids, changed...)
		}
		seen[*xid] = true
	}
	if err := rows.Err(); err != nil {
		return nil, false, err
	}
	for xid := range seen {
		if xid < xmin {
			delete(seen, xid)
		}
	}
	l.xmin, l.seen = xmin, seen
	if n == manyChanges {
		return nil, true, nil
	}
	l.trimIfDue(ctx, b)
	return ids, false, nil
}

// trim bounds the log, now and then.
func (l *changeLog) trim(ctx context.Context, b *backend) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	l.trimIfDue(ctx, b)
}

// trimIfDue is called with the lock held.
func (l *changeLog) trimIfDue(ctx context.Context, b *backend) {
	if time.Since(l.trimmed) <= b.trimEvery {
		return
	}
	l.trimmed = time.Now()
	if err := b.durably(ctx, func(batch *pgx.Batch) { batch.Queue(b.stmt(trimLog), keepChanges, "tasks trim "+b.schema) }); err != nil && ctx.Err() == nil {
		b.log.Warn("tasks: trim the log of changes", "error", err)
	}
}
