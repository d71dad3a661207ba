package tasks

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// CacheOption sets how one call of the cache behaves. A [CallOption] is one too.
type CacheOption interface{ cacheOption(*cacheCall) }

type cacheCall struct {
	call
	key    *string
	ttl    time.Duration
	errors time.Duration
	err    error
}

type cacheOption func(*cacheCall)

func (o cacheOption) cacheOption(c *cacheCall) { o(c) }

func (o CallOption) cacheOption(c *cacheCall) { o(&c.call) }

// Key sets the key, of 1 to 255 bytes of UTF-8 without control characters, instead of the input's hash.
// Keys of different types have nothing to do with each other.
func Key(key string) CacheOption {
	return cacheOption(func(c *cacheCall) {
		c.key = &key
		if checkID(key) != nil {
			c.err = &InputError{"key", strconv.Quote(key[:min(len(key), 2*MaxID)]), "1 to 255 bytes of UTF-8 without control characters"}
		}
	})
}

// TTL sets how long the result is valid, from 1 ms, or 0 for ever. Default [CacheTTL].
func TTL(d time.Duration) CacheOption {
	return cacheOption(func(c *cacheCall) {
		if c.ttl = d; d != 0 && d < time.Millisecond {
			c.err = &InputError{"TTL", d.String(), "1ms or more, or 0 for ever"}
		}
	})
}

// CacheErrors makes [Store.Do] store an error of the computation as well, for that long, from 1 ms.
// Until then every call gets a [*CachedError] with its text, but for those that waited for it: they get the error itself.
// The error of a computation whose context was cancelled isn't stored. By default none is.
func CacheErrors(ttl time.Duration) CacheOption {
	return cacheOption(func(c *cacheCall) {
		if c.errors = ttl; ttl < time.Millisecond {
			c.err = &InputError{"CacheErrors", ttl.String(), "1ms or more"}
		}
	})
}

// The cache's limits unless they are set.
const (
	DefaultCacheMaxEntries = 100_000
	DefaultCacheMaxBytes   = 1 << 30
)

// cacheConfig is the part of the options that the cache needs.
type cacheConfig struct {
	ttl        time.Duration
	lease      time.Duration
	maxEntries int
	maxBytes   int64
}

var defaultCache = cacheConfig{lease: DefaultCacheLease, maxEntries: DefaultCacheMaxEntries, maxBytes: DefaultCacheMaxBytes}

// CacheTTL sets how long cached results are valid, from 1 ms, or 0 for ever, which is the default.
func CacheTTL(d time.Duration) Option {
	return func(c *config) { c.caching.ttl = d }
}

// DefaultCacheLease is how long a computation keeps others from computing the same after its process has died.
const DefaultCacheLease = 30 * time.Second

// CacheLease sets how long other processes wait for a computation of [Store.Do] whose process doesn't give a sign of life,
// from 1s to 24h: one that runs does so three times in that time. Default [DefaultCacheLease].
func CacheLease(d time.Duration) Option {
	return func(c *config) { c.caching.lease = d }
}

// CacheMaxEntries sets how many results the cache keeps, from 1. Default [DefaultCacheMaxEntries].
//
// Of more, those are deleted whose score is smallest: the time of the last use, plus an hour for each time
// that the number of uses, plus one, is 2 to the power of. Expired results go first. It goes on until a 16th of the limit is free.
// Uses are written at most 10 s late, or when the store is closed. Each process may exceed the limit by a 16th.
func CacheMaxEntries(n int) Option {
	return func(c *config) { c.caching.maxEntries = n }
}

// CacheMaxBytes sets how large the cached results may be together, in bytes of JSON.
// It must not be below [MaxResult]. Default [DefaultCacheMaxBytes]. See [CacheMaxEntries].
func CacheMaxBytes(bytes int64) Option {
	return func(c *config) { c.caching.maxBytes = bytes }
}

func (c *config) checkCache() error {
	switch k := &c.caching; {
	case k.ttl != 0 && k.ttl < time.Millisecond:
		return &InputError{"CacheTTL", k.ttl.String(), "1ms or more, or 0 for ever"}
	case k.lease < MinLease || k.lease > MaxLease:
		return &InputError{"CacheLease", k.lease.String(), "1s to 24h"}
	case k.maxEntries < 1:
		return &InputError{"CacheMaxEntries", strconv.Itoa(k.maxEntries), "1 or more"}
	case k.maxBytes < int64(c.maxResult):
		return &InputError{"CacheMaxBytes", strconv.FormatInt(k.maxBytes, 10), fmt.Sprintf("at least MaxResult (%d)", c.maxResult)}
	}
	return nil
}

// cacheCall checks the input of a call.
func (c *config) cacheCall(ctx context.Context, t Type, input any, opts []CacheOption, relaxed bool) (CacheKey, cacheCall, error) {
	o := cacheCall{call: call{relaxed: relaxed}, ttl: c.caching.ttl}
	for _, opt := range opts {
		opt.cacheOption(&o)
	}
	k := CacheKey{Type: t}
	err := cmp.Or(c.checkType(t), c.checkClock())
	switch {
	case err != nil:
	case o.err != nil:
		err = o.err
	case o.key != nil:
		k.Key = *o.key
	default:
		k.Key, err = inputKey(ctx, input)
	}
	return k, o, err
}

// encodeCached is encode, but for nil, which is a result like any other.
func (c *config) encodeCached(result any) (json.RawMessage, error) {
	if result == nil {
		result = json.RawMessage("null")
	}
	return c.encode(result)
}
