package tasks_test

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

func TestCacheEviction(t *testing.T) {
	st, c, path := open(t, tasks.CacheMaxEntries(3))
	ctx := t.Context()
	put := func(k string, opts ...tasks.CacheOption) {
		require.NoError(t, st.Warm(ctx, tasks.Form, nil, k, append(opts, tasks.Key(k))...))
		c.Add(time.Minute)
	}
	use := func(k string, n int) {
		for range n {
			_, err := st.Do(ctx, tasks.Form, nil, never(t), tasks.Key(k))
			require.NoError(t, err)
		}
	}
	put("a")
	put("b")
	put("c")
	use("a", 1) // now younger than b
	put("d")
	require.Equal(t, []string{"a", "c", "d"}, keys(t, path))
	use("c", 6) // 8 is 2^3: that counts as 2 h more than one use
	c.Add(100 * time.Minute)
	put("e")
	put("f")
	put("g")
	require.Equal(t, []string{"c", "f", "g"}, keys(t, path))
	c.Add(24 * time.Hour)
	put("h")
	put("i", tasks.TTL(time.Minute))
	put("j")
	require.Equal(t, []string{"c", "h", "j"}, keys(t, path)) // i had expired
	put("k")
	require.Equal(t, []string{"h", "j", "k"}, keys(t, path)) // c was used often, but long ago
	stats, err := st.CacheStats(ctx)
	require.NoError(t, err)
	require.Equal(t, 3, stats.Entries)
	require.EqualValues(t, 7, stats.Evicted)
}

func TestCacheEvictionBytes(t *testing.T) {
	st, c, path := open(t, tasks.MaxResult(100), tasks.CacheMaxBytes(320))
	for i := range 5 {
		require.NoError(t, st.Warm(t.Context(), tasks.Form, nil, strings.Repeat("x", 98), tasks.Key(strconv.Itoa(i))))
		c.Add(time.Second)
	}
	require.Equal(t, []string{"2", "3", "4"}, keys(t, path))
}

// TestCacheUses: hits are written later, together, and when the store is closed.
func TestCacheUses(t *testing.T) {
	st, c, path := open(t)
	db := openSQL(t, path)
	uses := func() (n int) {
		require.NoError(t, db.QueryRow("SELECT uses FROM task_cache WHERE key='k'").Scan(&n))
		return n
	}
	hit := func() {
		_, err := st.Do(t.Context(), tasks.Form, nil, never(t), tasks.Key("k"))
		require.NoError(t, err)
	}
	require.NoError(t, st.Warm(t.Context(), tasks.Form, nil, 1, tasks.Key("k")))
	hit()
	hit()
	require.Equal(t, 1, uses())
	c.Add(10 * time.Second)
	hit()
	wait(t, func() bool { return uses() == 4 })
	hit()
	require.Equal(t, 4, uses())
	require.NoError(t, st.Close())
	require.Equal(t, 5, uses())
}

// TestCacheInvalidate: what is being computed when its key is invalidated isn't stored, and those who wait get a new one.
func TestCacheInvalidate(t *testing.T) {
	t.Parallel()
	for name, invalidate := range map[string]func(*tasks.Store) error{
		"key":  func(st *tasks.Store) error { return st.Invalidate(t.Context(), tasks.Form, 1) },
		"type": func(st *tasks.Store) error { return st.InvalidateType(t.Context(), tasks.Form) },
		"warm": func(st *tasks.Store) error { return st.Warm(t.Context(), tasks.Form, 1, 2) },
	} {
		for _, other := range []bool{false, true} {
			t.Run(name+" by another "+strconv.FormatBool(other), func(t *testing.T) {
				st, c, path := open(t)
				by := st
				if other {
					var err error
					by, err = tasks.Open(t.Context(), path, tasks.Clock(c.Now))
					require.NoError(t, err)
					defer by.Close()
				}
				begun, release := make(chan struct{}), make(chan struct{})
				var n atomic.Int32
				got := make(chan string)
				go func() {
					res, err := st.Do(t.Context(), tasks.Form, 1, func(context.Context) (any, error) {
						if n.Add(1) == 2 {
							return 2, nil
						}
						close(begun)
						<-release
						return 1, nil
					})
					if err != nil {
						t.Error(err)
					}
					got <- string(res.Raw)
				}()
				<-begun
				require.NoError(t, invalidate(by))
				close(release)
				require.Equal(t, "2", <-got)
				res, err := by.Do(t.Context(), tasks.Form, 1, never(t))
				require.NoError(t, err)
				require.Equal(t, "2", string(res.Raw))
			})
		}
	}
}

func TestCacheInvalidateType(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	for i := range 250 {
		require.NoError(t, st.Warm(ctx, tasks.Form, nil, i, tasks.Key(strconv.Itoa(i))))
	}
	require.NoError(t, st.Warm(ctx, tasks.Document, nil, 1, tasks.Key("kept")))
	require.NoError(t, st.Invalidate(ctx, tasks.Form, "nobody"))
	require.NoError(t, st.InvalidateType(ctx, tasks.Form))
	require.Equal(t, []string{"kept"}, keys(t, path))
}

// TestCacheTakeover: the lease of a process that has died is taken over once it ends, not before.
func TestCacheTakeover(t *testing.T) {
	st, c, path := open(t)
	db := openSQL(t, path)
	_, err := db.Exec("INSERT INTO task_cache(type, key, created_at, used_at, lease_until, lease) VALUES('form', 'k', 0, 0, ?, 'dead')",
		c.Now().Add(time.Minute).UnixMilli())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := st.Do(ctx, tasks.Form, nil, never(t), tasks.Key("k"))
		left <- err
	}()
	misses(t, st, 1)
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	var n atomic.Int32
	got := make(chan error)
	go func() {
		_, err := st.Do(t.Context(), tasks.Form, nil, value(1, &n), tasks.Key("k"))
		got <- err
	}()
	misses(t, st, 2)
	require.Zero(t, n.Load())
	c.Add(time.Minute)
	require.NoError(t, <-got)
	require.EqualValues(t, 1, n.Load())
}

// TestCacheClose: closing ends the computations, and those who wait are told.
func TestCacheClose(t *testing.T) {
	st, _, path := open(t)
	begun, cancelled := make(chan struct{}), make(chan struct{})
	got := make(chan error)
	go func() {
		_, err := st.Do(t.Context(), tasks.Form, 1, func(ctx context.Context) (any, error) {
			close(begun)
			<-ctx.Done()
			close(cancelled)
			return nil, ctx.Err()
		})
		got <- err
	}()
	<-begun
	require.NoError(t, st.Close())
	require.ErrorIs(t, <-got, tasks.ErrClosed)
	<-cancelled
	// The lease is given back.
	db := openSQL(t, path)
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM task_cache").Scan(&n))
	require.Zero(t, n)
}
