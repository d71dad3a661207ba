package vfs

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWriterQueue: those that wait are woken one by one, in the order in which they came.
func TestWriterQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q writerQueue
		require.False(t, q.committed())
		ctx, cancel := context.WithCancel(t.Context())
		woken := make(chan int, 10)
		for i := range 5 {
			go func() {
				ctx := ctx
				if i != 1 {
					ctx = t.Context()
				}
				q.wait(ctx, newTurn(), time.Hour)
				woken <- i
			}()
			synctest.Wait()
		}
		cancel()
		require.Equal(t, 1, <-woken) // it gave up
		for _, i := range []int{0, 2, 3, 4} {
			require.True(t, q.committed())
			require.Equal(t, i, <-woken)
			require.Empty(t, woken)
		}
		require.False(t, q.committed())

		// Nobody who had the lock has to say so.
		start := time.Now()
		turn := newTurn()
		for range 3 {
			q.wait(t.Context(), turn, time.Second)
		}
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Empty(t, q.waiting)
	})
}
