package tasks_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestCacheCancelledLeader: the one who began it leaves, and the computation goes on for the other.
func TestCacheCancelledLeader(t *testing.T) {
	st, _, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	begun, release := make(chan struct{}), make(chan struct{})
	first, second := make(chan error), make(chan error)
	go func() {
		_, err := st.Do(ctx, tasks.Form, 1, func(ctx context.Context) (any, error) {
			close(begun)
			select {
			case <-release:
				return "done", nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		first <- err
	}()
	<-begun
	go func() {
		res, err := st.Do(t.Context(), tasks.Form, 1, never(t))
		if string(res.Raw) != `"done"` {
			err = errors.Join(err, errors.New("no result"))
		}
		second <- err
	}()
	misses(t, st, 2)
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	close(release)
	require.NoError(t, <-second)
}

// TestCacheAllCancelled: the computation is cancelled once nobody waits, and the next call computes at once.
func TestCacheAllCancelled(t *testing.T) {
	st, _, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			_, err := st.Do(ctx, tasks.Form, 1, func(ctx context.Context) (any, error) {
				close(begun)
				<-ctx.Done()
				close(ended)
				return nil, ctx.Err()
			}, tasks.CacheErrors(time.Hour))
			if !errors.Is(err, context.Canceled) {
				t.Error(i, err)
			}
		})
	}
	<-begun
	misses(t, st, 5)
	cancel()
	wg.Wait()
	<-ended
	var n atomic.Int32
	_, err := st.Do(t.Context(), tasks.Form, 1, value(1, &n))
	require.NoError(t, err)
	require.EqualValues(t, 1, n.Load())
}
