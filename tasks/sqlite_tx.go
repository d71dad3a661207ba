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
	res, err := tx.ExecContext(ctx, statements[c.Op], c.args(b.now().Unix())...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); n > 0 || err != nil {
		return err
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
	})
}
