package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

const leaseExpired = "lease expired"

// The statements of a claim that has more to do than to take the first ready task.
const (
	// promote makes tasks that have become due ready, so that claims find them in their order.
	promote = `WITH n AS (SELECT {now} AS ms), due AS (SELECT x.id FROM unnest($2::text[]) ty CROSS JOIN LATERAL (SELECT id FROM @tasks
			WHERE type=ty AND status='pending' AND run_at IS NOT NULL AND run_at<=(SELECT ms FROM n) ORDER BY run_at LIMIT $3
			FOR UPDATE SKIP LOCKED) x),
		did AS (UPDATE @tasks t SET run_at=NULL, delayed_at=NULL FROM due WHERE t.id=due.id RETURNING t.id)
		INSERT INTO @task_changes(xid, writer, ids) SELECT pg_current_xact_id()::text::bigint, $4, '{}' FROM did HAVING count(*)>0`
	expired = `WITH n AS (SELECT {now} AS ms) SELECT x.* FROM unnest($2::text[]) ty CROSS JOIN LATERAL (
			SELECT id, lease, worker, held, attempts-uncounted, max_attempts, backoff FROM @tasks
			WHERE type=ty AND lease_until IS NOT NULL AND lease_until<=(SELECT ms FROM n) ORDER BY lease_until, id LIMIT $3
			FOR UPDATE SKIP LOCKED) x`
	// leasedIDs are a worker's other leases.
	leasedIDs = `WITH RECURSIVE ty AS ((SELECT type FROM @tasks WHERE lease_until IS NOT NULL ORDER BY type LIMIT 1) UNION ALL
			SELECT (SELECT t.type FROM @tasks t WHERE t.lease_until IS NOT NULL AND t.type>ty.type ORDER BY t.type LIMIT 1) FROM ty WHERE ty.type IS NOT NULL)
		SELECT x.id FROM ty CROSS JOIN LATERAL (SELECT id FROM @tasks t WHERE t.type=ty.type AND t.lease_until IS NOT NULL AND t.worker=$1 AND t.id<>$2) x`
	markShared = `UPDATE @tasks SET shared=true WHERE id=ANY($1) AND lease_until IS NOT NULL AND worker=$2`
	isShared   = `SELECT shared FROM @tasks WHERE id=$1`
	takeBack   = `WITH n AS (SELECT {now} AS ms),
		did AS (UPDATE @tasks t SET status=$4, error=$5, attempt_error=$5, attempt_ended_at=greatest(ms, t.attempt_started_at),
			attempt_uncounted=$6::int>0, uncounted=t.uncounted+$6::int, suspect=true, updated_at=ms/1000,
			run_at=CASE WHEN $7::bigint>0 THEN ms+$7 END, delayed_at=CASE WHEN $7::bigint>0 THEN ms END,
			ended_at=CASE WHEN $4 IN ('completed', 'error') THEN ms END, ` + endLease + `
			FROM n WHERE t.id=$3 RETURNING t.id)` + logged + ` SELECT id FROM did`
	isolated = `SELECT EXISTS(SELECT 1 FROM @tasks WHERE held AND worker=$1)`
	// limits locks the limits of types, so that they hold for all processes.
	limits  = `SELECT type, paused, max_running, rate, tokens, filled_at FROM @task_types WHERE type=ANY($1) ORDER BY type FOR UPDATE`
	running = `SELECT count(*) FROM (SELECT 1 FROM @tasks WHERE type=$1 AND lease_until IS NOT NULL LIMIT $2) x`
	take    = `UPDATE @task_types SET tokens=$2, filled_at=$3 WHERE type=$1`
	clock   = `SELECT {now}`
	// claimFirst claims the first task, a suspect one too if $8 says so.
	claimFirst = `WITH n AS (SELECT {now} AS ms),
		seen AS MATERIALIZED (SELECT x.* FROM unnest($3::text[]) ty CROSS JOIN LATERAL (
			(SELECT id, rank, seq FROM @tasks WHERE type=ty AND status='pending' AND run_at IS NULL AND NOT suspect ORDER BY rank, seq LIMIT $7::int)
			UNION ALL
			(SELECT id, rank, seq FROM @tasks WHERE type=ty AND status='pending' AND run_at IS NULL AND suspect AND $8::boolean ORDER BY rank, seq LIMIT $7::int)
			) x ORDER BY rank, seq LIMIT $7::int),
		locked AS (SELECT t.id, s.rank, s.seq FROM seen s JOIN @tasks t ON t.id=s.id
			WHERE t.status='pending' AND t.run_at IS NULL AND ($8::boolean OR NOT t.suspect)
			ORDER BY s.rank, s.seq LIMIT 1 FOR UPDATE OF t SKIP LOCKED),
		picked AS (SELECT id, 1::bigint AS n, $5::text AS lease, $6::text AS worker FROM locked),
		` + leased + `
		SELECT (SELECT count(*) FROM seen), did.* FROM (SELECT 1) one LEFT JOIN did ON true`
)

// bucket is what is left of a type's limit per second: tokens, of which a claim takes one.
type bucket struct {
	tasks.TypeLimits
	tokens   float64
	filledAt int64
}

// at fills the bucket up to a time. A clock that was set back fills nothing.
func (l bucket) at(now int64) bucket {
	l.tokens = min(max(1, l.PerSecond), l.tokens+float64(max(0, now-l.filledAt))/1000*l.PerSecond)
	l.filledAt = now
	return l
}

// claimCarefully claims a task for each call, one at a time.
func (b *backend) claimCarefully(batch []*claim) {
	b.claims.careful.Lock()
	defer b.claims.careful.Unlock()
	for i, c := range batch {
		if c.err = b.claimOne(c); errors.Is(c.err, tasks.ErrNoTask) && i+1 < len(batch) && batch[i+1].query.Worker == c.query.Worker {
			for _, other := range batch[i+1:] {
				other.err = tasks.ErrNoTask
			}
			return
		}
	}
}

// claimOne takes back what has expired, makes ready what is due, and claims the first task that may be claimed.
func (b *backend) claimOne(c *claim) error {
	var ids []string
	var wait time.Duration
	err := b.change(func(ctx context.Context, tx pgx.Tx) (err error) {
		c.task, wait = tasks.Claimed{}, 0
		if ids, err = b.takeBack(ctx, tx, c.query); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, b.stmt(promote), b.now(), typesOf(c.query), atOnce, b.name()); err != nil {
			return err
		}
		var now int64
		if err := tx.QueryRow(ctx, b.stmt(clock), b.now()).Scan(&now); err != nil {
			return err
		}
		open, of, err := b.open(ctx, tx, now, typesOf(c.query))
		if err != nil {
			return err
		}
		var alone bool
		if err := tx.QueryRow(ctx, b.stmt(isolated), c.query.Worker).Scan(&alone); err != nil {
			return err
		}
		if err := b.first(ctx, tx, c, open, !alone); err != nil {
			return err
		}
		if c.task.ID == "" {
			var next *int64
			if err := tx.QueryRow(ctx, b.stmt(nextTime), typesOf(c.query)).Scan(&next); err != nil {
				return err
			}
			if next != nil {
				wait = max(time.Millisecond, time.Duration(*next-now)*time.Millisecond)
			}
			for _, l := range of {
				// A limit per second ends by itself.
				if !l.Paused && l.PerSecond > 0 && l.at(now).tokens < 1 {
					d := time.Duration((1-l.at(now).tokens)/l.PerSecond*1000+1) * time.Millisecond
					if wait == 0 || d < wait {
						wait = d
					}
				}
			}
			return nil
		}
		ids = append(ids, c.task.ID)
		l := of[c.task.Type]
		if l.PerSecond == 0 {
			return nil
		}
		l = l.at(now)
		_, err = tx.Exec(ctx, b.stmt(take), string(c.task.Type), l.tokens-1, now)
		return err
	})
	if err != nil {
		return err
	}
	b.notifier.made(news{ids: ids, ready: true})
	if c.task.ID == "" {
		b.notifier.wakeAfter(wait)
		return tasks.ErrNoTask
	}
	return nil
}

const nextTime = `SELECT min(x.at) FROM unnest($1::text[]) ty CROSS JOIN LATERAL (
	(SELECT lease_until AS at FROM @tasks WHERE type=ty AND lease_until IS NOT NULL ORDER BY lease_until LIMIT 1) UNION ALL
	(SELECT run_at FROM @tasks WHERE type=ty AND status='pending' AND run_at IS NOT NULL ORDER BY run_at LIMIT 1)) x`

// first claims the first task of types. The window is made wider while others have all that is in it.
func (b *backend) first(ctx context.Context, tx pgx.Tx, c *claim, types []string, suspects bool) error {
	for window := claimWindow; window < 1<<16; window *= 8 {
		var seen int
		var n *int64
		task, dest := scanClaimed()
		if err := tx.QueryRow(ctx, b.stmt(claimFirst), b.now(), b.name(), types, c.query.Lease.Milliseconds(), c.lease, c.query.Worker, window, suspects).
			Scan(append([]any{&seen, &n}, dest...)...); err != nil {
			return err
		}
		if n != nil {
			c.task = task()
			return nil
		}
		if seen < window {
			return nil
		}
	}
	return nil
}

// open returns the types of which tasks may be claimed, and the limits that there are.
func (b *backend) open(ctx context.Context, tx pgx.Tx, now int64, types []string) (open []string, of map[tasks.Type]bucket, err error) {
	of = map[tasks.Type]bucket{}
	rows, err := tx.Query(ctx, b.stmt(limits), types)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t string
		var l bucket
		if err := rows.Scan(&t, &l.Paused, &l.Running, &l.PerSecond, &l.tokens, &l.filledAt); err != nil {
			return nil, nil, err
		}
		of[tasks.Type(t)] = l
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	for _, t := range types {
		l := of[tasks.Type(t)]
		if l.Paused || l.PerSecond > 0 && l.at(now).tokens < 1 {
			continue
		}
		if l.Running > 0 {
			var n int
			if err := tx.QueryRow(ctx, b.stmt(running), t, l.Running).Scan(&n); err != nil {
				return nil, nil, err
			}
			if n >= l.Running {
				continue
			}
		}
		open = append(open, t)
	}
	return open, of, nil
}

// expiredLease is a lease that nobody has extended in time.
type expiredLease struct {
	id, lease     string
	worker        *string
	held          bool
	counted, most int
	own           int64
}

// takeBack ends the leases that have expired, and returns their tasks.
//
// Whose task has killed the worker isn't known if it had several. So an attempt counts only if the task was alone,
// or if it was the suspect one, of which a worker has one at a time. The other leases of the worker may end later:
// that it had more than they then show is kept with them, until they are extended, which shows that the worker lives.
func (b *backend) takeBack(ctx context.Context, tx pgx.Tx, q tasks.ClaimQuery) (ids []string, err error) {
	rows, err := tx.Query(ctx, b.stmt(expired), b.now(), typesOf(q), atOnce)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e expiredLease, err error) {
		err = row.Scan(&e.id, &e.lease, &e.worker, &e.held, &e.counted, &e.most, &e.own)
		return e, err
	})
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if err := b.takeBackOne(ctx, tx, q, e); err != nil {
			return nil, err
		}
		ids = append(ids, e.id)
	}
	return ids, nil
}

func (b *backend) takeBackOne(ctx context.Context, tx pgx.Tx, q tasks.ClaimQuery, e expiredLease) error {
	var shared bool // the one before may have set it
	if err := tx.QueryRow(ctx, b.stmt(isShared), e.id).Scan(&shared); err != nil {
		return err
	}
	var neighbours []string
	if e.worker != nil && *e.worker != "" {
		rows, err := tx.Query(ctx, b.stmt(leasedIDs), *e.worker, e.id)
		if err != nil {
			return err
		}
		if neighbours, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return err
		}
		if len(neighbours) > 0 {
			if _, err := tx.Exec(ctx, b.stmt(markShared), neighbours, *e.worker); err != nil {
				return err
			}
		}
	}
	counts := e.held || e.worker == nil || *e.worker == "" || !shared && len(neighbours) == 0
	most, counted, uncounted := e.most, e.counted, 0
	if most == 0 {
		most = q.MaxAttempts
	}
	if !counts {
		uncounted = 1
		counted--
	}
	status, delay := tasks.Pending, time.Duration(0)
	if counts && counted >= most {
		status = tasks.Error
	} else {
		delay = max(0, q.Backoff(max(1, counted), time.Duration(e.own)*time.Millisecond))
	}
	_, err := tx.Exec(ctx, b.stmt(takeBack), b.now(), b.name(), e.id, string(status), leaseExpired, uncounted, delay.Milliseconds())
	return err
}
