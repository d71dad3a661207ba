package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// result500 is a result of about 500 bytes.
var result500 = map[string]string{"text": strings.Repeat("page ", 97)}

// taskCalls makes the three calls of a task's life.
type taskCalls struct {
	create, begin func(id string) error
	complete      func(id string) error
}

// storeCalls makes them through package tasks.
func storeCalls(b *testing.B, dir string) (taskCalls, func()) {
	st, err := tasks.Open(b.Context(), filepath.Join(dir, "tasks.db"))
	require.NoError(b, err)
	ctx := context.Background()
	return taskCalls{
		create:   func(id string) error { return st.Create(ctx, id, tasks.Document) },
		begin:    func(id string) error { return st.Update(ctx, id, tasks.Processing, nil) },
		complete: func(id string) error { return st.Update(ctx, id, tasks.Completed, result500) },
	}, func() { require.NoError(b, st.Close()) }
}

// moduleCalls makes them as the Python module does: each opens a connection, on the stock VFS at FULL,
// makes one transaction, and closes it.
func moduleCalls(b *testing.B, dir string) (taskCalls, func()) {
	uri := "file:" + filepath.ToSlash(filepath.Join(dir, "module.db")) + "?_pragma=busy_timeout(600000)&_pragma=synchronous(full)"
	keep, err := sqlite3.Open(uri) // as a service that polls: the WAL isn't made anew for each call
	require.NoError(b, err)
	require.NoError(b, keep.Exec(`PRAGMA journal_mode=wal; CREATE TABLE tasks(id TEXT PRIMARY KEY, type TEXT NOT NULL,
		status TEXT NOT NULL, result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER)`))
	call := func(sql string, args ...string) error {
		c, err := sqlite3.Open(uri)
		if err != nil {
			return err
		}
		defer c.Close()
		s, _, err := c.Prepare(sql)
		if err != nil {
			return err
		}
		defer s.Close()
		for i, a := range args {
			s.BindText(i+1, a)
		}
		s.Step()
		return s.Err()
	}
	text := `{"text": "` + result500["text"] + `"}`
	return taskCalls{
		create: func(id string) error {
			return call("INSERT INTO tasks(id, type, status, created_at) VALUES(?, 'document', 'pending', unixepoch())", id)
		},
		begin: func(id string) error {
			return call("UPDATE tasks SET status='processing', updated_at=unixepoch() WHERE id=?", id)
		},
		complete: func(id string) error {
			return call("UPDATE tasks SET status='completed', result=?2, updated_at=unixepoch() WHERE id=?1", id, text)
		},
	}, func() { require.NoError(b, keep.Close()) }
}

// lives takes n tasks through their lives by so many callers. It returns tasks per second and sorted latencies of the calls.
func lives(b *testing.B, c taskCalls, callers, n int) (perSecond float64, latencies []time.Duration) {
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			var own []time.Duration
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				id := fmt.Sprintf("task-%08d", i)
				for _, f := range []func(string) error{c.create, c.begin, c.complete} {
					begun := time.Now()
					if err := f(id); err != nil {
						b.Error(err)
						return
					}
					own = append(own, time.Since(begun))
				}
			}
			mu.Lock()
			latencies = append(latencies, own...)
			mu.Unlock()
		})
	}
	wg.Wait()
	took := time.Since(start)
	slices.Sort(latencies)
	return float64(n) / took.Seconds(), latencies
}

// BenchmarkTasks takes tasks through their lives, durably, through package tasks
// and, in turn, as the Python module does but in Go: three runs each.
// It reports the ratio of tasks per second (median, least, greatest) and the store's slowest calls.
func BenchmarkTasks(b *testing.B) {
	const pairs = 3
	for _, callers := range []int{1, 8, 64, 256, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			for b.Loop() {
				var ratios, perSecond, tails []float64
				for range pairs {
					// So many that each takes about half a second.
					module, closeModule := moduleCalls(b, b.TempDir())
					stock, _ := lives(b, module, callers, 300)
					closeModule()
					store, closeStore := storeCalls(b, b.TempDir())
					async, latencies := lives(b, store, callers, 300+100*min(callers, 100))
					closeStore()
					ratios, perSecond = append(ratios, async/stock), append(perSecond, async)
					tails = append(tails, latencies[len(latencies)*999/1000].Seconds()*1000)
				}
				slices.Sort(ratios)
				slices.Sort(perSecond)
				slices.Sort(tails)
				b.ReportMetric(ratios[pairs/2], "x-module")
				b.ReportMetric(ratios[0], "min-x-module")
				b.ReportMetric(ratios[pairs-1], "max-x-module")
				b.ReportMetric(perSecond[pairs/2], "tasks/s")
				b.ReportMetric(tails[pairs/2], "p99.9-ms")
			}
		})
	}
}

// BenchmarkStatus looks tasks up from 8 goroutines.
func BenchmarkStatus(b *testing.B) {
	st, err := tasks.Open(b.Context(), filepath.Join(b.TempDir(), "tasks.db"))
	require.NoError(b, err)
	defer st.Close()
	var list []tasks.NewTask
	for i := range 10_000 {
		list = append(list, tasks.NewTask{ID: fmt.Sprintf("task-%08d", i), Type: tasks.Form})
	}
	require.Nil(b, st.CreateMany(b.Context(), list))
	b.SetParallelism(max(1, 8/2))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := st.Status(b.Context(), list[rand.IntN(len(list))].ID); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
}
