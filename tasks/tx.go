package tasks

import (
	"context"
	"database/sql"
	"errors"
)

// ErrNoTx is returned by [Store.InTx] if the store's backend can't make changes in a transaction of the application.
var ErrNoTx = errors.New("the backend doesn't take part in other transactions")

// Tx makes changes of tasks in a transaction of the application,
// so that a service that keeps its data in the same file changes both or neither.
// Errors leave the transaction as it is: the caller rolls it back, or goes on.
// Who waits for the task notices the change within [ChangePoll] of the commit.
type Tx struct {
	store   *Store
	backend TxBackend
	tx      *sql.Tx
}

// InTx returns a Tx for a transaction on the store's database file, which the application has opened itself,
// by github.com/ncruces/go-sqlite3/driver or another.
// A transaction that begins with BEGIN IMMEDIATE (_txlock=immediate) can't fail for a concurrent write later.
// It returns [ErrNoTx] if the backend has no such thing.
func (s *Store) InTx(tx *sql.Tx) (*Tx, error) {
	b, ok := s.backend.(TxBackend)
	if !ok {
		return nil, ErrNoTx
	}
	return &Tx{s, b, tx}, nil
}

// Create is like [Store.Create].
func (t *Tx) Create(ctx context.Context, id string, typ Type, opts ...CallOption) error {
	c, err := t.store.create(ctx, id, typ, t.store.call(opts))
	return t.write(ctx, "create", c, err)
}

// Update is like [Store.Update]. Of the options, those about durability have no effect.
func (t *Tx) Update(ctx context.Context, id string, status Status, result any, opts ...CallOption) error {
	c, err := t.store.update(id, status, result, t.store.call(opts))
	return t.write(ctx, "update", c, err)
}

// Retry is like [Store.Retry]. Of the options, those about durability have no effect.
func (t *Tx) Retry(ctx context.Context, id string, opts ...CallOption) error {
	c, err := t.store.retry(id, t.store.call(opts))
	return t.write(ctx, "retry", c, err)
}

// Delete is like [Store.Delete].
func (t *Tx) Delete(ctx context.Context, id string) error {
	return t.write(ctx, "delete", Change{Op: OpDelete, ID: id}, checkID(id))
}

func (t *Tx) write(ctx context.Context, op string, c Change, err error) error {
	if err != nil {
		return err
	}
	if err := t.store.checkClock(); err != nil {
		return taskError(op, c.ID, err)
	}
	return taskError(op, c.ID, t.backend.WriteTx(ctx, t.tx, []Change{c})[0])
}
