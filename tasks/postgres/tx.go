package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

var (
	_ tasks.TxBackend    = (*backend)(nil)
	_ tasks.ClaimPoller  = (*backend)(nil)
	_ tasks.BatchClaimer = (*backend)(nil)
	_ tasks.BatchReader  = (*backend)(nil)
)

// InTx returns a [tasks.Tx] for a transaction of the application's, on the same database: what is changed by it, and what the application
// changes of its own, is committed together or not at all. It is as durable as the transaction.
// Who waits for a task notices the change when the transaction is committed.
//
// An error of the server's ends the transaction, as always in PostgreSQL; one that says why a change isn't allowed doesn't.
func InTx(s *tasks.Store, tx pgx.Tx) (*tasks.Tx, error) { return s.InTx(tx) }

// onTx runs a statement in a transaction of the application, and notifies in it, so that it is told when it is committed.
func (b *backend) onTx(ctx context.Context, tx any, s step) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	t, ok := tx.(pgx.Tx)
	if !ok {
		return tasks.ErrNoTx
	}
	var batch pgx.Batch
	batch.Queue(b.stmt(s.sql), s.args...)
	if len(s.ids) > 0 {
		var o outbox
		o.add(news{ids: s.ids, ready: s.ready})
		batch.Queue(notifyAll, b.channel(), o.take(anybody))
	}
	results := t.SendBatch(ctx, &batch)
	if err := s.read(results); err != nil {
		return errors.Join(err, results.Close())
	}
	return explain(results.Close())
}

// anybody is the writer of changes that every process has to be told of, this one too.
const anybody = "-"

// txRound is a round of statements that are made in a transaction of the application.
func (b *backend) txRound() round { return round{now: b.now(), writer: anybody} }

// WriteTx makes the changes one by one.
func (b *backend) WriteTx(ctx context.Context, tx any, changes []tasks.Change) []error {
	errs := make([]error, len(changes))
	for i, c := range changes {
		errs[i] = b.writeTx(ctx, tx, c)
	}
	return errs
}

func (b *backend) writeTx(ctx context.Context, tx any, c tasks.Change) error {
	for {
		var refused error
		r := b.txRound()
		r.change(c, &refused)
		if err := b.onTx(ctx, tx, r.end(nil)[0]); err != nil {
			return err
		}
		if !errors.Is(refused, errTaken) {
			return refused
		}
		var there bool
		var owner *string
		if err := tx.(pgx.Tx).QueryRow(ctx, b.stmt(whoHas), c.ID, c.New.Owner, c.New.UniqueKey).Scan(&there, &owner); err != nil {
			return err
		}
		if err := takenBy(there, owner); err != nil {
			return err
		}
	}
}

// FinishTx is Finish in a transaction of the application.
func (b *backend) FinishTx(ctx context.Context, tx any, o tasks.Outcome) error {
	var refused error
	r := b.txRound()
	r.finish(o, &refused)
	if err := b.onTx(ctx, tx, r.end(nil)[0]); err != nil {
		return err
	}
	return refused
}

// jobTx runs a job in a transaction of the application.
func (b *backend) jobTx(ctx context.Context, tx any, j *job) error {
	var refused error
	if err := b.onTx(ctx, tx, j.step(b.txRound(), &refused)); err != nil {
		return err
	}
	return refused
}

// ExtendTx is Extend in a transaction of the application.
func (b *backend) ExtendTx(ctx context.Context, tx any, id, lease string, by time.Duration) (until time.Time, err error) {
	err = b.jobTx(ctx, tx, extendJob(id, lease, by, &until))
	return until, err
}

// ProgressTx is Progress in a transaction of the application.
func (b *backend) ProgressTx(ctx context.Context, tx any, id, lease string, result json.RawMessage) error {
	var refused error
	if err := b.jobTx(ctx, tx, processingJob(setProgress, id, lease, &refused, string(result))); err != nil {
		return err
	}
	return refused
}

// ReportTx is Report in a transaction of the application.
func (b *backend) ReportTx(ctx context.Context, tx any, id, lease string, a tasks.Advance) error {
	var refused error
	if err := b.jobTx(ctx, tx, processingJob(setReport, id, lease, &refused, a.Done, a.Total, text(a.Note))); err != nil {
		return err
	}
	return refused
}
