package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
)

// Timing says how long a run is: after the warm-up at least Min, and then until the WAL
// has been started over Generations times, or until Max.
type Timing struct {
	WarmUp, Min, Max time.Duration
	Generations      uint32
}

// The timings of the benchmarks. A setup that is too slow for so many generations is bounded by time.
var (
	Long  = Timing{WarmUp: 500 * time.Millisecond, Min: 2 * time.Second, Max: 4 * time.Second, Generations: 20}
	Short = Timing{WarmUp: 200 * time.Millisecond, Min: 800 * time.Millisecond, Max: 1500 * time.Millisecond, Generations: 20}
)

// RunNative runs a workload through go-sqlite3's own API on a new database in an empty folder.
func RunNative(ctx context.Context, w Workload, s Setup, t Timing, dir string) (Result, error) {
	return Run(ctx, w, s.Level, t, dir, s.Native(dir))
}

// Run runs a workload on a new database, which connections are opened to with open. It checks the rows that there are at the end.
func Run(ctx context.Context, w Workload, level string, t Timing, dir string, open Opener) (r Result, err error) {
	if err := w.prepare(ctx, open); err != nil {
		return Result{}, fmt.Errorf("prepare %s: %w", w, err)
	}
	workers := make([]*worker, 0, w.Conns)
	defer func() {
		for _, wk := range workers {
			err = errors.Join(err, wk.close())
		}
	}()
	if w.Kind == Read {
		t.Generations = 0
	}
	calls := make([]Call, w.Conns)
	for i := range calls {
		wk, err := newWorker(ctx, w, i, level, open)
		if err != nil {
			return Result{}, err
		}
		workers = append(workers, wk)
		calls[i] = wk.step
	}
	if r, err = Measure(ctx, calls, t, DatabasePath(dir)); err != nil {
		return Result{}, fmt.Errorf("%s: %w", w, err)
	}
	want := w.filled()
	for _, wk := range workers {
		want += wk.rows
	}
	got, err := workers[0].conn.Int("SELECT count(*) FROM t")
	if err == nil && got != want {
		err = fmt.Errorf("%s: there are %d rows, not %d", w, got, want)
	}
	return r, err
}

// A Call makes one commit, or one read.
type Call func() (read bool, err error)

// Measure makes calls over and over, each one in a goroutine of its own. If the path is that of an open database, it watches it.
func Measure(ctx context.Context, calls []Call, t Timing, path string) (Result, error) {
	var (
		wg    sync.WaitGroup
		stop  atomic.Bool
		all   = make([]samples, len(calls))
		errs  = make([]error, len(calls))
		clock = time.Now()
	)
	for i, call := range calls {
		wg.Go(func() {
			for !stop.Load() {
				begun := time.Since(clock)
				read, err := call()
				if err != nil {
					errs[i] = fmt.Errorf("connection %d: %w", i, err)
					stop.Store(true)
					return
				}
				all[i].add(sample{begun, time.Since(clock) - begun, read})
			}
		})
	}
	w := watch{wal: walFile(path + "-wal"), path: path}
	w.sleep(ctx, &stop, t.WarmUp)
	from := time.Since(clock)
	w.start()
	for passed := time.Duration(0); passed < t.Max && !stop.Load() && ctx.Err() == nil; passed = time.Since(clock) - from {
		if passed >= t.Min && w.restarts() >= t.Generations {
			break
		}
		w.sleep(ctx, &stop, min(10*time.Millisecond, t.Max-passed))
	}
	to := time.Since(clock)
	w.end()
	stop.Store(true)
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return Result{}, err
	}
	r := tally(all, from, to)
	w.tell(&r)
	return r, nil
}

// watch looks at the WAL and the statistics of a database during a run.
type watch struct {
	wal         walFile
	path        string
	largest     int64
	first, last uint32 // generations of the WAL
	before      uint64 // syncs
	after       vfs.Statistics
	known       bool // the statistics are
}

// sleep looks at the size of the WAL every few milliseconds.
func (w *watch) sleep(ctx context.Context, stop *atomic.Bool, d time.Duration) {
	const step = 5 * time.Millisecond
	for end := time.Now().Add(d); ctx.Err() == nil && !stop.Load(); {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, step))
		w.largest = max(w.largest, w.wal.size())
	}
}

func (w *watch) start() {
	w.first = w.wal.generation()
	if s, err := vfs.Stats(w.path); err == nil {
		w.before = s.Syncs
	}
}

func (w *watch) restarts() uint32 { return w.wal.generation() - w.first }

func (w *watch) end() {
	w.last = w.wal.generation()
	if s, err := vfs.Stats(w.path); err == nil {
		w.after, w.known = s, true
	}
}

func (w *watch) tell(r *Result) {
	r.WALMiB = float64(w.largest) / (1 << 20)
	r.Restarts = w.last - w.first
	if w.known {
		r.Syncs = w.after.Syncs - w.before
		r.WindowMicros, r.HeldMicros = w.after.MaxWindowMicros, w.after.MaxHeldMicros
	}
}
