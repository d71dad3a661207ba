package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// flight is a computation, and the calls that wait for it.
type flight struct {
	key      CacheKey
	lease    string
	ctx      context.Context
	cancel   context.CancelFunc
	waiters  int  // guarded by resultCache.mu
	storing  bool // guarded by resultCache.mu
	finished bool // guarded by resultCache.mu
	computed bool // by this flight, not by another process; guarded by resultCache.mu
	done     chan struct{}
	raw      json.RawMessage
	err      error
}

// errLost is how a flight ends that was invalidated, or whose lease has gone to another. Its callers try again.
var errLost = errors.New("the computation was invalidated")

func (s *Store) fly(f *flight, compute func(context.Context) (any, error), o cacheCall) {
	var raw json.RawMessage
	err := errors.New("the computation has ended its goroutine")
	defer func() {
		if err != nil {
			// Others needn't wait until the lease ends. If this fails, they do.
			_ = s.backend.CacheRelease(context.WithoutCancel(f.ctx), f.key, f.lease)
		}
		s.cache.finish(f, raw, err)
	}()
	raw, err = s.compute(f, compute, o)
}

func (s *Store) compute(f *flight, compute func(context.Context) (any, error), o cacheCall) (json.RawMessage, error) {
	e, err := s.claim(f)
	if err != nil {
		return nil, cacheError(f.key, err)
	}
	if e.State != CacheMissing {
		return e.result(f.key)
	}
	s.cache.mu.Lock()
	s.cache.stats.Computed++
	f.computed = true
	s.cache.mu.Unlock()

	stop := s.renew(f)
	defer stop()
	v, err := protect(f.ctx, compute)
	if err == nil {
		e.Raw, err = s.encodeCached(v)
	}
	stop()
	ttl := o.ttl
	e.State = CacheStored
	if err != nil {
		if o.errors == 0 || f.ctx.Err() != nil {
			return nil, err
		}
		ttl = o.errors
		e = CacheEntry{CacheFailed, []byte(cutText(err.Error(), s.maxResult))}
	}
	s.cache.mu.Lock()
	f.storing = true
	s.cache.mu.Unlock()
	ctx := context.WithoutCancel(f.ctx)
	stored, e2 := s.backend.CachePut(ctx, f.key, f.lease, e, ttl, !o.relaxed)
	if e2 != nil {
		return nil, errors.Join(err, cacheError(f.key, fmt.Errorf("store: %w", e2)))
	}
	if !stored {
		return nil, errLost
	}
	s.trim(ctx, len(e.Raw))
	if err != nil {
		return nil, err
	}
	return e.Raw, nil
}

// claim waits until the flight has the lease, or returns the entry that another process has stored.
func (s *Store) claim(f *flight) (CacheEntry, error) {
	timer := time.NewTimer(cachePoll)
	defer timer.Stop()
	for {
		e, err := s.backend.CacheClaim(f.ctx, f.key, f.lease, s.caching.lease)
		if err != nil || e.State != CacheLeased {
			return e, err
		}
		// Looking takes no write lock, so it is only claimed once it may be.
		for e.State == CacheLeased {
			select {
			case <-f.ctx.Done():
				return e, f.ctx.Err()
			case <-timer.C:
				timer.Reset(cachePoll)
			}
			if e, err = s.backend.CacheGet(f.ctx, f.key); err != nil {
				return e, err
			}
		}
	}
}

// renew keeps the lease until stop is called. A flight that has lost it is of no use to anybody.
func (s *Store) renew(f *flight) (stop func()) {
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(s.caching.lease / 3)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if ours, err := s.backend.CacheRenew(ctx, f.key, f.lease, s.caching.lease); err == nil && !ours {
				s.cache.finish(f, nil, errLost)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// protect makes an error of a panic, which would end the process: no caller is on its goroutine's stack.
func protect(ctx context.Context, compute func(context.Context) (any, error)) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the computation panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return compute(ctx)
}
