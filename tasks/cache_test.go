package tasks_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

// value is a computation that counts how often it is run.
func value(v any, n *atomic.Int32) func(context.Context) (any, error) {
	return func(context.Context) (any, error) {
		n.Add(1)
		return v, nil
	}
}

// never is a computation that must not be run.
func never(t *testing.T) func(context.Context) (any, error) {
	return func(context.Context) (any, error) {
		t.Error("computed")
		return nil, errors.New("computed")
	}
}

func TestCacheHit(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	var n atomic.Int32
	res, err := st.Do(ctx, tasks.Form, map[string]any{"page": 1}, value(map[string]string{"Titel": "Größe <1>"}, &n))
	require.NoError(t, err)
	require.False(t, res.Hit)
	require.Equal(t, `{"Titel":"Größe <1>"}`, string(res.Raw))
	again, err := st.Do(ctx, tasks.Form, json.RawMessage(`{"page":1.0}`), never(t))
	require.NoError(t, err)
	require.True(t, again.Hit)
	require.Equal(t, res.Raw, again.Raw)
	var v struct{ Titel string }
	require.NoError(t, again.Decode(&v))
	require.Equal(t, "Größe <1>", v.Titel)
	require.Error(t, again.Decode(new(int)))

	// Another type, a key of the caller's, and a result that is null.
	_, err = st.Do(ctx, tasks.Document, map[string]any{"page": 1}, value(nil, &n))
	require.NoError(t, err)
	res, err = st.Do(ctx, tasks.Document, map[string]any{"page": 1}, never(t))
	require.NoError(t, err)
	require.Equal(t, "null", string(res.Raw))
	_, err = st.Do(ctx, tasks.Form, nil, value(3, &n), tasks.Key("mine"), tasks.Durable())
	require.NoError(t, err)
	res, err = st.Do(ctx, tasks.Form, func() {}, never(t), tasks.Key("mine"))
	require.NoError(t, err)
	require.Equal(t, "mine", res.Key)
	require.EqualValues(t, 3, n.Load())

	// A file is read from where it is, and put back there.
	name := filepath.Join(t.TempDir(), "page.png")
	require.NoError(t, os.WriteFile(name, []byte("-image"), 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.Seek(1, io.SeekStart)
	require.NoError(t, err)
	res, err = st.Do(ctx, tasks.Document, f, func(context.Context) (any, error) {
		b, err := io.ReadAll(f)
		return string(b), err
	})
	require.NoError(t, err)
	require.Equal(t, `"image"`, string(res.Raw))
	_, err = st.Do(ctx, tasks.Document, []byte("image"), never(t))
	require.NoError(t, err)

	stats, err := st.CacheStats(ctx)
	require.NoError(t, err)
	require.Equal(t, tasks.CacheStats{Hits: 4, Misses: 4, Computed: 4,
		CacheSize: tasks.CacheSize{Entries: 4, Bytes: int64(len(again.Raw) + len(`null3"image"`))}}, stats)

	// It outlives the store.
	require.NoError(t, st.Close())
	_, err = st.Do(ctx, tasks.Form, 1, never(t))
	require.ErrorIs(t, err, tasks.ErrClosed)
	st, err = tasks.Open(ctx, path)
	require.NoError(t, err)
	defer st.Close()
	_, err = st.Do(ctx, tasks.Form, nil, never(t), tasks.Key("mine"))
	require.NoError(t, err)
}

func TestCacheInput(t *testing.T) {
	st, _, _ := open(t, tasks.MaxResult(10))
	ctx := t.Context()
	for _, o := range []tasks.CacheOption{
		tasks.Key(""), tasks.Key("a\n"), tasks.Key(strings.Repeat("k", 256)), tasks.TTL(-1), tasks.TTL(1), tasks.CacheErrors(0),
	} {
		_, err := st.Do(ctx, tasks.Form, 1, never(t), o)
		require.ErrorIs(t, err, tasks.ErrInvalid)
	}
	_, err := st.Do(ctx, "invoice", 1, never(t))
	var input *tasks.InputError
	require.ErrorAs(t, err, &input)
	require.ErrorIs(t, st.InvalidateType(ctx, "invoice"), tasks.ErrInvalid)
	var n atomic.Int32
	_, err = st.Do(ctx, tasks.Form, 1, value("123456789", &n))
	require.ErrorIs(t, err, tasks.ErrInvalid)
	require.ErrorIs(t, st.Warm(ctx, tasks.Form, 1, "123456789"), tasks.ErrInvalid)
	_, err = st.Do(ctx, tasks.Form, 1, value("12345678", &n), tasks.Key(strings.Repeat("k", 255)))
	require.NoError(t, err)
	for _, o := range []tasks.Option{tasks.CacheTTL(-1), tasks.CacheMaxEntries(0), tasks.CacheMaxBytes(9)} {
		_, err := tasks.Open(ctx, filepath.Join(t.TempDir(), "tasks.db"), tasks.MaxResult(10), o)
		require.ErrorIs(t, err, tasks.ErrInvalid)
	}
}

// TestCacheComputesOnce: of 50 callers in two stores on one file, one computes.
func TestCacheComputesOnce(t *testing.T) {
	a, c, path := open(t)
	b, err := tasks.Open(t.Context(), path, tasks.Clock(c.Now))
	require.NoError(t, err)
	defer b.Close()
	var n atomic.Int32
	begun, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			res, err := []*tasks.Store{a, b}[i%2].Do(t.Context(), tasks.Form, "x", func(context.Context) (any, error) {
				if n.Add(1) == 1 {
					close(begun)
				}
				<-release
				return 7, nil
			})
			if err != nil || string(res.Raw) != "7" || res.Hit {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
	<-begun
	wait(t, func() bool {
		sa, _ := a.CacheStats(t.Context())
		sb, _ := b.CacheStats(t.Context())
		return sa.Misses+sb.Misses == 50
	})
	close(release)
	wg.Wait()
	require.EqualValues(t, 1, n.Load())
	sa, err := a.CacheStats(t.Context())
	require.NoError(t, err)
	sb, err := b.CacheStats(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, sa.Computed+sb.Computed)
	require.EqualValues(t, 49, sa.Shared+sb.Shared)
	require.Zero(t, sa.Hits+sb.Hits)
}

// wait waits until something that another goroutine does is seen.
func wait(t *testing.T, done func() bool) {
	t.Helper()
	for !done() {
		require.NoError(t, t.Context().Err())
		runtime.Gosched()
	}
}

func misses(t *testing.T, st *tasks.Store, n int64) {
	t.Helper()
	wait(t, func() bool {
		s, err := st.CacheStats(t.Context())
		require.NoError(t, err)
		return s.Misses >= n
	})
}

func TestCacheErrorsAndPanics(t *testing.T) {
	st, c, _ := open(t)
	ctx := t.Context()
	boom := errors.New("boom <größe>")
	fail := func(context.Context) (any, error) { return nil, boom }
	_, err := st.Do(ctx, tasks.Form, 1, fail)
	require.Equal(t, boom, err)
	_, err = st.Do(ctx, tasks.Form, 1, func(context.Context) (any, error) { panic("at the disco") })
	require.ErrorContains(t, err, "at the disco")
	_, err = st.Do(ctx, tasks.Form, 1, func(context.Context) (any, error) { runtime.Goexit(); return nil, nil })
	require.Error(t, err)
	// None of them left anything behind.
	stats, err := st.CacheStats(ctx)
	require.NoError(t, err)
	require.Equal(t, tasks.CacheStats{Misses: 3, Computed: 3}, stats)

	_, err = st.Do(ctx, tasks.Form, 1, fail, tasks.CacheErrors(time.Minute))
	require.Equal(t, boom, err)
	_, err = st.Do(ctx, tasks.Form, 1, never(t))
	var cached *tasks.CachedError
	require.ErrorAs(t, err, &cached)
	require.Equal(t, boom.Error(), cached.Text)
	require.Equal(t, tasks.Form, cached.Type)
	c.Add(time.Minute)
	var n atomic.Int32
	_, err = st.Do(ctx, tasks.Form, 1, value(1, &n))
	require.NoError(t, err)
	require.EqualValues(t, 1, n.Load())
}

func TestCacheTTL(t *testing.T) {
	st, c, _ := open(t, tasks.CacheTTL(time.Hour))
	ctx := t.Context()
	var n atomic.Int32
	do := func(input int, opts ...tasks.CacheOption) bool {
		before := n.Load()
		_, err := st.Do(ctx, tasks.Form, input, value(before, &n), opts...)
		require.NoError(t, err)
		return n.Load() > before
	}
	require.True(t, do(1))
	require.True(t, do(2, tasks.TTL(time.Minute)))
	require.True(t, do(3, tasks.TTL(0)))
	require.NoError(t, st.Warm(ctx, tasks.Form, 4, "w"))
	c.Add(time.Minute - time.Millisecond)
	require.False(t, do(2))
	c.Add(time.Millisecond)
	require.True(t, do(2, tasks.TTL(time.Minute)))
	require.False(t, do(1))
	c.Add(time.Hour - time.Minute)
	require.True(t, do(1))
	require.True(t, do(4))
	require.False(t, do(3))
}

func openSQL(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := driver.Open("file:" + filepath.ToSlash(path) + "?vfs=async&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// keys returns which of the keys are stored. It asks a backend's table, so that asking isn't a use.
func keys(t *testing.T, path string) (list []string) {
	t.Helper()
	db := openSQL(t, path)
	rows, err := db.Query("SELECT key FROM task_cache WHERE result IS NOT NULL ORDER BY key")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var k string
		require.NoError(t, rows.Scan(&k))
		list = append(list, k)
	}
	require.NoError(t, rows.Err())
	return list
}

// TestCacheLeaseTime: how long others wait for a process that has died can be set.
func TestCacheLeaseTime(t *testing.T) {
	st, c, path := open(t, tasks.CacheLease(time.Second))
	other, err := tasks.Open(t.Context(), path, tasks.Clock(c.Now))
	require.NoError(t, err)
	defer other.Close()
	db := openSQL(t, path)
	begun, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := st.Do(t.Context(), tasks.Form, 1, func(context.Context) (any, error) {
			close(begun)
			<-release
			return "late", nil
		})
		done <- err
	}()
	<-begun
	var until int64
	require.NoError(t, db.QueryRow("SELECT lease_until FROM task_cache").Scan(&until))
	require.Equal(t, c.Now().Add(time.Second).UnixMilli(), until)
	c.Add(time.Second)
	res, err := other.Do(t.Context(), tasks.Form, 1, func(context.Context) (any, error) { return "other", nil })
	close(release)
	require.NoError(t, err)
	require.Equal(t, `"other"`, string(res.Raw))
	require.NoError(t, <-done)
	_, err = tasks.Open(t.Context(), path, tasks.CacheLease(time.Millisecond))
	require.ErrorIs(t, err, tasks.ErrInvalid)
}
