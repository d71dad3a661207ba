package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// settled is which changes of tasks are known to be durable, by their numbers in the log of changes.
// Whatever can be read of a task is changed together with an entry of that log.
type settled struct {
	mu      sync.Mutex
	durable int64         // up to this one; -1 if none are known to be; guarded by mu
	running int64         // what the sync that runs makes durable, up to this one; -1 if none runs; guarded by mu
	ended   chan struct{} // closed when that has ended; guarded by mu
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
	v := seen{known: b.settled.known()}
	if err := b.read(ctx, func(r *reader) (err error) { v.last, err = stepInt(r.last); return err }); err != nil {
		return err
	}
	return b.settleSeen(ctx, v)
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

// settledTail is how many of the log's entries that aren't known to be durable are looked at for those of a task.
// It is less than are kept of the log.
const settledTail = 1000

// seen is what a look has seen of the log: its last entry, how many it has that weren't known to be durable, and whether a task has one of them.
type seen struct {
	known, last, tail int64
	changed           bool
}

// rests reports whether what was seen of a task is durable though not all of the log is. The log has an entry for whatever becomes of a task,
// in order: if all of the task's entries are durable, so is the task as it was seen. Of a log that lacks entries nothing is known.
func (s *settled) rests(v seen) bool {
	return !v.changed && v.known >= 0 && v.last-v.known == v.tail && s.known() >= v.known
}

// tailAfter is what the tail of the log that is looked at begins after, given up to where it is known to be durable.
// Where nothing is known there is no use in a look: the tail is empty then.
func tailAfter(known int64) int64 {
	if known < 0 {
		return math.MaxInt64
	}
	return known
}

// LookSettled looks at tasks and, in the same transaction, at the log: what is seen of a task was changed together with an entry of that.
func (b *sqliteBackend) LookSettled(ctx context.Context, ids []string, found func(int, Info, error)) {
	if len(ids) == 1 {
		var t Info
		err := b.readRow(ctx, func(r *reader) *sqlite3.Stmt { return r.lookSettled }, ids[0], func(s *sqlite3.Stmt) (err error) { t, err = info(s); return err })
		if err != nil {
			t = Info{}
		}
		found(0, t, err)
		return
	}
	infos, errs, changed := make([]Info, len(ids)), make([]error, len(ids)), map[string]bool{}
	v := seen{known: b.settled.known()}
	err := b.read(ctx, func(r *reader) error {
		return r.inOne(func() (err error) {
			for i, id := range ids {
				if infos[i], errs[i] = r.lookAt(id); ctx.Err() != nil {
					return ctx.Err()
				}
			}
			if v.last, err = stepInt(r.last); err != nil {
				return err
			}
			return each(r.conn, "SELECT id FROM task_changes WHERE seq>?1 ORDER BY seq LIMIT ?2", []any{tailAfter(v.known), settledTail}, func(s *sqlite3.Stmt) error {
				changed[s.ColumnText(0)] = true
				v.tail++
				return nil
			})
		})
	})
	var wait []int
	for i, id := range ids {
		if v.changed = changed[id] || changed[infos[i].ID]; err == nil && b.durableAlready(v) {
			found(i, infos[i], errs[i])
		} else {
			wait = append(wait, i)
		}
	}
	if err == nil && len(wait) > 0 {
		err = b.settleSeen(ctx, v)
	}
	for _, i := range wait {
		if err != nil {
			infos[i], errs[i] = Info{}, err
		}
		found(i, infos[i], errs[i])
	}
}

// GetSettled gets a task, and looks at the log by the same statement.
func (b *sqliteBackend) GetSettled(ctx context.Context, id string) (res Result, err error) {
	err = b.readRow(ctx, func(r *reader) *sqlite3.Stmt { return r.getSettled }, id, func(s *sqlite3.Stmt) (err error) { res, err = result(s); return err })
	if err != nil {
		return Result{}, err
	}
	return res, nil
}

// readRow hands over the row of a task that a statement of [settledSQL] finds, and returns once it is durable, or that there is none.
// Where it can't be said to be, the row is no good.
func (b *sqliteBackend) readRow(ctx context.Context, stmt func(*reader) *sqlite3.Stmt, id string, row func(*sqlite3.Stmt) error) error {
	v := seen{known: b.settled.known()}
	var rowErr error
	if err := b.read(ctx, func(r *reader) error {
		s := stmt(r)
		defer s.Reset()
		s.BindText(1, id)
		s.BindInt64(2, tailAfter(v.known))
		if !s.Step() {
			return cmp.Or(s.Err(), errNoRow)
		}
		n := s.ColumnCount()
		v.last, v.tail, v.changed = s.ColumnInt64(n-2), s.ColumnInt64(n-1)%changedMark, s.ColumnInt64(n-1) >= changedMark
		if rowErr = ErrNotFound; s.ColumnType(0) != sqlite3.NULL {
			rowErr = row(s)
		}
		return nil
	}); err != nil {
		return err
	}
	if b.durableAlready(v) {
		return rowErr
	}
	return cmp.Or(b.settleSeen(ctx, v), rowErr)
}

// durableAlready reports whether what was seen needs no wait.
func (b *sqliteBackend) durableAlready(v seen) bool {
	return !b.readOnly && b.async && b.settled.rests(v)
}

// settleSeen returns once all that was seen is durable.
func (b *sqliteBackend) settleSeen(ctx context.Context, v seen) error {
	if b.readOnly {
		return b.Sync(ctx) // which says that it can't
	}
	return b.settleUpTo(ctx, v.last, v.known)
}

// changedMark is more than settledTail.
const changedMark = 1 << 20

// settledSQL is a statement that finds a task and, whether there is one or not, the log's last entry, and how many entries there are after another one,
// and changedMark more if the task has one of them.
func settledSQL(columns string) string {
	return fmt.Sprintf(`SELECT %s, (%s), (SELECT count(*)+%d*coalesce(max(changed IS ?1 OR changed IS tasks.id), 0)
		FROM (SELECT id AS changed FROM task_changes WHERE seq>?2 ORDER BY seq LIMIT %d)) FROM (SELECT 1) LEFT JOIN tasks ON tasks.id=?1`,
		columns, lastChange, changedMark, settledTail)
}

// errNoRow is what can't be: such a statement has one row.
var errNoRow = errors.New("a statement that has a row has none")

var _ SettledReader = (*sqliteBackend)(nil)
