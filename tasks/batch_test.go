package tasks_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestLargeBatch: large results that come at once are written in several transactions of a few MiB,
// so that neither the WAL nor other stores' patience has to hold all of them.
func TestLargeBatch(t *testing.T) {
	t.Parallel()
	n := sized(24, 12)
	large := strings.Repeat("x", 1<<20)
	for name, write := range map[string]func(*testing.T, *tasks.Store, string){
		"many": func(t *testing.T, st *tasks.Store, _ string) {
			var list []tasks.NewStatus
			for i := range n {
				list = append(list, tasks.NewStatus{ID: fmt.Sprint(i), Status: tasks.Completed, Result: large})
			}
			require.Nil(t, st.UpdateMany(t.Context(), list))
		},
		"calls": func(t *testing.T, st *tasks.Store, path string) {
			together(t, path, n, func(i int) error {
				return st.Update(t.Context(), fmt.Sprint(i), tasks.Completed, large)
			})
		},
		"progress": func(t *testing.T, st *tasks.Store, path string) {
			for i := range n {
				require.NoError(t, st.Update(t.Context(), fmt.Sprint(i), tasks.Processing, nil, tasks.Relaxed()))
			}
			together(t, path, n, func(i int) error { return st.Progress(t.Context(), fmt.Sprint(i), large) })
		},
		"complete": func(t *testing.T, st *tasks.Store, path string) {
			var claimed []tasks.Claimed
			for range n {
				c, err := st.Claim(t.Context(), time.Minute)
				require.NoError(t, err)
				claimed = append(claimed, c)
			}
			together(t, path, n, func(i int) error { return st.Complete(t.Context(), claimed[i], large) })
		},
		"cache": func(t *testing.T, st *tasks.Store, path string) {
			together(t, path, n, func(i int) error { return st.Warm(t.Context(), tasks.Form, i, large) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter()
			st, _, path := open(t, m.option())
			for i := range n {
				require.NoError(t, st.Create(t.Context(), fmt.Sprint(i), tasks.Form, tasks.Relaxed()))
			}
			m.during(func() { write(t, st, path) })
			m.mu.Lock()
			defer m.mu.Unlock()
			require.GreaterOrEqual(t, m.statements["COMMIT"], n/4)
		})
	}
}

// together makes calls that all wait for the write lock before one of them gets it.
func together(t *testing.T, path string, n int, call func(i int) error) {
	t.Helper()
	other, err := sqlite3.OpenContext(context.Background(), "file:"+path+"?vfs=async")
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.Exec("BEGIN IMMEDIATE"))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := call(i); err != nil {
				t.Error(err)
			}
		})
	}
	require.Eventually(t, func() bool { return parked("tasks.(*writer).do", "tasks_test.together") == n }, time.Minute, time.Millisecond)
	require.NoError(t, other.Exec("ROLLBACK"))
	wg.Wait()
}
