package bench

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for _, tt := range []struct {
		sorted []int
		p      float64
		want   int
	}{
		{nil, 50, 0},
		{[]int{7}, 99.99, 7},
		{[]int{1, 2}, 50, 1},
		{[]int{1, 2, 3}, 50, 2},
		{hundred, 0, 1},
		{hundred, 1, 1},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.9, 100},
		{hundred, 100, 100},
	} {
		require.Equal(t, tt.want, Percentile(tt.sorted, tt.p), "p%v of %v", tt.p, tt.sorted)
	}
}

// A call that ends in the measured part counts towards the rate, one that begins in it towards the latencies.
func TestTally(t *testing.T) {
	var s, u samples
	s.add(sample{begun: 0, took: 5})
	s.add(sample{begun: 5, took: 10})
	s.add(sample{begun: 15, took: 1})
	s.add(sample{begun: 16, took: 100})
	u.add(sample{begun: 12, took: 3, read: true})
	u.add(sample{begun: 20, took: 1})
	r := tally([]samples{s, u}, 10, 20)
	require.Equal(t, 2, r.Commits)
	require.Equal(t, 1, r.Reads)
	require.Equal(t, Latency{0.001, 0.1, 0.1, 0.1, 0.1}, r.Commit)
	require.Equal(t, 0.003, r.Read.Max)
	require.Equal(t, 2.0/3, r.LeastShare, "one of 3, where 1.5 each would be equal")
	require.Equal(t, 2/(10*time.Nanosecond).Seconds(), r.Rate())
}

func TestSamplesKeepsAll(t *testing.T) {
	var s samples
	for i := range 10_000 {
		s.add(sample{took: time.Duration(i)})
	}
	next := time.Duration(0)
	s.each(func(x sample) { require.Equal(t, next, x.took); next++ })
	require.EqualValues(t, 10_000, next)
}

func TestSpreadReport(t *testing.T) {
	var sp Spread
	for _, v := range []float64{3, 1, 2} {
		sp.Add("x-", map[string]float64{"rate": v})
		sp.Add("beside-", map[string]float64{"held-µs": v, "p50-µs": v})
	}
	got := metrics{}
	sp.Report(got)
	require.Equal(t, metrics{"x-rate": 2, "min-x-rate": 1, "max-x-rate": 3, "beside-held-µs": 3, "beside-p50-µs": 2}, got)
}

func TestSpreadBeside(t *testing.T) {
	var sp Spread
	own := Result{Seconds: 2, Commits: 100, Commit: Latency{P50: 1, P999: 4, P9999: 6}}
	sp.Beside(own, Result{Seconds: 1, Commits: 10, Commit: Latency{P50: 2, P999: 2, P9999: 3}})
	sp.Beside(own, Result{Seconds: 1})
	require.Equal(t, []float64{5}, sp["x-rate"])
	require.Equal(t, []float64{0.5}, sp["x-p50"])
	require.Equal(t, []float64{2}, sp["x-p99.99"])
	require.Equal(t, []float64{50, 50}, sp["commits/s"])
	require.Equal(t, []float64{10}, sp["beside-commits/s"])
}

type metrics map[string]float64

func (m metrics) ReportMetric(v float64, unit string) { m[unit] = v }

var brief = Timing{WarmUp: 5 * time.Millisecond, Max: 50 * time.Millisecond, Min: 50 * time.Millisecond}

// briefly runs a workload in a new folder, for longer if the disk was at something else meanwhile.
func briefly(t *testing.T, w Workload, s Setup) (r Result, dir string) {
	for took := brief.Max; ; took *= 4 {
		dir = t.TempDir()
		r, err := RunNative(t.Context(), w, s, Timing{WarmUp: brief.WarmUp, Max: took, Min: took}, dir)
		require.NoError(t, err)
		missing := w.Kind != Read && r.Commits == 0 || (w.Kind == Read || w.Kind == Mixed) && r.Reads == 0
		if !missing || took > 10*time.Second {
			return r, dir
		}
	}
}

// Run itself checks how many rows there are at the end; here is what it doesn't.
func TestWorkloads(t *testing.T) {
	defer func(n int) { tableRows = n }(tableRows)
	tableRows = 1000
	for _, setup := range []string{"stock", "async", "async-inline"} {
		for _, w := range []Workload{
			{Insert, 1, 100, 2},
			{Insert, 100, 100, 1},
			{Update, 1, 8192, 2},
			{Delete, 100, 100, 2},
			{Mixed, 1, 100, 2},
			{Read, 1, 100, 2},
		} {
			s := Setup{setup, "real", "normal"}
			t.Run(w.String()+"/"+s.String(), func(t *testing.T) {
				r, dir := briefly(t, w, s)
				require.Equal(t, w.Kind != Read, r.Commits > 0, "%+v", r)
				require.Equal(t, w.Kind == Read || w.Kind == Mixed, r.Reads > 0, "%+v", r)
				require.NotZero(t, r.Main().P50)
				checkRows(t, w, dir)
			})
		}
	}
}

// checkRows checks with the stock VFS what a run has left.
func checkRows(t *testing.T, w Workload, dir string) {
	c, err := Setup{"stock", "real", "full"}.Native(dir)(t.Context())
	require.NoError(t, err)
	defer c.Close()
	count := func(sql string) int {
		n, err := c.Int(sql)
		require.NoError(t, err)
		return n
	}
	rows := count("SELECT count(*) FROM t")
	require.Equal(t, rows, count("SELECT count(*) FROM t WHERE length(data)="+strconv.Itoa(w.Size)))
	require.Equal(t, 1, count("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'"))
	// Rows that a workload has written end with one of few data, those that were there at first with random ones.
	written := count("SELECT count(*) FROM t WHERE substr(data, -8) IN (SELECT substr(data, -8) FROM t GROUP BY 1 HAVING count(*) > 1)")
	switch w.Kind {
	case Insert:
		require.Zero(t, rows%w.Rows)
		require.Equal(t, rows, written)
	case Update, Mixed:
		require.Equal(t, w.filled(), rows)
		require.Greater(t, written, 1)
	case Delete:
		require.LessOrEqual(t, w.filled()-rows, w.Conns*w.Rows)
		require.Zero(t, (w.filled()-rows)%w.Rows)
	case Read:
		require.Equal(t, w.filled(), rows)
		require.Zero(t, written)
	}
}

func TestSlowerDisk(t *testing.T) {
	r, _ := briefly(t, Workload{Insert, 1, 100, 1}, Setup{"async", "sync+5ms", "full"})
	require.Greater(t, r.Commit.P50, 5000.0)
	require.NotZero(t, r.Syncs)
}

func TestWrongLevel(t *testing.T) {
	dir := t.TempDir()
	_, err := Run(t.Context(), Workload{Insert, 1, 100, 1}, "off", brief, dir, Setup{"stock", "real", "full"}.Native(dir))
	require.ErrorContains(t, err, "PRAGMA synchronous is 2, not off")
}

func TestMeasureError(t *testing.T) {
	full := errors.New("disk full")
	calls := []Call{func() (bool, error) { return false, full }, func() (bool, error) { return false, nil }}
	_, err := Measure(t.Context(), calls, Timing{Max: time.Minute, Min: time.Minute}, "")
	require.ErrorIs(t, err, full)
}

func TestWALGenerations(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	c, err := Setup{"stock", "real", "off"}.Native(dir)(ctx)
	require.NoError(t, err)
	defer c.Close()
	wal := walFile(DatabasePath(dir) + "-wal")
	require.Zero(t, wal.generation())
	require.NoError(t, c.Exec("CREATE TABLE t(x)"))
	first := wal.generation()
	require.NotZero(t, wal.size())
	for range 3 {
		require.NoError(t, c.Exec("PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES(1)"))
	}
	require.EqualValues(t, first+3, wal.generation())
}

func TestSeries(t *testing.T) {
	for _, setup := range []string{"stock", "async"} {
		sc := Scenes[2]
		var commits int
		var window time.Duration
		// A disk may be at something else for longer than the run.
		for took := 200 * time.Millisecond; commits == 0 || window == 0; took *= 4 {
			require.Less(t, took, time.Minute, "%d commits, window %v", commits, window)
			points, err := sc.Run(t.Context(), setup, t.TempDir(), took)
			require.NoError(t, err)
			require.Len(t, points, int(took/(100*time.Millisecond)))
			for _, p := range points {
				require.LessOrEqual(t, p.Median, p.Longest)
				commits += p.Commits
				window = max(window, p.Window)
			}
		}
	}
}

func TestExposure(t *testing.T) {
	e := &exposure{clock: time.Now().Add(-time.Second)}
	require.Zero(t, e.window())
	e.committed()
	require.NoError(t, e.sync(func() error { e.committed(); return nil }))
	require.NotZero(t, e.window(), "one came during the sync")
	require.Error(t, e.sync(func() error { return errors.New("it failed") }))
	require.NotZero(t, e.window())
	require.NoError(t, e.sync(func() error { return nil }))
	require.Zero(t, e.window())
}

func TestWriteMachine(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteMachine(&b, t.TempDir()))
	require.Regexp(t, `(?m)^go: go1\.`, b.String())
	require.Regexp(t, `(?m)^sqlite: 3\..*, go-sqlite3 v0\.`, b.String())
	got := metrics{}
	require.NoError(t, ReportSyncs(got, t.TempDir()))
	require.NotZero(t, got["p50-µs"])
	require.LessOrEqual(t, got["p50-µs"], got["p99-µs"])
}

// The benchmarks' names are what the report looks for, and -bench selects by.
func TestNames(t *testing.T) {
	require.Equal(t, "kind=insert/rows=1/size=100/conns=64/disk=sync+1ms/level=full/beside=stock-full", besides()[2].String())
	require.Equal(t, "kind=read/rows=1/size=8192/conns=256", Workloads()[len(Workloads())-1].String())
	require.True(t, slices.ContainsFunc(Workloads(), func(w Workload) bool { return w == Workload{Delete, 100, 8192, 256} }))
}
