package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// cachePoll is how often another process's computation is looked at.
	cachePoll = 50 * time.Millisecond
	// Uses are written once there are that many keys, or the first is that old.
	cacheUses    = 256
	cacheUsesAge = 10 * time.Second
)

// Do returns the stored result of the same type and input, or computes and stores it.
//
// The key is the SHA-256, in hex, of the input: of a []byte and of what is read from an [io.Reader] as it is,
// and of anything else as JSON with sorted names, no whitespace and numbers in a normal form.
// A reader that can seek is put back to where it was. [Key] sets another key, and the input isn't looked at.
//
// Of the calls that ask for the same at the same time, in all processes, one computes.
// A call that is cancelled leaves; the context of compute is cancelled when nobody in this process waits any more.
// It has the values of the first call's context, but not its deadline.
// The options are those of the call that computes.
//
// An error of compute is returned to all that wait in this process, and the next call computes again: but see [CacheErrors].
// A panic of compute is returned as an error. A result is returned once it is stored, so that failing to store it
// is an error as well. By default it is stored as with [Relaxed]. With [Durable], what is returned is durable, whoever has stored it.
// If the key is invalidated meanwhile, the result isn't stored, and it is computed again, so compute may run twice.
// It must not ask for its own key.
//
// Do returns an [*InputError] for a type, an input or a result that isn't allowed, and a [*CachedError].
func (s *Store) Do(ctx context.Context, t Type, input any, compute func(context.Context) (any, error), opts ...CacheOption) (Cached, error) {
	k, o, err := s.cacheCall(ctx, t, input, opts, true)
	if err != nil {
		return Cached{}, err
	}
	for waited := false; ; waited = true {
		e, err := s.backend.CacheGet(ctx, k)
		if err != nil {
			return Cached{}, cacheError(k, err)
		}
		found := e.State == CacheStored || e.State == CacheFailed
		if found {
			s.cache.found(waited)
			s.used(k)
			s.hooks.cacheHit(ctx, k)
			if err := s.settle(ctx, k, o); err != nil {
				return Cached{}, err
			}
			raw, err := e.result(k)
			return Cached{k.Key, raw, err == nil && !waited}, err
		}
		f, led, late, err := s.join(ctx, k, compute, o, waited)
		if err != nil {
			return Cached{}, cacheError(k, err)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			s.cache.leave(f)
			return Cached{}, cacheError(k, ctx.Err())
		}
		if late || errors.Is(f.err, errLost) {
			continue
		}
		if mine := s.cache.ended(f, led); !mine && f.err == nil {
			if err := s.settle(ctx, k, o); err != nil {
				return Cached{}, err
			}
		}
		return Cached{Key: k.Key, Raw: bytes.Clone(f.raw)}, f.err
	}
}

// settle makes durable what another call has stored, perhaps with [Relaxed].
func (s *Store) settle(ctx context.Context, k CacheKey, o cacheCall) error {
	if o.relaxed {
		return nil
	}
	return cacheError(k, s.backend.Sync(ctx))
}

func cacheError(k CacheKey, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cache %s %q: %w", k.Type, k.Key, err)
}
