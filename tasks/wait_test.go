package tasks_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestWait: those who wait are told, whichever store the change comes through.
func TestWait(t *testing.T) {
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprint("same=", same), func(t *testing.T) {
			st, _, path := open(t)
			ctx := t.Context()
			by := st
			if !same {
				var err error
				by, err = tasks.Open(ctx, path)
				require.NoError(t, err)
				defer by.Close()
			}
			_, err := st.Wait(ctx, "a")
			require.ErrorIs(t, err, tasks.ErrNotFound)
			require.NoError(t, st.Create(ctx, "a", tasks.Form))
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					res, err := st.Wait(ctx, "a")
					if err != nil || string(res.Raw) != `"done"` {
						t.Error(res, err)
					}
				})
			}
			var seen []tasks.Status
			for r, err := range st.Watch(ctx, "a") {
				require.NoError(t, err)
				seen = append(seen, r.Status)
				switch r.Status {
				case tasks.Pending:
					require.NoError(t, by.Update(ctx, "a", tasks.Processing, nil))
				case tasks.Processing:
					require.NoError(t, by.Update(ctx, "a", tasks.Completed, "done"))
				}
				if r.Status.Final() {
					break
				}
			}
			wg.Wait()
			require.Equal(t, []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed}, seen)
			res, err := st.Wait(ctx, "a") // it doesn't wait
			require.NoError(t, err)
			require.Equal(t, tasks.Completed, res.Status)

			// A task that is deleted, a context that is done, and a store that is closed end it.
			require.NoError(t, st.Create(ctx, "b", tasks.Form))
			for r, err := range st.Watch(ctx, "b") {
				if err == nil {
					require.Equal(t, tasks.Pending, r.Status)
					require.NoError(t, by.Delete(ctx, "b"))
					continue
				}
				require.ErrorIs(t, err, tasks.ErrNotFound)
			}
			require.NoError(t, st.Create(ctx, "c", tasks.Form))
			cancelled, cancel := context.WithCancel(ctx)
			defer cancel()
			for _, err := range st.Watch(cancelled, "c") {
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
				cancel()
			}
			for _, err := range st.Watch(ctx, "c") {
				if err != nil {
					require.ErrorIs(t, err, tasks.ErrClosed)
					break
				}
				require.NoError(t, st.Close())
			}
		})
	}
}
