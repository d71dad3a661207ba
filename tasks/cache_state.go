package tasks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"
)

// resultCache is the part of a store that [Store.Do] needs. It holds no results but those of calls that haven't returned.
type resultCache struct {
	mu       sync.Mutex
	closed   bool                   // guarded by mu
	flights  map[CacheKey]*flight   // guarded by mu
	stats    CacheStats             // guarded by mu
	uses     map[CacheKey]*CacheUse // not written yet; guarded by mu
	since    time.Time              // of the first of uses; guarded by mu
	trimming bool                   // guarded by mu
	// left is what may be stored until the table is measured again, because other processes store too.
	left    CacheSize      // guarded by mu
	writing sync.WaitGroup // of uses
}

// found counts a call that has found an entry. One that has waited before is counted as a miss already.
func (c *resultCache) found(waited bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waited {
		c.stats.Shared++
	} else {
		c.stats.Hits++
	}
}

// ended counts a call that has waited for a flight. It reports whether the call has computed the result.
func (c *resultCache) ended(f *flight, led bool) (mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if mine = led && f.computed; !mine {
		c.stats.Shared++
	}
	return mine
}

// join returns the flight of a key, whose result the caller may have unless it is late: a flight that is storing
// its result may have been invalidated by another process since, so the caller has to look into the table.
func (s *Store) join(ctx context.Context, k CacheKey, compute func(context.Context) (any, error), o cacheCall, waited bool) (f *flight, led, late bool, err error) {
	c := &s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false, false, ErrClosed
	}
	if !waited {
		c.stats.Misses++
	}
	if f := c.flights[k]; f != nil {
		f.waiters++
		return f, false, f.storing, nil
	}
	f = &flight{key: k, lease: rand.Text(), waiters: 1, done: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if c.flights == nil {
		c.flights = map[CacheKey]*flight{}
	}
	c.flights[k] = f
	go s.fly(f, compute, o)
	return f, true, false, nil
}

func (c *resultCache) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiters--; f.waiters == 0 {
		c.forget(f)
		f.cancel()
	}
}

// forget makes the next call start another flight.
//
// Called with c.mu held.
func (c *resultCache) forget(f *flight) {
	if c.flights[f.key] == f {
		delete(c.flights, f.key)
	}
}

// finish tells those who wait. What a flight ends with first is what counts.
func (c *resultCache) finish(f *flight, raw json.RawMessage, err error) {
	c.mu.Lock()
	c.forget(f)
	if !f.finished {
		f.finished, f.raw, f.err = true, raw, err
		close(f.done)
	}
	c.mu.Unlock()
	f.cancel()
}
