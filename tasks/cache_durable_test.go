package tasks_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/memory"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

// syncing is a backend that counts how often it is asked to make everything durable.
type syncing struct {
	tasks.Backend
	syncs atomic.Int32
}

func (b *syncing) Sync(ctx context.Context) error {
	b.syncs.Add(1)
	return b.Backend.Sync(ctx)
}

// TestCacheDurable: with Durable, Do makes durable what another call has stored with Relaxed.
func TestCacheDurable(t *testing.T) {
	b := &syncing{Backend: memory.New(time.Now).Backend()}
	st, err := tasks.New(b)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	do := func(input int, compute func(context.Context) (any, error), opts ...tasks.CacheOption) {
		res, err := st.Do(t.Context(), tasks.Form, input, compute, opts...)
		require.NoError(t, err)
		require.Equal(t, "1", string(res.Raw))
	}
	one := func(context.Context) (any, error) { return 1, nil }

	do(1, one)                  // stored with Relaxed
	do(1, never(t))             // as little is promised
	do(2, one, tasks.Durable()) // stored durably
	require.Zero(t, b.syncs.Load())
	do(1, never(t), tasks.Durable())
	require.Equal(t, int32(1), b.syncs.Load())

	// The same where the call waits for another's computation.
	begun, release := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() {
		_, err := st.Do(t.Context(), tasks.Form, 3, func(context.Context) (any, error) {
			close(begun)
			<-release
			return 1, nil
		})
		first <- err
	}()
	<-begun
	second := make(chan error)
	go func() {
		_, err := st.Do(t.Context(), tasks.Form, 3, never(t), tasks.Durable())
		second <- err
	}()
	misses(t, st, 4)
	close(release)
	require.NoError(t, <-first)
	require.NoError(t, <-second)
	require.Equal(t, int32(2), b.syncs.Load())
}

// TestSync: what was relaxed before is durable after it.
func TestSync(t *testing.T) {
	st, _, path := open(t)
	for _, id := range []string{"a", "b", "c"} {
		require.NoError(t, st.Create(t.Context(), id, tasks.Form, tasks.Relaxed()))
	}
	require.NoError(t, st.Sync(t.Context()))
	s, err := vfs.Stats(path)
	require.NoError(t, err)
	require.Equal(t, s.Commits, s.DurableCommits, "%v", s)
}
