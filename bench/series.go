package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// A Scene is what a series over time is taken of.
type Scene struct {
	Name     string
	Workload Workload
	Level    string
	Pause    time.Duration // between the beginnings of a connection's commits; 0 is none
}

// Scenes are the series of the report. Only commits that come slowly show stock's loss window:
// without a pause the WAL is soon full, and checkpointed.
var Scenes = []Scene{
	{"updates by 1 connection", Workload{Update, 1, 100, 1}, "normal", 0},
	{"inserts by 64 connections", Workload{Insert, 1, 100, 64}, "full", 0},
	{"200 inserts a second by 1 connection", Workload{Insert, 1, 100, 1}, "normal", 5 * time.Millisecond},
}

// A Point is a tenth of a second of a series.
type Point struct {
	At              time.Duration // its end
	Commits         int
	Median, Longest time.Duration // of those that ended in it
	Window          time.Duration // the longest that a commit had returned and wasn't durable, as seen every millisecond
}

const pointLength = 100 * time.Millisecond

// Run takes the series, after a warm-up of half a second.
func (sc Scene) Run(ctx context.Context, setup, dir string, length time.Duration) (points []Point, err error) {
	exposed := &exposure{clock: time.Now()}
	watched := watchedVFS{sqlitevfs.Find(""), exposed}
	name := fmt.Sprintf("watched-%d", watchedNumber.Add(1))
	sqlitevfs.Register(name, watched)
	defer sqlitevfs.Unregister(name)
	if setup == "async" {
		name += "-async"
		if err := vfs.Register(name, watched); err != nil {
			return nil, err
		}
		defer sqlitevfs.Unregister(name)
	}
	open := func(context.Context) (Conn, error) { return openNative(Setup{setup, "real", sc.Level}.dsn(dir, name)) }
	if err := sc.Workload.prepare(ctx, open); err != nil {
		return nil, err
	}
	var workers []*worker
	defer func() {
		for _, wk := range workers {
			err = errors.Join(err, wk.close())
		}
	}()
	for i := range sc.Workload.Conns {
		wk, err := newWorker(ctx, sc.Workload, i, sc.Level, open)
		if err != nil {
			return nil, err
		}
		workers = append(workers, wk)
	}
	return sc.take(workers, exposed, length)
}

var watchedNumber atomic.Int64

func (sc Scene) take(workers []*worker, exposed *exposure, length time.Duration) ([]Point, error) {
	const warmUp = 500 * time.Millisecond
	var (
		wg      sync.WaitGroup
		all     = make([]samples, len(workers))
		errs    = make([]error, len(workers))
		windows = make([]time.Duration, length/pointLength)
		stop    atomic.Bool
	)
	exposed.reset()
	for i, wk := range workers {
		wg.Go(func() {
			for next := exposed.now(); !stop.Load(); next += sc.Pause {
				if wait := next - exposed.now(); sc.Pause > 0 && wait > 0 {
					time.Sleep(wait)
				}
				begun := exposed.now()
				if _, errs[i] = wk.step(); errs[i] != nil {
					return
				}
				if sc.Level == "normal" {
					exposed.committed()
				}
				all[i].add(sample{begun: begun - warmUp, took: exposed.now() - begun})
			}
		})
	}
	for now := exposed.now(); now < warmUp+length; now = exposed.now() {
		time.Sleep(time.Millisecond)
		if i := int((now - warmUp) / pointLength); now > warmUp && i < len(windows) {
			windows[i] = max(windows[i], exposed.window())
		}
	}
	stop.Store(true)
	wg.Wait()
	return pointsOf(all, windows), errors.Join(errs...)
}

// pointsOf sorts samples into points by when they ended.
func pointsOf(all []samples, windows []time.Duration) []Point {
	times := make([][]time.Duration, len(windows))
	for _, s := range all {
		s.each(func(x sample) {
			if end := x.begun + x.took; end >= 0 && int(end/pointLength) < len(times) {
				times[end/pointLength] = append(times[end/pointLength], x.took)
			}
		})
	}
	points := make([]Point, len(windows))
	for i, t := range times {
		slices.Sort(t)
		points[i] = Point{
			At: time.Duration(i+1) * pointLength, Commits: len(t),
			Median: Percentile(t, 50), Longest: Percentile(t, 100), Window: windows[i],
		}
	}
	return points
}
