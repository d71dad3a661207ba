package tasks_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// fill creates completed tasks with results of that size, long ago.
func fill(t testing.TB, st *tasks.Store, n, size int) {
	t.Helper()
	result := strings.Repeat("x", max(0, size-2))
	for i := 0; i < n; {
		var list []tasks.NewTask
		var done []tasks.NewStatus
		for range min(n-i, max(1, 1<<20/size)) {
			id := strconv.Itoa(i)
			list = append(list, tasks.NewTask{ID: id, Type: tasks.Form})
			done = append(done, tasks.NewStatus{ID: id, Status: tasks.Completed, Result: result})
			i++
		}
		require.Nil(t, st.CreateMany(t.Context(), list, tasks.Relaxed()))
		require.Nil(t, st.UpdateMany(t.Context(), done, tasks.Relaxed()))
	}
}

// TestCleanupInParts: a cleanup of many MiB is more than one transaction, and all of it is durable.
func TestCleanupInParts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.db")
	sqlFile(t, path, schemas[0]) // the Python module's file isn't made smaller, which would be more transactions
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	defer st.Close()
	rows := sized(64, 16)
	fill(t, st, rows, 1<<20)
	before, err := vfs.Stats(path)
	require.NoError(t, err)
	n, err := st.Cleanup(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, rows, n)
	after, err := vfs.Stats(path)
	require.NoError(t, err)
	require.Greater(t, after.Commits, before.Commits+2)
	require.Zero(t, after.PendingCommits)
}

// TestCleanupPages: it goes on beyond what is looked for at once, past tasks that it keeps.
func TestCleanupPages(t *testing.T) {
	t.Parallel()
	st, c, _ := open(t)
	ctx := t.Context()
	fill(t, st, 1100, 10)
	var failed []tasks.NewTask
	for i := range 1050 {
		failed = append(failed, tasks.NewTask{ID: fmt.Sprint("pending", i), Type: tasks.Form})
	}
	require.Nil(t, st.CreateMany(ctx, failed))
	c.Add(time.Hour)
	require.NoError(t, st.Create(ctx, "new", tasks.Form))
	cleaning, cancel := context.WithCancel(ctx)
	var deleted int
	require.NoError(t, st.RunJanitor(cleaning, tasks.Janitor{
		Every: time.Millisecond, Keep: map[tasks.Status]time.Duration{tasks.Pending: -1}, Default: time.Hour,
		OnCleanup: func(n int, err error) { require.NoError(t, err); deleted = n; cancel() },
	}))
	require.Equal(t, 1100, deleted)
	n, err := st.Cleanup(ctx, time.Hour)
	require.NoError(t, err)
	require.Equal(t, 1050, n)
	_, err = st.Status(ctx, "new")
	require.NoError(t, err)
}

// BenchmarkCleanup reports the longest time that another connection waits for the write lock during a cleanup.
func BenchmarkCleanup(b *testing.B) {
	for _, test := range []struct{ n, size int }{{20000, 500}, {200, 1 << 20}, {10, 16 << 20}} {
		b.Run(fmt.Sprintf("%dx%d", test.n, test.size), func(b *testing.B) {
			longest, deleted := time.Duration(0), 0
			for b.Loop() {
				b.StopTimer()
				path := filepath.Join(b.TempDir(), fmt.Sprint(deleted, ".db"))
				st, err := tasks.Open(b.Context(), path)
				require.NoError(b, err)
				fill(b, st, test.n, test.size)
				stop, waited := make(chan struct{}), make(chan time.Duration)
				go func() { waited <- longestWait(b, path, stop) }()
				b.StartTimer()
				n, err := st.Cleanup(b.Context(), 0)
				b.StopTimer()
				require.NoError(b, err)
				deleted += n
				close(stop)
				longest = max(longest, <-waited)
				require.NoError(b, st.Close())
				b.StartTimer()
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "longest-ms")
			b.ReportMetric(float64(deleted)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}

// longestWait tries to get the write lock all the time.
func longestWait(b *testing.B, path string, stop chan struct{}) (longest time.Duration) {
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?vfs=async")
	require.NoError(b, err)
	defer c.Close()
	require.NoError(b, c.BusyTimeout(0))
	for since := time.Now(); ; runtime.Gosched() {
		select {
		case <-stop:
			return longest
		default:
		}
		if err := c.Exec("BEGIN IMMEDIATE"); err == nil {
			longest = max(longest, time.Since(since))
			require.NoError(b, c.Exec("ROLLBACK"))
			since = time.Now()
		}
	}
}
