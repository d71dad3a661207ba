package tasks

import (
	"context"
	"sync"
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
	var last int64
	known := b.settled.known()
	if err := b.read(ctx, func(r *reader) (err error) { last, err = stepInt(r.last); return err }); err != nil {
		return err
	}
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

var _ SettleBackend = (*sqliteBackend)(nil)
