package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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

// taskRun takes n tasks through their lives by so many callers, in a new database.
// It returns tasks per second and sorted latencies of the calls.
type taskRun func(b *testing.B, callers, n int) (perSecond float64, latencies []time.Duration)

// storeRun makes the calls through package tasks.
func storeRun(b *testing.B, callers, n int) (float64, []time.Duration) {
	path := filepath.Join(b.TempDir(), "tasks.db")
	st, err := tasks.Open(b.Context(), path)
	require.NoError(b, err)
	ctx := context.Background()
	perSecond, latencies := lives(b, taskCalls{
		create:   func(id string) error { return st.Create(ctx, id, tasks.Document) },
		begin:    func(id string) error { return st.Update(ctx, id, tasks.Processing, nil) },
		complete: func(id string) error { return st.Update(ctx, id, tasks.Completed, result500) },
	}, callers, n)
	require.NoError(b, st.Close())
	checkTasks(b, path, n)
	return perSecond, latencies
}

// checkTasks checks with the stock VFS that there are n tasks, all of them completed, with their results.
func checkTasks(b *testing.B, path string, n int) {
	c, err := sqlite3.Open(path)
	require.NoError(b, err)
	defer c.Close()
	s, _, err := c.Prepare("SELECT count(*), sum(status='completed' AND json_extract(result, '$.text')=?) FROM tasks")
	require.NoError(b, err)
	defer s.Close()
	s.BindText(1, result500["text"])
	require.True(b, s.Step(), "%v", s.Err())
	require.Equal(b, n, s.ColumnInt(0))
	require.Equal(b, n, s.ColumnInt(1))
}

// moduleDatabase makes a database in WAL mode with the Python module's table. It stays open in one connection,
// as with a service that polls: the WAL isn't made anew for each call.
func moduleDatabase(b *testing.B) (path string, keep *sqlite3.Conn) {
	path = filepath.Join(b.TempDir(), "module.db")
	keep, err := sqlite3.Open(path)
	require.NoError(b, err)
	require.NoError(b, keep.Exec(`PRAGMA journal_mode=wal; CREATE TABLE tasks(id TEXT PRIMARY KEY, type TEXT NOT NULL,
		status TEXT NOT NULL, result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER)`))
	return path, keep
}

// pythonRun makes the calls in Python.
func pythonRun(b *testing.B, callers, n int) (float64, []time.Duration) {
	path, keep := moduleDatabase(b)
	cmd := exec.Command("python3", filepath.Join("testdata", "module.py"), path, fmt.Sprint(callers), fmt.Sprint(n))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(b, err)
	var seconds []float64
	for _, line := range strings.Fields(string(out)) {
		f, err := strconv.ParseFloat(line, 64)
		require.NoError(b, err)
		seconds = append(seconds, f)
	}
	require.Len(b, seconds, 1+3*n)
	latencies := make([]time.Duration, 3*n)
	for i, s := range seconds[1:] {
		latencies[i] = time.Duration(s * float64(time.Second))
	}
	slices.Sort(latencies)
	require.NoError(b, keep.Close())
	checkTasks(b, path, n)
	return float64(n) / seconds[0], latencies
}

// moduleRun makes the calls as the Python module does, but in Go: each opens a connection, on the stock VFS at FULL,
// makes one transaction, and closes it. That is two syncs a call, here as in Python: a connection's first sync of the WAL
// comes with one for the directory (for which go-sqlite3 syncs the WAL once more).
func moduleRun(b *testing.B, callers, n int) (float64, []time.Duration) {
	path, keep := moduleDatabase(b)
	uri := "file:" + filepath.ToSlash(path) + "?_pragma=busy_timeout(600000)&_pragma=synchronous(full)"
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
	perSecond, latencies := lives(b, taskCalls{
		create: func(id string) error {
			return call("INSERT INTO tasks(id, type, status, created_at) VALUES(?, 'document', 'pending', unixepoch())", id)
		},
		begin: func(id string) error {
			return call("UPDATE tasks SET status='processing', updated_at=unixepoch() WHERE id=?", id)
		},
		complete: func(id string) error {
			return call("UPDATE tasks SET status='completed', result=?2, updated_at=unixepoch() WHERE id=?1", id, text)
		},
	}, callers, n)
	require.NoError(b, keep.Close())
	checkTasks(b, path, n)
	return perSecond, latencies
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
// It reports the ratio of tasks per second (median, least, greatest) and how long calls took.
func BenchmarkTasks(b *testing.B) {
	besideModule(b, moduleRun, 1, 8, 64, 256, 1024)
}

// BenchmarkTasksPython does the same, but beside Python itself.
func BenchmarkTasksPython(b *testing.B) {
	if err := exec.Command("python3", "-c", "import sqlite3, multiprocessing; multiprocessing.get_context('fork')").Run(); err != nil {
		b.Skip("there is no Python 3 with sqlite3 and fork: ", err)
	}
	besideModule(b, pythonRun, 1, 8, 64, 256)
}

func besideModule(b *testing.B, module taskRun, callers ...int) {
	const pairs = 3
	for _, callers := range callers {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			for b.Loop() {
				values := map[string][]float64{}
				run := func(r taskRun, prefix string, n int) float64 {
					perSecond, latencies := r(b, callers, n)
					add := func(unit string, v float64) { values[prefix+unit] = append(values[prefix+unit], v) }
					add("tasks/s", perSecond)
					add("p50-ms", latencies[len(latencies)/2].Seconds()*1000)
					add("p99.9-ms", latencies[len(latencies)*999/1000].Seconds()*1000)
					return perSecond
				}
				for range pairs {
					// So many that each takes about half a second. More than 300 callers aren't busy in the module,
					// which helps it: with 1024 at once it takes seconds.
					stock := run(module, "module-", 300)
					async := run(storeRun, "", 300+100*min(callers, 100))
					values["x-module"] = append(values["x-module"], async/stock)
				}
				for unit, v := range values {
					slices.Sort(v)
					b.ReportMetric(v[pairs/2], unit)
				}
				b.ReportMetric(values["x-module"][0], "min-x-module")
				b.ReportMetric(values["x-module"][pairs-1], "max-x-module")
			}
		})
	}
}

// BenchmarkStatus looks the statuses of 10,000 tasks up, in the database, from 8 goroutines: three runs, of which it reports the median.
func BenchmarkStatus(b *testing.B) {
	const runs, goroutines, each = 3, 8, 20_000
	ctx := context.Background()
	path := filepath.Join(b.TempDir(), "tasks.db")
	st, err := tasks.Open(ctx, path)
	require.NoError(b, err)
	defer st.Close()
	var list []tasks.NewTask
	for i := range 10_000 {
		list = append(list, tasks.NewTask{ID: fmt.Sprintf("task-%08d", i), Type: tasks.Form})
	}
	require.Nil(b, st.CreateMany(ctx, list))
	for b.Loop() {
		var perSecond []float64
		for range runs {
			var wg sync.WaitGroup
			start := time.Now()
			for range goroutines {
				wg.Go(func() {
					for range each {
						info, err := st.Status(ctx, list[rand.IntN(len(list))].ID)
						if err != nil || info.Status != tasks.Pending {
							b.Error(info.Status, err)
							return
						}
					}
				})
			}
			wg.Wait()
			perSecond = append(perSecond, goroutines*each/time.Since(start).Seconds())
		}
		slices.Sort(perSecond)
		b.ReportMetric(perSecond[runs/2], "lookups/s")
	}

	// They come from the database: what another connection changes is seen at once.
	c, err := sqlite3.Open(path)
	require.NoError(b, err)
	defer c.Close()
	require.NoError(b, c.Exec("UPDATE tasks SET status='processing'"))
	for _, t := range list {
		info, err := st.Status(ctx, t.ID)
		require.NoError(b, err)
		require.Equal(b, tasks.Processing, info.Status)
	}
}
