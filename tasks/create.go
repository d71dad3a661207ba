package tasks

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"
)

const (
	// MaxPriority and its negative bound priorities.
	MaxPriority = 1000
	// PriorityAge is what a level of priority is worth: a task is claimed as if it had been created that much earlier.
	// So a task of a lower priority waits for those of a higher one that come up to that much later, and never starves.
	PriorityAge = time.Hour
)

// creating returns the part of a call's options that only Create looks at.
func (k *call) creating() *Creation {
	if k.new == nil {
		k.new = &Creation{}
	}
	return k.new
}

// Input stores an input with a task that is created: anything that [encoding/json] accepts, up to [MaxResult].
// A handler gets it by [DecodeInput], and others by [Store.Input]. Lists don't have it.
func Input(v any) CallOption { return func(k *call) { k.input = v } }

// Owner says to whom a task belongs that is created: 1 to 255 bytes, as an id. Lists, counts, cleanups
// and unique keys can be limited to an owner.
func Owner(owner string) CallOption { return func(k *call) { k.creating().Owner = owner } }

// Priority sets the priority of a task that is created, from -[MaxPriority] to [MaxPriority]. Default 0. See [PriorityAge].
func Priority(n int) CallOption { return func(k *call) { k.creating().Priority = n } }

// RunAt makes a task that is created wait until a time, to the millisecond.
func RunAt(at time.Time) CallOption { return func(k *call) { k.creating().RunAt = at } }

// TaskAttempts sets how often a task that is created is handed out, instead of [MaxAttempts], from 1 to 1000.
func TaskAttempts(n int) CallOption {
	return func(k *call) {
		if k.creating().MaxAttempts = n; n < 1 || n > 1000 {
			k.err = &InputError{"TaskAttempts", strconv.Itoa(n), "1 to 1000"}
		}
	}
}

// TaskBackoff sets how long a task that is created waits after its first attempt has failed, instead of [Backoff], from 1ms to 24h.
// It is doubled with each attempt, up to 10 minutes or that time, if it is longer, and multiplied with a random factor from 0.5 to 1.5.
func TaskBackoff(d time.Duration) CallOption {
	return func(k *call) {
		if k.creating().Backoff = d; d < time.Millisecond || d > 24*time.Hour {
			k.err = &InputError{"TaskBackoff", d.String(), "1ms to 24h"}
		}
	}
}

// TaskTimeout sets how long an attempt at a task that is created may take, instead of [Timeout], from 1ms to 24h.
func TaskTimeout(d time.Duration) CallOption {
	return func(k *call) {
		if k.creating().Timeout = d; d < time.Millisecond || d > 24*time.Hour {
			k.err = &InputError{"TaskTimeout", d.String(), "1ms to 24h"}
		}
	}
}

// UniqueKey makes [Store.Create] return an [*ExistsError] if another task of the same owner was created with that key,
// and [Store.CreateOrGet] return that task. The key is 1 to 255 bytes, as an id.
func UniqueKey(key string) CallOption {
	return func(k *call) {
		if k.creating().UniqueKey = key; checkID(key) != nil {
			k.err = &InputError{"unique key", strconv.Quote(key[:min(len(key), 2*MaxID)]), "1 to 255 bytes of UTF-8 without control characters"}
		}
	}
}

// WithLabels gives a task that is created up to [MaxLabels] labels, which lists can be limited to.
func WithLabels(labels map[string]string) CallOption {
	return func(k *call) { k.creating().Labels = maps.Clone(labels) }
}

// FromCache makes a task that is created [Completed] at once if the cache has a result of the same type and [Input]: see [Store.Do].
func FromCache() CallOption { return func(k *call) { k.fromCache = true } }

// create checks what a task is created with.
func (s *Store) create(ctx context.Context, id string, t Type, k call) (Change, error) {
	if err := checkID(id); err != nil {
		return Change{}, err
	}
	c := Change{Op: OpCreate, ID: id, Type: t, Status: Pending, New: k.new}
	err := cmp.Or(s.checkType(t), k.err)
	if err == nil && k.input != nil {
		c.New = (&k).creating()
		c.New.Input, err = s.encode(k.input)
	}
	if n := c.New; err == nil && n != nil {
		err = cmp.Or(checkOwner(n.Owner), checkLabels(n.Labels))
		if n.Priority < -MaxPriority || n.Priority > MaxPriority {
			err = cmp.Or(err, error(&InputError{"priority", strconv.Itoa(n.Priority), "-1000 to 1000"}))
		}
		if !n.RunAt.IsZero() && (n.RunAt.Unix() < 0 || n.RunAt.Unix() > maxTime) {
			err = cmp.Or(err, error(&InputError{"RunAt", n.RunAt.String(), "a time in the years 1970 to 9999"}))
		}
	}
	if err == nil && k.fromCache && c.New != nil && c.New.Input != nil {
		err = s.completeFromCache(ctx, &c)
	}
	return c, taskError("create", id, err)
}

// completeFromCache makes the task a completed one if its input's result is stored.
func (s *Store) completeFromCache(ctx context.Context, c *Change) error {
	key, err := inputKey(ctx, c.New.Input)
	if err != nil {
		return err
	}
	k := CacheKey{c.Type, key}
	e, err := s.backend.CacheGet(ctx, k)
	if err != nil || e.State != CacheStored {
		return err
	}
	s.cache.found(false)
	s.used(k)
	s.hooks.cacheHit(ctx, k)
	c.Status, c.Result = Completed, e.Raw
	return nil
}

// CreateOrGet is [Store.Create], but if the id or the [UniqueKey] is taken by a task of the same type, owner and input,
// it returns that one, as it is. With another type, owner or input it returns [ErrInputDiffers].
// With a unique key, the id may be empty: the task gets a random one.
// A caller that doesn't know what became of its call can so make it again.
func (s *Store) CreateOrGet(ctx context.Context, id string, t Type, opts ...CallOption) (task Info, created bool, err error) {
	k := s.call(opts)
	if id == "" && k.new != nil && k.new.UniqueKey != "" {
		id = rand.Text()
	}
	for {
		c, err := s.create(ctx, id, t, k)
		if err != nil {
			return Info{}, false, err
		}
		err = s.write(ctx, "create", c, k)
		there := id
		var exists *ExistsError
		switch {
		case errors.As(err, &exists):
			there = exists.ID
		case err != nil && !errors.Is(err, ErrExists):
			return Info{}, false, err
		}
		created := err == nil
		task, err := s.Status(ctx, there)
		if errors.Is(err, ErrNotFound) && !created {
			continue // it was deleted since
		}
		if err == nil && !created {
			err = taskError("create", there, s.same(ctx, task, c))
		}
		return task, created, err
	}
}

// same returns an error if a task isn't the one that the change would have created.
func (s *Store) same(ctx context.Context, task Info, c Change) error {
	var input json.RawMessage
	owner := ""
	if c.New != nil {
		input, owner = c.New.Input, c.New.Owner
	}
	if task.Type != c.Type || task.Owner != owner {
		return ErrInputDiffers
	}
	there, err := s.backend.Input(ctx, task.ID)
	if err != nil {
		return err
	}
	if (there == nil) != (input == nil) {
		return ErrInputDiffers
	}
	if input == nil {
		return nil
	}
	a, errA := inputKey(ctx, there)
	b, errB := inputKey(ctx, input)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if a != b {
		return ErrInputDiffers
	}
	return nil
}

// Input returns the input that a task was created with, as JSON, nil if it has none, or [ErrNotFound].
func (s *Store) Input(ctx context.Context, id string) (json.RawMessage, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	raw, err := s.backend.Input(ctx, id)
	return raw, taskError("get input of", id, err)
}

// ErrNoInput is returned by [DecodeInput] for a task without one.
var ErrNoInput = errors.New("the task has no input")

// DecodeInput stores the input of the handler's task, whose context it is, in the value that v points to, as [json.Unmarshal] does.
// It returns [ErrNoInput] if the task has none. One that can't be decoded is a [Permanent] error.
func DecodeInput(ctx context.Context, v any) error {
	t, ok := ctx.Value(handlerKey{}).(handlerTask)
	if !ok || t.input == nil {
		return ErrNoInput
	}
	if err := json.Unmarshal(t.input, v); err != nil {
		return Permanent(fmt.Errorf("task %q: decode input: %w", t.id, err))
	}
	return nil
}
