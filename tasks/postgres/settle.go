package postgres

import (
	"context"
	"encoding/json"
	"errors"
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
//
// The last two columns are of certain tasks, of whom the second argument is the ids; an entry without ids may be of any.
const lookSettled = `SELECT r.standby, CASE WHEN NOT r.standby THEN pg_postmaster_start_time()::text||' '||left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END AS server,
		s.now::text AS now, current_setting('synchronous_standby_names')<>'' AS replicated,
		CASE WHEN NOT r.standby THEN pg_current_wal_flush_lsn()>=pg_current_wal_insert_lsn() END AS flushed, news.*
	FROM (SELECT pg_is_in_recovery() AS standby) r, (SELECT pg_current_snapshot() AS now) s,
		(SELECT count(*)>0 AS news, coalesce(bool_or(unsure), false) AS unsure, coalesce(bool_or(here), false) AS here, coalesce(bool_or(unsure AND here), false) AS unsurehere
		FROM (SELECT NOT durable OR writer='-' AS unsure, writer='-' OR ids='{}' OR ids && $2::text[] AS here
			FROM @task_changes, pg_current_snapshot() s
			WHERE xid>=pg_snapshot_xmin($1::text::pg_snapshot)::text::bigint AND xid<pg_snapshot_xmax(s)::text::bigint
				AND NOT pg_visible_in_snapshot(xid::text::xid8, $1::text::pg_snapshot)) e) news`

// Statements that look at tasks too, by the same snapshot. They have a row for each task that was asked for, also if there is none.
const (
	lookOneSettled  = "SELECT k.*, " + infoColumnsT + " FROM (" + lookSettled + ") k LEFT JOIN @tasks t ON t.id=($2::text[])[1]"
	lookManySettled = "SELECT k.*, " + infoColumnsT + " FROM (" + lookSettled + ") k CROSS JOIN unnest($2::text[]) WITH ORDINALITY i(id, n) " +
		"LEFT JOIN @tasks t ON t.id=i.id ORDER BY i.n"
	getOneSettled = "SELECT k.*, " + infoColumnsT + ", t.result FROM (" + lookSettled + ") k LEFT JOIN @tasks t ON t.id=($2::text[])[1]"
)

// settlement is an answer of lookSettled.
type settlement struct {
	standby          bool
	server           *string
	snapshot         string
	replicated       bool // a commit may have to wait for a standby
	flushed          *bool
	news, unsureNews bool
	here, unsureHere bool // news of the tasks that were asked for
}

func (s *settlement) dest() []any {
	return []any{&s.standby, &s.server, &s.snapshot, &s.replicated, &s.flushed, &s.news, &s.unsureNews, &s.here, &s.unsureHere}
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

// ofTasks is the settlement of those tasks alone.
func (s settlement) ofTasks() settlement {
	s.news, s.unsureNews = s.here, s.unsureHere
	return s
}

// known returns the snapshot of which all is known to be durable, and the run of the server that it is of.
func (k *settled) known() (server, snapshot string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.server == "" {
		return "", noSnapshot
	}
	return k.server, k.snapshot
}

// learn is called once all that was visible is durable.
func (k *settled) learn(s settlement) {
	if s.standby {
		return
	}
	// An older snapshot than another call's is as true.
	k.mu.Lock()
	defer k.mu.Unlock()
	k.server, k.snapshot = *s.server, s.snapshot
}

// settle returns once what was seen is durable, given the run of the server that the question was about: that of the tasks which were asked for, if some were.
func (b *backend) settle(ctx context.Context, s settlement, server string, ofTasks bool) error {
	if !s.durable(server, b.commit) {
		if ofTasks && s.ofTasks().durable(server, b.commit) {
			return nil
		}
		if err := b.Sync(ctx); err != nil {
			return err
		}
	}
	b.settled.learn(s)
	return nil
}

// Settle asks the server what is durable. Where that can't be told, it is a Sync, which calls share.
func (b *backend) Settle(ctx context.Context) error {
	server, snapshot := b.settled.known()
	var s settlement
	if err := b.read(ctx, func(ctx context.Context) error {
		s = settlement{}
		return b.pool.QueryRow(ctx, b.stmt(lookSettled), snapshot, []string{}).Scan(s.dest()...)
	}); err != nil {
		return err
	}
	return b.settle(ctx, s, server, false)
}

// LookSettled looks at tasks and at what is durable by one statement.
func (b *backend) LookSettled(ctx context.Context, ids []string, found func(int, tasks.Info, error)) {
	sql := lookManySettled
	if len(ids) == 1 {
		sql = lookOneSettled
	}
	server, snapshot := b.settled.known()
	var s settlement
	infos := make([]infoRow, len(ids))
	err := b.read(ctx, func(ctx context.Context) error {
		clear(infos)
		rows, err := b.pool.Query(ctx, b.stmt(sql), snapshot, ids)
		if err != nil {
			return err
		}
		defer rows.Close()
		n := 0
		for ; rows.Next(); n++ {
			s = settlement{}
			if err := rows.Scan(append(s.dest(), infos[n].dest()...)...); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if n != len(ids) {
			return errors.New("postgres: a look returned another number of rows than tasks were asked for")
		}
		return nil
	})
	if err == nil && len(ids) > 0 {
		err = b.settle(ctx, s, server, true)
	}
	for i := range ids {
		switch {
		case err != nil:
			found(i, tasks.Info{}, err)
		case !infos[i].id.Valid:
			found(i, tasks.Info{}, tasks.ErrNotFound)
		default:
			found(i, infos[i].info(), nil)
		}
	}
}

// GetSettled does so for a task and its result.
func (b *backend) GetSettled(ctx context.Context, id string) (tasks.Result, error) {
	server, snapshot := b.settled.known()
	var s settlement
	var r infoRow
	var raw *string
	if err := b.read(ctx, func(ctx context.Context) error {
		s, r, raw = settlement{}, infoRow{}, nil
		return b.pool.QueryRow(ctx, b.stmt(getOneSettled), snapshot, []string{id}).Scan(append(append(s.dest(), r.dest()...), &raw)...)
	}); err != nil {
		return tasks.Result{}, err
	}
	if err := b.settle(ctx, s, server, true); err != nil {
		return tasks.Result{}, err
	}
	if !r.id.Valid {
		return tasks.Result{}, tasks.ErrNotFound
	}
	res := tasks.Result{Info: r.info()}
	if raw != nil {
		res.Raw = json.RawMessage(*raw)
	}
	return res, nil
}

var _ tasks.SettledReader = (*backend)(nil)
