package tasks

import (
	"context"
	"errors"
	"sync"
)

// readerPool lends out connections that read, so many at most: who comes when all are lent out waits for one.
// Each takes part in no transaction while nobody has it.
type readerPool struct {
	open    func(context.Context) (*reader, error)
	lent    chan struct{} // holds one for each that is lent out
	closing chan struct{}
	once    bool // a connection is used once

	mu     sync.Mutex
	idle   []*reader // the last one has the warmest cache; guarded by mu
	closed bool      // guarded by mu
}

func newReaderPool(n int, open func(context.Context) (*reader, error)) *readerPool {
	return &readerPool{open: open, lent: make(chan struct{}, n), closing: make(chan struct{})}
}

// lend calls f with a connection, whose statements the context interrupts.
func (p *readerPool) lend(ctx context.Context, f func(*reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.lent <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closing:
		return ErrClosed
	}
	defer func() { <-p.lent }()
	r, err := p.take(ctx)
	if err != nil {
		return err
	}
	r.conn.SetInterrupt(ctx)
	err = interrupted(ctx, f(r))
	// A cancelled context shall not break the connection later.
	r.conn.SetInterrupt(context.Background())
	// Neither shall a transaction that it has left open, such as one whose BEGIN was interrupted when it was done.
	if !r.conn.GetAutocommit() {
		if e := r.conn.run("ROLLBACK"); e != nil {
			return errors.Join(err, e, r.close())
		}
	}
	if p.once {
		return errors.Join(err, r.close())
	}
	p.mu.Lock()
	p.idle = append(p.idle, r)
	p.mu.Unlock()
	return err
}

func (p *readerPool) take(ctx context.Context) (*reader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if n := len(p.idle); n > 0 {
		r := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return r, nil
	}
	p.mu.Unlock()
	defer p.mu.Lock()
	return p.open(ctx)
}

func (p *readerPool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// close waits for the connections that are lent out, and closes all. It reports whether it was the first to be called.
func (p *readerPool) close() (first bool, err error) {
	p.mu.Lock()
	first = !p.closed
	p.closed = true
	p.mu.Unlock()
	if !first {
		return false, nil
	}
	close(p.closing)
	for range cap(p.lent) {
		p.lent <- struct{}{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.idle {
		err = errors.Join(err, r.close())
	}
	p.idle = nil
	return true, err
}
