package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// do asks for the result of an input. It says whether it was computed, as that value.
func (e *env) do(st Store, input, value any, opts ...tasks.CacheOption) (raw string, computed bool) {
	e.t.Helper()
	c, err := st.Do(e.ctx, tasks.Form, input, func(context.Context) (any, error) {
		computed = true
		return value, nil
	}, opts...)
	e.NoError(err)
	e.Equal(!computed, c.Hit)
	return string(c.Raw), computed
}

// has says that the result of an input is stored.
func (e *env) has(st Store, input any, want string) {
	e.t.Helper()
	raw, computed := e.do(st, input, "computed again")
	e.False(computed, "the result isn't stored")
	e.Equal(want, raw)
}

func cacheOnce(e *env) {
	const text = `{"Titel":"Größe <1> 文件 😀"}`
	for round := range 5 {
		var n atomic.Int32
		var mu sync.Mutex
		var failed error
		e.together(func(_ int, st Store) {
			c, err := st.Do(e.ctx, tasks.Form, round, func(context.Context) (any, error) {
				n.Add(1)
				return map[string]string{"Titel": "Größe <1> 文件 😀"}, nil
			}, tasks.Durable())
			if err == nil && string(c.Raw) != text {
				err = fmt.Errorf("got %s", c.Raw)
			}
			mu.Lock()
			failed = errors.Join(failed, err)
			mu.Unlock()
		})
		e.NoError(failed)
		e.EqualValues(1, n.Load(), "computed more than once")
		e.has(e.other, round, text)
	}
}

// cacheKeys: inputs and types have results of their own, which Warm replaces.
func cacheKeys(e *env) {
	for _, input := range []string{"a", "A", "ä"} {
		raw, computed := e.do(e.st, input, input)
		e.True(computed, input)
		e.Equal(`"`+input+`"`, raw)
	}
	c, err := e.st.Do(e.ctx, tasks.Document, "a", func(context.Context) (any, error) { return "document", nil })
	e.NoError(err)
	e.Equal(`"document"`, string(c.Raw))
	e.has(e.st, "a", `"a"`)
	e.NoError(e.st.Warm(e.ctx, tasks.Form, "a", "warm"))
	e.NoError(e.st.Warm(e.ctx, tasks.Form, "b", nil))
	e.has(e.st, "a", `"warm"`)
	e.has(e.st, "A", `"A"`)
	e.has(e.st, "b", "null")
	st, err := e.st.CacheStats(e.ctx)
	e.NoError(err)
	e.Equal(tasks.CacheSize{Entries: 5, Bytes: 6 + 3 + 4 + 10 + 4}, st.CacheSize)
}

func cacheInvalidate(e *env) {
	for _, input := range []string{"a", "b"} {
		e.do(e.st, input, "old")
		e.NoError(e.st.Warm(e.ctx, tasks.Document, input, "document"))
	}
	e.NoError(e.other.Invalidate(e.ctx, tasks.Form, "a"))
	e.NoError(e.other.Invalidate(e.ctx, tasks.Form, "nobody"))
	raw, computed := e.do(e.st, "a", "new")
	e.True(computed, "what was invalidated is still there")
	e.Equal(`"new"`, raw)
	e.has(e.st, "b", `"old"`)
	e.NoError(e.other.InvalidateType(e.ctx, tasks.Form))
	for _, input := range []string{"a", "b"} {
		_, computed := e.do(e.st, input, "newer")
		e.True(computed, "what was invalidated is still there")
		c, err := e.st.Do(e.ctx, tasks.Document, input, func(context.Context) (any, error) { return nil, errors.New("computed") })
		e.NoError(err, "another type was invalidated too")
		e.Equal(`"document"`, string(c.Raw))
	}
	// What is computed from an input that is invalidated meanwhile isn't stored.
	n := 0
	c, err := e.st.Do(e.ctx, tasks.Form, "running", func(ctx context.Context) (any, error) {
		n++
		if n == 1 {
			return "stale", e.other.Invalidate(ctx, tasks.Form, "running")
		}
		return "fresh", nil
	})
	e.NoError(err)
	e.Equal(`"fresh"`, string(c.Raw))
	e.Equal(2, n)
	e.has(e.other, "running", `"fresh"`)
}

func cacheExpiry(e *env) {
	e.do(e.st, "a", 1, tasks.TTL(time.Minute))
	e.do(e.st, "b", 1)
	e.clock.Add(59 * time.Second)
	e.has(e.other, "a", "1")
	e.clock.Add(2 * time.Second)
	st, err := e.other.CacheStats(e.ctx)
	e.NoError(err)
	e.Equal(1, st.Entries, "what has expired isn't counted")
	raw, computed := e.do(e.other, "a", 2, tasks.TTL(time.Minute))
	e.True(computed, "the result has expired")
	e.Equal("2", raw)
	e.clock.Add(59 * time.Second)
	e.has(e.st, "a", "2")
	e.clock.Add(1000 * time.Hour)
	e.has(e.st, "b", "1") // for ever
}

func cacheErrors(e *env) {
	cause := errors.New("keine Größe")
	n := 0
	fail := func(st Store, opts ...tasks.CacheOption) error {
		_, err := st.Do(e.ctx, tasks.Form, "a", func(context.Context) (any, error) {
			n++
			return nil, cause
		}, opts...)
		return err
	}
	e.ErrorIs(fail(e.st), cause)
	e.ErrorIs(fail(e.other), cause)
	e.Equal(2, n, "an error isn't stored unless that is asked for")
	e.ErrorIs(fail(e.st, tasks.CacheErrors(time.Minute)), cause)
	for range 2 {
		var ce *tasks.CachedError
		e.ErrorAs(fail(e.other), &ce)
		e.Equal("keine Größe", ce.Text)
		e.Equal(tasks.Form, ce.Type)
	}
	e.Equal(3, n)
	e.clock.Add(61 * time.Second)
	raw, computed := e.do(e.other, "a", "good")
	e.True(computed, "the error has expired")
	e.Equal(`"good"`, raw)
	e.has(e.st, "a", `"good"`)
}

// cacheLease: a computation that isn't heard of keeps others from computing for a while only,
// and what it comes to after that isn't stored.
func cacheLease(e *env) {
	started, finish, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		n := 0
		c, err := e.st.Do(e.ctx, tasks.Form, "a", func(ctx context.Context) (any, error) {
			if n++; n == 1 {
				close(started)
				select {
				case <-finish:
				case <-ctx.Done():
				}
			}
			return "late", ctx.Err()
		})
		if err == nil && string(c.Raw) != `"other"` {
			err = fmt.Errorf("got %s", c.Raw)
		}
		done <- err
	}()
	select {
	case <-started:
	case err := <-done:
		e.NoError(err)
		e.FailNow("it hasn't computed")
	}
	e.clock.Add(time.Hour)
	c, err := e.other.Do(e.ctx, tasks.Form, "a", func(context.Context) (any, error) { return "other", nil })
	close(finish)
	e.NoError(err)
	e.Equal(`"other"`, string(c.Raw))
	e.NoError(<-done)
	e.has(e.other, "a", `"other"`)
}

// cacheLimit: of more results than the limit, those go that are of least use.
func cacheLimit(e *env) {
	for i := range 40 {
		e.clock.Add(time.Hour)
		e.do(e.st, i, i)
	}
	st, err := e.st.CacheStats(e.ctx)
	e.NoError(err)
	e.LessOrEqual(st.Entries, 17, "the limit and a 16th")
	e.GreaterOrEqual(st.Entries, 10, "more was deleted than needs be")
	e.EqualValues(40-st.Entries, st.Evicted)
	e.has(e.st, 39, "39")
	_, computed := e.do(e.st, 0, 0)
	e.True(computed, "the oldest one is still there")
}
