package tasks

import (
	"context"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// bucket is what is left of a type's limit per second: tokens, of which a claim takes one.
type bucket struct {
	limits   TypeLimits
	tokens   float64
	filledAt int64
}

// now fills the bucket up to a time. A clock that was set back fills nothing.
func (b bucket) now(at time.Time) bucket {
	most := max(1, b.limits.PerSecond)
	passed := float64(max(0, at.UnixMilli()-b.filledAt)) / 1000
	b.tokens = min(most, b.tokens+passed*b.limits.PerSecond)
	b.filledAt = at.UnixMilli()
	return b
}

// limitsOf returns what was set for a type, or nil.
func limitsOf(c *conn, t Type) (b *bucket, err error) {
	err = each(c, selectLimits, []any{string(t)}, func(s *sqlite3.Stmt) error {
		b = &bucket{TypeLimits{s.ColumnBool(0), s.ColumnInt(1), s.ColumnFloat(2)}, s.ColumnFloat(3), s.ColumnInt64(4)}
		return nil
	})
	return b, err
}

// open reports whether tasks of a type may be claimed.
func open(c *conn, t Type, now time.Time) (bool, error) {
	b, err := limitsOf(c, t)
	if b == nil || err != nil {
		return err == nil, err
	}
	if b.limits.Paused || b.limits.PerSecond > 0 && b.now(now).tokens < 1 {
		return false, nil
	}
	if b.limits.Running == 0 {
		return true, nil
	}
	running := 0
	err = each(c, selectRunning, []any{string(t), b.limits.Running}, func(s *sqlite3.Stmt) error {
		running = s.ColumnInt(0)
		return nil
	})
	return running < b.limits.Running, err
}

// takeToken counts a claim.
func takeToken(c *conn, t Type, now time.Time) error {
	b, err := limitsOf(c, t)
	if b == nil || err != nil || b.limits.PerSecond == 0 {
		return err
	}
	filled := b.now(now)
	_, err = execute(c, updateToken, []any{filled.tokens - 1, filled.filledAt, string(t)})
	return err
}

// SetLimits begins with a full bucket.
func (b *sqliteBackend) SetLimits(ctx context.Context, t Type, l TypeLimits) error {
	err := b.job(ctx, true, func(c *conn) error {
		_, err := execute(c, `INSERT INTO task_types(type, paused, max_running, rate, tokens, filled_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
			ON CONFLICT(type) DO UPDATE SET paused=?2, max_running=?3, rate=?4,
				tokens=CASE WHEN rate=?4 THEN tokens ELSE ?5 END, filled_at=CASE WHEN rate=?4 THEN filled_at ELSE ?6 END`,
			[]any{string(t), boolInt(l.Paused), l.Running, l.PerSecond, max(1, l.PerSecond), b.now().UnixMilli()})
		return err
	})
	if err == nil {
		b.notifier.changed("") // who waits for any task may get one now
	}
	return err
}

// Pause is one statement.
func (b *sqliteBackend) Pause(ctx context.Context, t Type, paused bool) error {
	err := b.job(ctx, true, func(c *conn) error {
		_, err := execute(c, `INSERT INTO task_types(type, paused, tokens, filled_at) VALUES(?1, ?2, 1, ?3)
			ON CONFLICT(type) DO UPDATE SET paused=?2`, []any{string(t), boolInt(paused), b.now().UnixMilli()})
		return err
	})
	if err == nil {
		b.notifier.changed("")
	}
	return err
}

// Limits reads all types.
func (b *sqliteBackend) Limits(ctx context.Context) (map[Type]TypeLimits, error) {
	m := map[Type]TypeLimits{}
	err := b.query(ctx, "SELECT type, paused, max_running, rate FROM task_types", nil, func(s *sqlite3.Stmt) error {
		m[Type(s.ColumnText(0))] = TypeLimits{s.ColumnBool(1), s.ColumnInt(2), s.ColumnFloat(3)}
		return nil
	})
	return m, err
}
