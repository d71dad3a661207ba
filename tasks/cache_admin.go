package tasks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// used remembers a hit. It is written with others, because a write for each would cost more than the hit.
func (s *Store) used(k CacheKey) {
	c := &s.cache
	now := s.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if len(c.uses) == 0 {
		c.uses, c.since = map[CacheKey]*CacheUse{}, now
	}
	u := c.uses[k]
	if u == nil {
		u = &CacheUse{CacheKey: k}
		c.uses[k] = u
	}
	u.Uses++
	u.At = now
	if len(c.uses) >= cacheUses || now.Sub(c.since) >= cacheUsesAge {
		uses := c.uses
		c.uses = nil
		c.writing.Go(func() { s.writeUses(context.Background(), uses) })
	}
}

// writeUses writes hits. If that fails they are forgotten: only the order of eviction depends on them.
func (s *Store) writeUses(ctx context.Context, uses map[CacheKey]*CacheUse) {
	list := make([]CacheUse, 0, len(uses))
	for _, u := range uses {
		list = append(list, *u)
	}
	slices.SortFunc(list, func(a, b CacheUse) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Key, b.Key))
	})
	if len(list) > 0 {
		_ = s.backend.CacheUsed(ctx, list)
	}
}

// trim keeps the limits after n bytes were stored. The table is measured only after a 16th of a limit was stored,
// or what was left of it: measuring reads all of its keys. If it fails, the next call tries again.
func (s *Store) trim(ctx context.Context, n int) {
	c := &s.cache
	c.mu.Lock()
	c.left.Entries--
	c.left.Bytes -= int64(n)
	if c.trimming || c.closed || c.left.Entries >= 0 && c.left.Bytes >= 0 {
		c.mu.Unlock()
		return
	}
	c.trimming = true
	uses := c.uses
	c.uses = nil
	c.mu.Unlock()
	s.writeUses(ctx, uses)
	limit := CacheSize{s.caching.maxEntries, s.caching.maxBytes}
	size, evicted, err := s.backend.CacheTrim(ctx, limit)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trimming = false
	c.stats.Evicted += int64(evicted)
	if err == nil {
		c.left.Entries = min(limit.Entries-size.Entries, limit.Entries/16)
		c.left.Bytes = min(limit.Bytes-size.Bytes, limit.Bytes/16)
	}
}

// CacheStats returns what the cache has done, and how large it is. To measure it reads all keys of the cache.
func (s *Store) CacheStats(ctx context.Context) (CacheStats, error) {
	size, err := s.backend.CacheSize(ctx)
	if err != nil {
		return CacheStats{}, fmt.Errorf("size of the cache: %w", err)
	}
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	st := s.cache.stats
	st.CacheSize = size
	return st, nil
}

// Warm stores a result, as if it had been computed. It replaces the one that is stored.
// By default it is stored as with [Relaxed]; the options [Key], [TTL] and [Durable] are accepted.
func (s *Store) Warm(ctx context.Context, t Type, input, result any, opts ...CacheOption) error {
	k, o, err := s.cacheCall(ctx, t, input, opts, true)
	if err != nil {
		return err
	}
	raw, err := s.encodeCached(result)
	if err != nil {
		return err
	}
	if _, err := s.backend.CachePut(ctx, k, "", CacheEntry{CacheStored, raw}, o.ttl, !o.relaxed); err != nil {
		return cacheError(k, err)
	}
	s.trim(ctx, len(raw))
	return nil
}

// Invalidate deletes the result of an input. A computation of it that runs isn't stored: it is run again.
// It isn't an error if there is none. Unlike storing, it is durable by default, because a power cut
// must not bring a wrong result back; the options [Key] and [Relaxed] are accepted.
func (s *Store) Invalidate(ctx context.Context, t Type, input any, opts ...CacheOption) error {
	k, o, err := s.cacheCall(ctx, t, input, opts, s.relaxed)
	if err != nil {
		return err
	}
	return s.invalidate(ctx, k, o)
}

// InvalidateType is [Store.Invalidate] for all inputs of a type. It deletes them in parts:
// when it fails, some may be deleted.
func (s *Store) InvalidateType(ctx context.Context, t Type, opts ...CacheOption) error {
	k, o, err := s.cacheCall(ctx, t, nil, append(opts[:len(opts):len(opts)], Key("all")), s.relaxed)
	if err != nil {
		return err
	}
	k.Key = ""
	return s.invalidate(ctx, k, o)
}

// invalidate deletes a key, or all of its type if it is "".
func (s *Store) invalidate(ctx context.Context, k CacheKey, o cacheCall) error {
	// Flights that begin later see what is valid after this.
	flights := s.cache.running(func(f *flight) bool { return f.key == k || k.Key == "" && f.key.Type == k.Type })
	if err := s.backend.CacheDelete(ctx, k, !o.relaxed); err != nil {
		return cacheError(k, err)
	}
	for _, f := range flights {
		s.end(ctx, f, errLost)
	}
	return nil
}

func (c *resultCache) running(match func(*flight) bool) (list []*flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flights {
		if match(f) {
			list = append(list, f)
		}
	}
	return list
}

// end ends a flight from outside. It gives the lease back, as the computation may go on for long.
func (s *Store) end(ctx context.Context, f *flight, err error) {
	s.cache.finish(f, nil, err)
	_ = s.backend.CacheRelease(ctx, f.key, f.lease)
}

// closeCache ends all computations, and writes what is known of uses.
func (s *Store) closeCache() {
	c := &s.cache
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	uses := c.uses
	c.uses = nil
	c.mu.Unlock()
	if closed {
		return
	}
	ctx := context.Background()
	for _, f := range c.running(func(*flight) bool { return true }) {
		s.end(ctx, f, ErrClosed)
	}
	c.writing.Wait()
	s.writeUses(ctx, uses)
}
