package memory

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// entry is a result, or a lease if there is one. The zero time is never.
type entry struct {
	tasks.CacheEntry
	lease               string
	leaseUntil, expires time.Time
	used                time.Time
	uses                int
}

// get needs mu. It forgets what has expired.
func (d *DB) get(k tasks.CacheKey) *entry {
	e := d.cache[k]
	if e == nil {
		return nil
	}
	until := e.expires
	if e.lease != "" {
		until = e.leaseUntil
	}
	if !until.IsZero() && !until.After(d.now()) {
		return nil
	}
	return e
}

// owned returns the entry that a lease is for, with mu held.
func (d *DB) owned(k tasks.CacheKey, lease string) *entry {
	if e := d.cache[k]; e != nil && e.lease == lease && lease != "" {
		return e
	}
	return nil
}

func (b *backend) CacheGet(ctx context.Context, k tasks.CacheKey) (tasks.CacheEntry, error) {
	if err := b.begin(ctx); err != nil {
		return tasks.CacheEntry{}, err
	}
	defer b.mu.Unlock()
	if e := b.get(k); e != nil {
		return tasks.CacheEntry{State: e.State, Raw: slices.Clone(e.Raw)}, nil
	}
	return tasks.CacheEntry{}, nil
}

func (b *backend) CacheClaim(ctx context.Context, k tasks.CacheKey, lease string, d time.Duration) (tasks.CacheEntry, error) {
	found, err := b.CacheGet(ctx, k)
	if err != nil || found.State != tasks.CacheMissing {
		return found, err
	}
	if err := b.begin(ctx); err != nil {
		return tasks.CacheEntry{}, err
	}
	defer b.mu.Unlock()
	if e := b.get(k); e != nil { // since the look
		return tasks.CacheEntry{State: e.State, Raw: slices.Clone(e.Raw)}, nil
	}
	e := &entry{lease: lease, leaseUntil: b.now().Add(d), used: b.now()}
	e.State = tasks.CacheLeased
	b.cache[k] = e
	return tasks.CacheEntry{}, nil
}

func (b *backend) CacheRenew(ctx context.Context, k tasks.CacheKey, lease string, d time.Duration) (bool, error) {
	if err := b.begin(ctx); err != nil {
		return false, err
	}
	defer b.mu.Unlock()
	e := b.owned(k, lease)
	if e != nil {
		e.leaseUntil = b.now().Add(d)
	}
	return e != nil, nil
}

func (b *backend) CacheRelease(ctx context.Context, k tasks.CacheKey, lease string) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.mu.Unlock()
	if b.owned(k, lease) != nil {
		delete(b.cache, k)
	}
	return nil
}

func (b *backend) CachePut(ctx context.Context, k tasks.CacheKey, lease string, c tasks.CacheEntry, ttl time.Duration, _ bool) (bool, error) {
	if err := b.begin(ctx); err != nil {
		return false, err
	}
	defer b.mu.Unlock()
	if lease != "" && b.owned(k, lease) == nil {
		return false, nil
	}
	e := &entry{CacheEntry: tasks.CacheEntry{State: c.State, Raw: slices.Clone(c.Raw)}, used: b.now(), uses: 1}
	if ttl > 0 {
		e.expires = b.now().Add(ttl)
	}
	b.cache[k] = e
	return true, nil
}

func (b *backend) CacheDelete(ctx context.Context, k tasks.CacheKey, _ bool) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.mu.Unlock()
	maps.DeleteFunc(b.cache, func(of tasks.CacheKey, _ *entry) bool { return of == k || k.Key == "" && of.Type == k.Type })
	return nil
}

func (b *backend) CacheUsed(ctx context.Context, uses []tasks.CacheUse) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.mu.Unlock()
	for _, u := range uses {
		if e := b.cache[u.CacheKey]; e != nil {
			e.uses += u.Uses
			if u.At.After(e.used) {
				e.used = u.At
			}
		}
	}
	return nil
}

func (b *backend) CacheSize(ctx context.Context) (tasks.CacheSize, error) {
	if err := b.begin(ctx); err != nil {
		return tasks.CacheSize{}, err
	}
	defer b.mu.Unlock()
	return b.size(), nil
}

func (d *DB) size() (s tasks.CacheSize) {
	for k, e := range d.cache {
		if d.get(k) != nil && e.lease == "" {
			s.Entries++
			s.Bytes += int64(len(e.Raw))
		}
	}
	return s
}

// score is the time of the last use, and an hour for each doubling of the uses.
func (e *entry) score() float64 {
	return float64(e.used.UnixMilli()) + float64(time.Hour.Milliseconds())*math.Log2(float64(e.uses+1))
}

func (b *backend) CacheTrim(ctx context.Context, limit tasks.CacheSize) (size tasks.CacheSize, evicted int, err error) {
	if err := b.begin(ctx); err != nil {
		return size, 0, err
	}
	defer b.mu.Unlock()
	maps.DeleteFunc(b.cache, func(k tasks.CacheKey, _ *entry) bool { return b.get(k) == nil })
	for size = b.size(); size.Entries > limit.Entries || size.Bytes > limit.Bytes; size = b.size() {
		var worst tasks.CacheKey
		for k, e := range b.cache {
			if w := b.cache[worst]; e.lease == "" && (w == nil || e.score() < w.score()) {
				worst = k
			}
		}
		delete(b.cache, worst)
		evicted++
	}
	return size, evicted, nil
}
