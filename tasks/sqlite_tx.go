package tasks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// WriteTx makes changes with the same statements as the writer.
func (b *sqliteBackend) WriteTx(ctx context.Context, tx any, changes []Change) []error {
	on, err := b.on(ctx, tx)
	if err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	errs := make([]error, len(changes))
	for i, c := range changes {
		errs[i] = c.make(on, b.now())
	}
	return errs
}

// FinishTx is Finish on the application's connection.
func (b *sqliteBackend) FinishTx(ctx context.Context, tx any, o Outcome) error {
	on, err := b.on(ctx, tx)
	if err != nil {
		return err
	}
	return finish(on, b.now(), o)
}

// ExtendTx doesn't look whether the clock was set: that would wait for the lock that the transaction has.
func (b *sqliteBackend) ExtendTx(ctx context.Context, tx any, id, lease string, by time.Duration) (time.Time, error) {
	on, err := b.on(ctx, tx)
	if err != nil {
		return time.Time{}, err
	}
	return extend(on, b.now(), id, lease, by)
}

// ProgressTx is Progress on the application's connection.
func (b *sqliteBackend) ProgressTx(ctx context.Context, tx any, id, lease string, result json.RawMessage) error {
	on, err := b.on(ctx, tx)
	if err != nil {
		return err
	}
	return progress(on, b.now(), id, lease, result)
}

// ReportTx is Report on the application's connection.
func (b *sqliteBackend) ReportTx(ctx context.Context, tx any, id, lease string, p Advance) error {
	on, err := b.on(ctx, tx)
	if err != nil {
		return err
	}
	return report(on, b.now(), id, lease, p)
}

func (b *sqliteBackend) on(ctx context.Context, tx any) (onTx, error) {
	if b.pool.isClosed() {
		return onTx{}, ErrClosed
	}
	if b.readOnly {
		return onTx{}, ErrReadOnly
	}
	t, ok := tx.(*sql.Tx)
	if !ok {
		return onTx{}, ErrNoTx
	}
	return onTx{ctx, t}, nil
}

// onTx runs statements in a transaction of the application, by whatever driver that uses.
type onTx struct {
	ctx context.Context
	tx  *sql.Tx
}

func (t onTx) exec(sql string, args []any) (int, error) {
	res, err := t.tx.ExecContext(t.ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

func (t onTx) text(query string, args []any) (s string, found bool, err error) {
	err = t.tx.QueryRowContext(t.ctx, query, args...).Scan(&s)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read: %w", err)
	}
	return s, true, nil
}

// make makes the change.
func (c Change) make(on statementer, now time.Time) error {
	n, err := on.exec(statements[c.Op], c.args(now))
	if err != nil {
		return err
	}
	if n == 0 {
		return c.refused(on)
	}
	for _, m := range c.more(now) {
		if _, err := on.exec(m.sql, m.args); err != nil {
			return err
		}
	}
	return nil
}
