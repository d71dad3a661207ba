package postgres

import (
	"context"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// feedHeldMost is how long who waits for changes is left waiting at most that a transaction which isn't theirs holds back.
const feedHeldMost = time.Second

// readFeed returns the part of the log of changes after a transaction's number that is told in order: all transactions up to the last one of it
// have ended, so none can come in between later. Rows of one transaction come together.
// One row comes at least. An entry without tasks is for the server only, and one that another server has numbered is left out.
const readFeed = `SELECT x.xmin-1, coalesce((SELECT min(xid) FROM @task_changes WHERE xid<x.xmin), 0),
		EXISTS(SELECT 1 FROM @task_changes WHERE xid>=x.xmin AND xid<x.xmax AND ids<>'{}'), c.xid, c.ids
	FROM (SELECT pg_snapshot_xmin(s)::text::bigint AS xmin, pg_snapshot_xmax(s)::text::bigint AS xmax FROM pg_current_snapshot() s) x
	LEFT JOIN LATERAL (SELECT xid, ids FROM @task_changes WHERE $1::bigint>=0 AND xid>$1 AND xid<x.xmin AND ids<>'{}'
		ORDER BY xid FETCH FIRST ($2::bigint) ROWS WITH TIES) c ON true`

// Changes reads the log of changes, whose numbers are those of transactions. A transaction's changes are told together,
// which may be more than limit, and not before all older transactions have ended, whosever they are.
func (b *backend) Changes(ctx context.Context, after int64, limit int) (c tasks.Changes, err error) {
	held := false
	err = b.read(ctx, func(ctx context.Context) error {
		c, held = tasks.Changes{Last: after}, false
		var end, first int64
		rows, err := b.pool.Query(ctx, b.stmt(readFeed), after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for n := 0; rows.Next(); n++ {
			var xid *int64
			var ids []string
			if err := rows.Scan(&end, &first, &held, &xid, &ids); err != nil {
				return err
			}
			if xid == nil {
				break
			}
			c.More = c.More || n+1 >= limit
			if *xid != c.Last && len(c.IDs) >= limit {
				c.More = true
				break
			}
			c.Last = *xid
			for _, id := range ids {
				c.IDs, c.Numbers = append(c.IDs, id), append(c.Numbers, *xid)
			}
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
		if after < 0 || after > end || after < first {
			// From now on, or what came in between is trimmed, or the server is an older copy.
			c = tasks.Changes{Last: end, Lost: after >= 0}
		}
		return nil
	})
	if err == nil {
		b.notifier.heldBack(held)
	}
	return c, err
}

// heldBack is told whether there are changes that can't be told yet. What ends the transaction that holds them back tells nobody:
// so those who wait look again after a time, which grows.
func (n *notifier) heldBack(held bool) {
	n.mu.Lock()
	if !held {
		n.held = 0
	} else {
		n.held = min(max(2*n.held, 10*time.Millisecond), feedHeldMost)
	}
	after := n.held
	n.mu.Unlock()
	n.wakeAfter(after)
}

var _ tasks.ChangesBackend = (*backend)(nil)
