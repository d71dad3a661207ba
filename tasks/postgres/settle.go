package postgres

import (
	"context"
	"sync"

	"github.com/docusnap/asyncvfs/tasks"
)

// settled is what is known to be durable: all that was visible in a snapshot of a server's.
type settled struct {
	mu       sync.Mutex
	server   string // the run of the server, and its timeline; guarded by mu
	snapshot string // guarded by mu
}

// noSnapshot sees nothing.
const noSnapshot = "1:1:"

// lookSettled looks at what can be read now. All of its parts see the same snapshot. Its argument is one that is known to be durable.
//
// Whoever changes what can be read of a task writes the log of changes in the same transaction. An entry that isn't in the snapshot
// is durable if its transaction has waited for that, before anybody could see it. All else is where the WAL is: whatever is visible was inserted
// before, so it is durable if the WAL is up to where it is inserted now.
//
// A standby is sent only what the primary has on its disk, and shows only what it has on its own.
const lookSettled = `SELECT r.standby, CASE WHEN NOT r.standby THEN pg_postmaster_start_time()::text||' '||left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END,
		s.now::text, current_setting('synchronous_standby_names')<>'',
		CASE WHEN NOT r.standby THEN pg_current_wal_flush_lsn()>=pg_current_wal_insert_lsn() END, news.any, news.unsure
	FROM (SELECT pg_is_in_recovery() AS standby) r, (SELECT pg_current_snapshot() AS now) s,
		(SELECT count(*)>0 AS any, coalesce(bool_or(NOT durable OR writer='-'), false) AS unsure FROM @task_changes, pg_current_snapshot() s
		WHERE xid>=pg_snapshot_xmin($1::text::pg_snapshot)::text::bigint AND xid<pg_snapshot_xmax(s)::text::bigint
			AND NOT pg_visible_in_snapshot(xid::text::xid8, $1::text::pg_snapshot)) news`

// settlement is an answer of lookSettled.
type settlement struct {
	standby          bool
	server           *string
	snapshot         string
	replicated       bool // a commit may have to wait for a standby
	flushed          *bool
	news, unsureNews bool
}

// durable reports whether all that was visible is durable, given the run of the server that the question was about.
func (s settlement) durable(server, commit string) bool {
	if s.standby {
		return true
	}
	known := *s.server == server
	if known && !s.news {
		return true
	}
	if s.replicated && commit != "local" {
		// Where the WAL is on this server says nothing of another, and a wait that was cancelled lets others see the commit.
		return false
	}
	return known && !s.unsureNews || *s.flushed
}

// Settle asks the server what is durable. Where that can't be told, it is a Sync, which calls share.
func (b *backend) Settle(ctx context.Context) error {
	k := &b.settled
	k.mu.Lock()
	server, snapshot := k.server, k.snapshot
	k.mu.Unlock()
	if server == "" {
		snapshot = noSnapshot
	}
	var s settlement
	if err := b.read(ctx, func(ctx context.Context) error {
		s = settlement{}
		return b.pool.QueryRow(ctx, b.stmt(lookSettled), snapshot).Scan(&s.standby, &s.server, &s.snapshot, &s.replicated, &s.flushed, &s.news, &s.unsureNews)
	}); err != nil {
		return err
	}
	if !s.durable(server, b.commit) {
		if err := b.Sync(ctx); err != nil {
			return err
		}
	}
	if !s.standby {
		// An older snapshot than another call's is as true.
		k.mu.Lock()
		k.server, k.snapshot = *s.server, s.snapshot
		k.mu.Unlock()
	}
	return nil
}

var _ tasks.SettleBackend = (*backend)(nil)
