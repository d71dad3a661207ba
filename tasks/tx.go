package tasks

import (
	"cmp"
	"context"
	"errors"
	"time"
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
	tx      any
}

// InTx returns a Tx for a transaction in the store's database, which the application has begun itself: a [*database/sql.Tx] on SQLite's file,
// by github.com/ncruces/go-sqlite3/driver or another, a pgx.Tx on PostgreSQL.
// A transaction that begins with BEGIN IMMEDIATE (_txlock=immediate) can't fail for a concurrent write later.
// It returns [ErrNoTx] if the backend has no such thing; for a transaction of another kind, the calls do.
func (s *Store) InTx(tx any) (*Tx, error) {
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

// Complete is like [Store.Complete]. A worker's result and what the application makes of it are so stored together, or neither is.
// A handler of [Store.Run] gets what was claimed from [HandlerTask]; what it returns is void once the transaction is committed.
// [Hooks] aren't told: the transaction may be rolled back.
func (t *Tx) Complete(ctx context.Context, c Claimed, result any) error {
	raw, err := t.store.encode(result)
	if err != nil {
		return taskError("complete", c.ID, err)
	}
	return t.finish(ctx, "complete", Outcome{ID: c.ID, Lease: c.Lease, Status: Completed, Result: raw})
}

// Fail is like [Store.Fail], as Complete is like that.
func (t *Tx) Fail(ctx context.Context, c Claimed, cause error) error {
	if cause == nil {
		return &InputError{"cause", "nil", "an error"}
	}
	return t.finish(ctx, "fail", t.store.outcomeOf(c, cause))
}

// GiveBack is like [Store.GiveBack], as Complete is like that.
func (t *Tx) GiveBack(ctx context.Context, c Claimed, reason error) error {
	if reason == nil {
		return &InputError{"reason", "nil", "an error"}
	}
	return t.finish(ctx, "give back", givenBack(c, reason))
}

func (t *Tx) finish(ctx context.Context, op string, o Outcome) error {
	if err := cmp.Or(checkID(o.ID), t.store.checkClock()); err != nil {
		return err
	}
	err := t.backend.FinishTx(ctx, t.tx, o)
	if h, ok := ctx.Value(handlerKey{}).(handlerTask); ok && err == nil && h.lease == o.Lease {
		h.reported.Store(true)
	}
	return taskError(op, o.ID, err)
}

// Extend is like [Store.Extend]. The lease is extended if the transaction is committed.
func (t *Tx) Extend(ctx context.Context, c *Claimed, lease time.Duration) error {
	if err := cmp.Or(checkID(c.ID), checkLease(lease), t.store.checkClock()); err != nil {
		return err
	}
	until, err := t.backend.ExtendTx(ctx, t.tx, c.ID, c.Lease, lease)
	if err == nil {
		c.LeaseUntil = until
	}
	return taskError("extend lease of", c.ID, err)
}

// Progress is like [Store.Progress].
func (t *Tx) Progress(ctx context.Context, id string, result any) error {
	raw, err := t.store.partial(id, result)
	if err != nil {
		return err
	}
	return taskError("report progress of", id, t.backend.ProgressTx(ctx, t.tx, id, t.store.leaseOf(ctx, id), raw))
}

// Report is like [Store.Report], as Progress is like that.
func (t *Tx) Report(ctx context.Context, id string, a Advance) error {
	a, err := t.store.advance(id, a)
	if err != nil {
		return err
	}
	return taskError("report on", id, t.backend.ReportTx(ctx, t.tx, id, t.store.leaseOf(ctx, id), a))
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
