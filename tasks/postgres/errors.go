package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// outcome is what an error says of a transaction.
type outcome int

const (
	failed  outcome = iota // it has changed nothing, and would fail again
	again                  // it has changed nothing, and may succeed
	unknown                // it may have been committed
)

// outcomeOf tells what an error means of a transaction that was sent to the server, or was to be.
func outcomeOf(err error) outcome {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var scan pgx.ScanArgError
	switch {
	case errors.As(err, &scan), notEncoded(err):
		return failed
	case errors.As(err, &connect), pgconn.SafeToRetry(err):
		return again
	case errors.As(err, &pg):
		switch {
		case pg.Code == "40001", pg.Code == "40P01", // serialization failure, deadlock
			pg.Code == "57P03", pg.Code == "53300", // the server starts, or has too many connections
			pg.Code == "25006", pg.Code == "55P03": // a standby, which the pool may replace; a lock
			return again
		case notSubmitted(err) && pg.Severity != "ERROR" && pg.SeverityUnlocalized != "ERROR":
			return again
		case pg.Severity != "ERROR" && pg.SeverityUnlocalized != "ERROR", pg.Code[:2] == "08", pg.Code == "40003":
			return unknown // the server has ended the connection, perhaps after the commit
		}
		return failed
	case errors.Is(err, errNotReplicated):
		return unknown
	case notSubmitted(err):
		return again
	case errors.Is(err, pgx.ErrNoRows), errors.Is(err, tasks.ErrClosed):
		return failed
	}
	return unknown
}

func (b *backend) outcomeOf(err error) outcome {
	o := outcomeOf(err)
	if o == unknown && b.off&unknownOutcome != 0 {
		o = again
	}
	return o
}

// notSubmitted reports whether a batch has failed before the server got any of its statements to run:
// those that a connection doesn't know yet are prepared first, which takes a round trip, and most of the time on a new connection.
func notSubmitted(err error) bool {
	var pre pgx.ErrPreprocessingBatch
	return errors.As(err, &pre)
}

// notEncoded reports whether a batch hasn't been sent because of an argument that can't be. The type has no field for that.
func notEncoded(err error) bool {
	var pre pgx.ErrPreprocessingBatch
	return errors.As(err, &pre) && strings.HasPrefix(pre.Error(), "error preprocessing batch (build)")
}

// release gives a connection back. If it has ended, the server may have ended all of them, as one that restarts does:
// those that are idle would each fail the call that takes it next, whose outcome wouldn't be known then. So they are let go.
func (b *backend) release(conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() && b.ctx.Err() == nil {
		b.pool.Reset()
	}
	conn.Release()
}

// explain adds to an error what it means here. A server that takes no changes may take some later, once it is promoted, or another one is found:
// so that is [tasks.ErrBusy], too.
func explain(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "25006" {
		return fmt.Errorf("%w (%w): %w", tasks.ErrReadOnly, tasks.ErrBusy, err)
	}
	return err
}

// retry runs a read until the server answers, within the patience and the context.
func (b *backend) retry(ctx context.Context, f func(ctx context.Context) error) error {
	return b.retryWhile(ctx, func(o outcome) bool { return o != failed }, f)
}

func (b *backend) retryWhile(ctx context.Context, may func(outcome) bool, f func(ctx context.Context) error) error {
	start := time.Now()
	var p pause
	for {
		call, cancel := context.WithTimeout(ctx, b.timeout)
		err := f(call)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case b.ctx.Err() != nil:
			return tasks.ErrClosed
		case !may(outcomeOf(err)) || time.Since(start) > b.patience:
			return explain(err)
		}
		if readOnly(err) {
			b.pool.Reset() // another host may be the primary now
		}
		select {
		case <-p.next():
		case <-ctx.Done():
			return ctx.Err()
		case <-b.ctx.Done():
			return tasks.ErrClosed
		}
	}
}

func readOnly(err error) bool { return errors.Is(explain(err), tasks.ErrReadOnly) }

// pause is the time between two tries, which doubles.
type pause struct{ d time.Duration }

func (p *pause) next() <-chan time.Time {
	p.d = min(max(2*p.d, 10*time.Millisecond), time.Second)
	return time.After(p.d)
}

// errNotReplicated is a commit that the server was told not to wait for any longer: a synchronous standby may not have it.
var errNotReplicated = errors.New("the wait for the standby was cancelled")

// unreplicated are the connections whose last commit a standby may not have.
var unreplicated sync.Map

// noticed is told of all that a server has to say beside its answers. That it has given up waiting for a standby comes only so:
// the commit succeeds then.
func noticed(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == "SyncRepWaitForLSN" {
		unreplicated.Store(conn, true)
	}
}

// replicated returns an error if the last commit of a connection wasn't waited for.
func replicated(conn *pgconn.PgConn) error {
	if _, ok := unreplicated.LoadAndDelete(conn); ok {
		return errNotReplicated
	}
	return nil
}

// unknownError says that it isn't known what became of a change.
func unknownError(err error) error { return fmt.Errorf("%w: %w", tasks.ErrOutcomeUnknown, err) }
