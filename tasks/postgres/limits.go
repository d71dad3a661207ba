package postgres

import (
	"context"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

// SetLimits begins with a full bucket.
func (b *backend) SetLimits(ctx context.Context, t tasks.Type, l tasks.TypeLimits) error {
	return b.told(b.one(ctx, true, 0, &job{sql: `WITH n AS (SELECT {now} AS ms, $2::text)
		INSERT INTO @task_types AS l (type, paused, max_running, rate, tokens, filled_at) SELECT $3, $4, $5, $6, $7, ms FROM n
		ON CONFLICT(type) DO UPDATE SET paused=excluded.paused, max_running=excluded.max_running, rate=excluded.rate,
			tokens=CASE WHEN l.rate=excluded.rate THEN l.tokens ELSE excluded.tokens END,
			filled_at=CASE WHEN l.rate=excluded.rate THEN l.filled_at ELSE excluded.filled_at END`,
		args: []any{string(t), l.Paused, l.Running, l.PerSecond, max(1, l.PerSecond)}}))
}

// Pause is one statement.
func (b *backend) Pause(ctx context.Context, t tasks.Type, paused bool) error {
	return b.told(b.one(ctx, true, 0, &job{sql: `WITH n AS (SELECT {now} AS ms, $2::text)
		INSERT INTO @task_types(type, paused, tokens, filled_at) SELECT $3, $4, 1, ms FROM n
		ON CONFLICT(type) DO UPDATE SET paused=excluded.paused`,
		args: []any{string(t), paused}}))
}

// told tells who waits for any task that he may get one now, here and in other processes.
func (b *backend) told(err error) error {
	if err == nil {
		b.notifier.made(news{ids: []string{""}, ready: true})
	}
	return err
}

// Limits reads all types.
func (b *backend) Limits(ctx context.Context) (m map[tasks.Type]tasks.TypeLimits, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		m = map[tasks.Type]tasks.TypeLimits{}
		rows, err := b.pool.Query(ctx, b.stmt("SELECT type, paused, max_running, rate FROM @task_types"))
		if err != nil {
			return err
		}
		var t string
		var l tasks.TypeLimits
		_, err = pgx.ForEachRow(rows, []any{&t, &l.Paused, &l.Running, &l.PerSecond}, func() error {
			m[tasks.Type(t)] = l
			return nil
		})
		return err
	})
	return m, err
}
