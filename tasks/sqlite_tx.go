package tasks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// WriteTx makes changes with the same statements as the writer.
func (b *sqliteBackend) WriteTx(ctx context.Context, tx *sql.Tx, changes []Change) []error {
	errs := make([]error, len(changes))
	if b.pool.isClosed() {
		return slices.Repeat([]error{ErrClosed}, len(changes))
	}
	for i, c := range changes {
		errs[i] = b.changeTx(ctx, tx, c)
	}
	return errs
}

func (b *sqliteBackend) changeTx(ctx context.Context, tx *sql.Tx, c Change) error {
	now := b.now()
	res, err := tx.ExecContext(ctx, statements[c.Op], c.args(now)...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n > 0 {
		for _, m := range c.more(now) {
			if _, err := tx.ExecContext(ctx, m.sql, m.args...); err != nil {
				return err
			}
		}
		return nil
	}
	return c.refused(func() (status Status, err error) {
		err = tx.QueryRowContext(ctx, statusOf, c.ID).Scan(&status)
		if errors.Is(err, sql.ErrNoRows) {
			err = ErrNotFound
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("read status: %w", err)
		}
		return status, err
	}, func(owner, key string) (id string, err error) {
		err = tx.QueryRowContext(ctx, keyOwner, owner, key).Scan(&id)
		return id, err
	})
}
