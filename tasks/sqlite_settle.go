package tasks

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// settled is which changes of tasks are known to be durable, by their numbers in the log of changes.
// Whatever can be read of a task is changed together with an entry of that log.
type settled struct {
	mu      sync.Mutex
	durable int64         // up to this one; -1 if none are known to be; +checklocks:mu
	running int64         // what the sync that runs makes durable, up to this one; -1 if none runs; +checklocks:mu
	ended   chan struct{} // closed when that has ended; +checklocks:mu
}

// begin is called before a sync that makes the changes up to one durable. Whoever has made them, they are committed.
func (s *settled) begin(upTo int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.ended = upTo, make(chan struct{})
}

// end is called after the sync.
func (s *settled) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.durable = max(s.durable, s.running)
	}
	s.running = -1
	close(s.ended)
}

// known returns up to which change all are durable.
func (s *settled) known() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable
}

// forget is called when somebody has emptied the log: its numbers stand for other changes.
func (s *settled) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable, s.running = -1, -1
}

// look reports whether all changes up to one are durable. If a sync that runs is going to make them so,
// it returns what is closed when that has ended.
func (s *settled) look(last int64) (durable bool, running <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= last && s.running >= 0 {
		running = s.ended
	}
	return s.durable >= last, running
}

// Settle looks at the log of changes: the last one that can have been seen, and all before it, are to be durable.
// Neither does it wait for a sync that is of no use to it, nor have one made that is under way.
func (b *sqliteBackend) Settle(ctx context.Context) error {
	if b.readOnly {
		return b.Sync(ctx) // which says that it can't
	}
	return b.readSettled(ctx, func(r *reader) (int64, error) { return stepInt(r.last) })
}

// settleUpTo returns once the changes up to one are durable, which is the last of those that can have been seen.
// Known is up to which all were known to be before that was looked up.
func (b *sqliteBackend) settleUpTo(ctx context.Context, last, known int64) error {
	if !b.async {
		return b.files.there() // a process can only speak for itself, and makes each of its changes durable at once
	}
	if last < known {
		b.writer.forget(last)
	}
	for {
		durable, running := b.settled.look(last)
		if durable {
			return nil
		}
		if running == nil {
			return b.writer.settle(ctx, last)
		}
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits for a sync that begins now.
func (w *writer) settle(ctx context.Context, seen int64) error {
	r := &request{durable: true, seen: seen, errs: make([]error, 1), done: make(chan struct{})}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return ErrClosed
	}
	w.synced = append(w.synced, r)
	w.mu.Unlock()
	signal(w.sync)
	select {
	case <-r.done:
		return r.errs[0]
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget is called when somebody has emptied the log, whose last number that is.
func (w *writer) forget(last int64) {
	w.mu.Lock()
	w.made = min(w.made, last)
	w.mu.Unlock()
	w.settled.forget()
}

// LookSettled looks at tasks and, in the same transaction, at the log: what is seen of a task was changed together with an entry of that.
func (b *sqliteBackend) LookSettled(ctx context.Context, ids []string) (infos []Info, errs []error) {
	infos, errs = make([]Info, len(ids)), make([]error, len(ids))
	err := b.readSettled(ctx, func(r *reader) (last int64, err error) {
		if len(ids) == 1 {
			last, err = r.settledRow(r.lookSettled, ids[0], func(s *sqlite3.Stmt) { infos[0], errs[0] = info(s) })
			if err == ErrNotFound {
				errs[0], err = err, nil
			}
			return last, err
		}
		err = r.inOne(func() error {
			for i, id := range ids {
				if infos[i], errs[i] = r.lookAt(id); ctx.Err() != nil {
					return ctx.Err()
				}
			}
			last, err = stepInt(r.last)
			return err
		})
		return last, err
	})
	if err != nil {
		return make([]Info, len(ids)), slices.Repeat([]error{err}, len(ids))
	}
	return infos, errs
}

// GetSettled gets a task, and looks at the log by the same statement.
func (b *sqliteBackend) GetSettled(ctx context.Context, id string) (res Result, err error) {
	var rowErr error
	if err := b.readSettled(ctx, func(r *reader) (last int64, err error) {
		last, err = r.settledRow(r.getSettled, id, func(s *sqlite3.Stmt) { res, rowErr = result(s) })
		if err == ErrNotFound {
			rowErr, err = err, nil
		}
		return last, err
	}); err != nil {
		return Result{}, err
	}
	return res, rowErr
}

// readSettled lends out a connection, and returns once all that was seen by it is durable. f returns the log's last entry,
// in the transaction that it looks in.
func (b *sqliteBackend) readSettled(ctx context.Context, f func(*reader) (last int64, err error)) error {
	var last int64
	known := b.settled.known()
	if err := b.read(ctx, func(r *reader) (err error) { last, err = f(r); return err }); err != nil {
		return err
	}
	if b.readOnly {
		return b.Sync(ctx) // which says that it can't
	}
	return b.settleUpTo(ctx, last, known)
}

// settledRow hands over the row of a task that [settledSQL] has found, or returns ErrNotFound, and the log's last entry either way.
func (r *reader) settledRow(s *sqlite3.Stmt, id string, row func(*sqlite3.Stmt)) (last int64, err error) {
	defer s.Reset()
	s.BindText(1, id)
	if !s.Step() {
		return 0, cmp.Or(s.Err(), errNoRow)
	}
	last = s.ColumnInt64(s.ColumnCount() - 1)
	if s.ColumnType(0) == sqlite3.NULL {
		return last, ErrNotFound
	}
	row(s)
	return last, nil
}

// settledSQL is a statement that finds a task and, whether there is one or not, the log's last entry: the last column.
func settledSQL(columns string) string {
	return "SELECT " + columns + ", (" + lastChange + ") FROM (SELECT 1) LEFT JOIN tasks ON tasks.id=?1"
}

// errNoRow is what can't be: such a statement has one row.
var errNoRow = errors.New("a statement that has a row has none")

var _ SettledReader = (*sqliteBackend)(nil)
