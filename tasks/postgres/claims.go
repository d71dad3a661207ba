package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

const (
	// claimBatch is how many tasks are claimed at once at most.
	claimBatch = 64
	// claimWindow is how many more tasks are looked at than are claimed: others claim the first ones at the same time.
	claimWindow = 16
	// carefulAtOnce is how many are claimed one after the other, by a transaction each, before the first is handed out.
	carefulAtOnce = 8
	// atOnce bounds how many tasks a claim takes back or makes ready. What is left is the next one's.
	atOnce = 64
)

// leased is what a claim changes. The attempt before goes to its own table.
const leased = `old AS (INSERT INTO @task_attempts(id, attempt, started_at, ended_at, error, uncounted)
		SELECT t.id, t.attempts, t.attempt_started_at, t.attempt_ended_at, t.attempt_error, t.attempt_uncounted
		FROM picked p JOIN @tasks t ON t.id=p.id WHERE t.attempt_started_at IS NOT NULL
		ON CONFLICT(id, attempt) DO NOTHING),
	did AS (UPDATE @tasks t SET status='processing', attempts=t.attempts+1, run_at=NULL, delayed_at=NULL, updated_at=ms/1000, started_at=ms,
			ended_at=NULL, cancelled=false, attempt_started_at=ms, attempt_ended_at=NULL, attempt_error=NULL, attempt_uncounted=false,
			lease=p.lease, worker=p.worker, leased_at=ms, lease_until=ms+$4::bigint, held=t.suspect, shared=false
		FROM n, picked p WHERE t.id=p.id
		RETURNING p.n, ` + infoColumnsT + `, t.lease, t.lease_until, t.input, t.max_attempts, t.backoff, t.timeout)` + logged

// claimReady claims ready tasks, if there is nothing else to do: no lease has expired, no task has become due, none is suspect,
// and no type has limits. It returns a row for each, or one without a task, with whether there is something else to do,
// how many ready tasks were looked at, and when it is time to look again.
//
// Of each type it looks at the first tasks in the order of claims, and locks the first of all that nobody else has locked.
const claimReady = `WITH n AS (SELECT {now} AS ms),
	w AS (SELECT EXISTS(SELECT 1 FROM @task_types l WHERE l.type=ANY($3::text[]) AND (l.paused OR l.max_running>0 OR l.rate>0))
		OR EXISTS(SELECT 1 FROM unnest($3::text[]) ty CROSS JOIN LATERAL (SELECT 1 FROM @tasks
			WHERE type=ty AND lease_until IS NOT NULL AND lease_until<=(SELECT ms FROM n) LIMIT 1) x)
		OR EXISTS(SELECT 1 FROM unnest($3::text[]) ty CROSS JOIN LATERAL (SELECT 1 FROM @tasks
			WHERE type=ty AND status='pending' AND run_at IS NOT NULL AND run_at<=(SELECT ms FROM n) LIMIT 1) x)
		OR EXISTS(SELECT 1 FROM unnest($3::text[]) ty CROSS JOIN LATERAL (SELECT 1 FROM @tasks
			WHERE type=ty AND status='pending' AND run_at IS NULL AND suspect LIMIT 1) x) AS more),
	seen AS MATERIALIZED (SELECT x.* FROM unnest($3::text[]) ty CROSS JOIN LATERAL (SELECT id, rank, seq FROM @tasks
			WHERE type=ty AND status='pending' AND run_at IS NULL AND NOT suspect AND NOT (SELECT more FROM w)
			ORDER BY rank, seq LIMIT $7::int) x ORDER BY rank, seq LIMIT $7::int),
	locked AS (SELECT t.id, s.rank, s.seq FROM seen s JOIN @tasks t ON t.id=s.id
		WHERE t.status='pending' AND t.run_at IS NULL AND NOT t.suspect
		ORDER BY s.rank, s.seq LIMIT cardinality($5::text[]) FOR UPDATE OF t SKIP LOCKED),
	picked AS (SELECT l.id, l.n, ($5::text[])[l.n] AS lease, ($6::text[])[l.n] AS worker
		FROM (SELECT id, row_number() OVER (ORDER BY rank, seq) AS n FROM locked) l),
	` + leased + `
	SELECT (SELECT ms FROM n), (SELECT more FROM w), (SELECT count(*) FROM seen), CASE WHEN did.n IS NULL THEN
		(SELECT min(x.at) FROM unnest($3::text[]) ty CROSS JOIN LATERAL (
			(SELECT lease_until AS at FROM @tasks WHERE type=ty AND lease_until IS NOT NULL ORDER BY lease_until LIMIT 1) UNION ALL
			(SELECT run_at FROM @tasks WHERE type=ty AND status='pending' AND run_at IS NOT NULL ORDER BY run_at LIMIT 1)) x) END, did.*
	FROM (SELECT 1) one LEFT JOIN did ON true ORDER BY did.n`

// claim is a call that waits for a task.
type claim struct {
	query tasks.ClaimQuery
	lease string
	task  tasks.Claimed
	err   error
	done  chan struct{}
	state claimState
}

type claimState int

const (
	claimQueued claimState = iota
	claimTaken
	claimLeft // its caller has gone
)

// claimer claims tasks for all callers. Those who want tasks of the same types share a statement.
type claimer struct {
	mu     sync.Mutex
	groups map[string]*claimGroup // guarded by mu
	// careful serializes claims that look at suspect tasks, of which a worker has one at a time, and at limits.
	careful sync.Mutex
}

// claimGroup are calls for the same types.
type claimGroup struct {
	queue  []*claim // guarded by claimer.mu
	active bool     // guarded by claimer.mu
}

// Claim waits for its share of the next statement.
func (b *backend) Claim(ctx context.Context, q tasks.ClaimQuery) (tasks.Claimed, error) {
	if err := b.settleClock(ctx); err != nil {
		return tasks.Claimed{}, err
	}
	if err := b.enter(ctx); err != nil {
		return tasks.Claimed{}, err
	}
	defer b.leave()
	c := &claim{query: q, lease: rand.Text(), done: make(chan struct{})}
	key := fmt.Sprint(q.Lease, " ", q.MaxAttempts, " ", strings.Join(column(q.Types, func(t tasks.Type) string { return string(t) }), "\x00"))
	m := &b.claims
	m.mu.Lock()
	if m.groups == nil {
		m.groups = map[string]*claimGroup{}
	}
	g := m.groups[key]
	if g == nil {
		g = &claimGroup{}
		m.groups[key] = g
	}
	g.queue = append(g.queue, c)
	if !g.active {
		g.active = true
		go b.claim(key, g)
	}
	m.mu.Unlock()
	select {
	case <-c.done:
		return c.task, c.err
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.state == claimQueued {
		c.state = claimLeft
		return tasks.Claimed{}, ctx.Err()
	}
	select {
	case <-c.done:
		return c.task, c.err
	default:
		return tasks.Claimed{}, unknownError(ctx.Err())
	}
}

// claim claims for a group until nobody is left.
func (b *backend) claim(key string, g *claimGroup) {
	for {
		b.claims.mu.Lock()
		var batch []*claim
		for len(g.queue) > 0 && len(batch) < claimBatch {
			c := g.queue[0]
			g.queue = g.queue[1:]
			if c.state == claimQueued {
				c.state = claimTaken
				batch = append(batch, c)
			}
		}
		if len(batch) == 0 {
			g.active = false
			delete(b.claims.groups, key)
			b.claims.mu.Unlock()
			return
		}
		b.claims.mu.Unlock()
		b.claimFor(batch)
	}
}

// claimFor claims tasks for calls, and answers each once it is known what comes of it.
func (b *backend) claimFor(batch []*claim) {
	for len(batch) > 0 {
		n, err := b.claimSome(batch)
		if err != nil {
			n = len(batch)
			for _, c := range batch {
				c.err = err
			}
		}
		for _, c := range batch[:n] {
			close(c.done)
		}
		batch = batch[n:]
	}
}

// claimSome finds out what comes of some calls, the first ones, and returns how many.
func (b *backend) claimSome(batch []*claim) (n int, err error) {
	for window := claimWindow; ; window *= 8 {
		r, err := b.claimReady(batch, window)
		switch {
		case err != nil:
			return 0, err
		case r.more:
			n = min(len(batch), carefulAtOnce)
			b.notifier.mayWaitForAny()
			b.claimCarefully(batch[:n])
			return n, nil
		case r.got > 0:
			return r.got, nil
		case r.seen < window+len(batch) || window >= 1<<16:
			b.notifier.wakeAfter(r.wait)
			return 0, tasks.ErrNoTask
		}
		// Others have all of these.
	}
}

// ClaimMany is one statement, unless there is something else to do or others have what it has seen.
func (b *backend) ClaimMany(ctx context.Context, q tasks.ClaimQuery, n int) ([]tasks.Claimed, error) {
	if err := b.settleClock(ctx); err != nil {
		return nil, err
	}
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	batch := make([]*claim, min(n, claimBatch))
	for i := range batch {
		batch[i] = &claim{query: q, lease: rand.Text()}
	}
	n, err := b.claimSome(batch)
	var list []tasks.Claimed
	for _, c := range batch[:n] {
		if c.err == nil {
			list = append(list, c.task)
		} else if err == nil {
			err = c.err // the next call meets it too, if there is one task
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	return nil, err
}

// claimed is what a statement has claimed.
type claimed struct {
	more      bool
	seen, got int
	wait      time.Duration // until it is time to look again, or 0
}

func (b *backend) claimReady(batch []*claim, window int) (r claimed, err error) {
	q := batch[0].query
	leases := column(batch, func(c *claim) string { return c.lease })
	workers := column(batch, func(c *claim) string { return c.query.Worker })
	var got []tasks.Claimed
	err = b.again(func(ctx context.Context) error {
		r, got = claimed{}, nil
		args := []any{b.now(), b.name(), typesOf(q), q.Lease.Milliseconds(), leases, workers, window + len(batch)}
		return b.relaxedly(ctx, step{sql: claimReady, args: args, row: func(rows pgx.Rows) error {
			var now int64
			var next, n *int64
			c, dest := scanClaimed()
			if err := rows.Scan(append([]any{&now, &r.more, &r.seen, &next, &n}, dest...)...); err != nil {
				return err
			}
			b.steps.saw(now, time.Now())
			if n != nil {
				got = append(got, c())
			}
			if next != nil {
				r.wait = max(time.Millisecond, time.Duration(*next-now)*time.Millisecond)
			}
			return nil
		}})
	})
	if err != nil {
		return r, err
	}
	r.got = len(got)
	for i := range got {
		batch[i].task = got[i]
	}
	b.notifier.made(news{ids: column(got, func(c tasks.Claimed) string { return c.ID }), lease: q.Lease})
	return r, nil
}

func typesOf(q tasks.ClaimQuery) []string {
	types := column(q.Types, func(t tasks.Type) string { return string(t) })
	slices.Sort(types)
	return slices.Compact(types)
}

// scanClaimed returns where a row's columns go, and what makes a task of them.
func scanClaimed() (c func() tasks.Claimed, dest []any) {
	var in infoRow
	var lease, input *string
	var until, backoff, timeout *int64
	var most *int
	return func() tasks.Claimed {
		c := tasks.Claimed{Info: in.info(), Lease: *lease, LeaseUntil: time.UnixMilli(*until).UTC(), MaxAttempts: *most,
			Backoff: time.Duration(*backoff) * time.Millisecond, Timeout: time.Duration(*timeout) * time.Millisecond}
		if input != nil {
			c.Input = json.RawMessage(*input)
		}
		return c
	}, append(in.dest(), &lease, &until, &input, &most, &backoff, &timeout)
}

// name is what the log of changes calls this backend.
func (b *backend) name() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.writer
}

// change runs a transaction that needn't be durable.
func (b *backend) change(f func(ctx context.Context, tx pgx.Tx) error) error {
	return b.again(func(ctx context.Context) error { return b.changeOnce(ctx, f) })
}

// again runs what changes something. It is tried again if it has changed nothing.
func (b *backend) again(f func(ctx context.Context) error) error {
	start := time.Now()
	var p pause
	for {
		ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
		err := f(ctx)
		cancel()
		if err == nil {
			b.relaxed.changed.Store(true)
			return nil
		}
		switch b.outcomeOf(err) {
		case unknown:
			b.relaxed.changed.Store(true)
			b.lost()
			return unknownError(err)
		case failed:
			return explain(err)
		}
		if readOnly(err) {
			b.pool.Reset()
		}
		if time.Since(start) > b.patience {
			return explain(err)
		}
		select {
		case <-p.next():
		case <-b.ctx.Done():
			return tasks.ErrClosed
		}
	}
}

// relaxedly runs one statement in a transaction, at once.
func (b *backend) relaxedly(ctx context.Context, s step) error {
	conn, err := b.pool.Acquire(ctx)
	if err != nil {
		return notSent(err)
	}
	defer b.release(conn)
	var batch pgx.Batch
	batch.Queue(b.stmt(setRelaxed))
	batch.Queue(b.stmt(s.sql), s.args...)
	results := conn.SendBatch(ctx, &batch)
	if _, err := results.Exec(); err != nil {
		results.Close()
		return err
	}
	if err := s.read(results); err != nil {
		results.Close()
		return err
	}
	return results.Close()
}

func (b *backend) changeOnce(ctx context.Context, f func(ctx context.Context, tx pgx.Tx) error) error {
	conn, err := b.pool.Acquire(ctx)
	if err != nil {
		return notSent(err)
	}
	defer b.release(conn)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: "BEGIN; SET LOCAL synchronous_commit=off"})
	if err != nil {
		return notCommitted(err)
	}
	if err := f(ctx, tx); err != nil {
		rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		tx.Rollback(rollback)
		return notCommitted(err)
	}
	return tx.Commit(ctx)
}

// notCommitted is an error that was met before a transaction was to be committed.
func notCommitted(err error) error {
	if outcomeOf(err) == unknown && !errors.Is(err, context.DeadlineExceeded) {
		return &notSentError{err}
	}
	return err
}
