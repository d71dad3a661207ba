package bench

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func timing() Timing {
	if testing.Short() {
		return Short
	}
	return Long
}

// BenchmarkWorkloads runs each workload on each disk and at each level, the setups one after another.
// All of them take about an hour: choose with -bench.
// Repeat it with a loop of the shell, and not with -count, so that setups take turns.
func BenchmarkWorkloads(b *testing.B) {
	for _, w := range Workloads() {
		b.Run(w.String(), func(b *testing.B) {
			for _, disk := range Disks {
				for _, level := range []string{"full", "normal", "off"} {
					for _, name := range []string{"stock", "async", "async-inline"} {
						s := Setup{name, disk, level}
						b.Run(s.String(), func(b *testing.B) { benchmarkRun(b, w, s) })
					}
				}
			}
		})
	}
}

func benchmarkRun(b *testing.B, w Workload, s Setup) {
	for b.Loop() {
		r, err := RunNative(b.Context(), w, s, timing(), b.TempDir())
		require.NoError(b, err)
		for unit, v := range r.Metrics() {
			b.ReportMetric(v, unit)
		}
	}
	b.ReportMetric(0, "ns/op") // it would be the length of the run
}

// BenchmarkFdatasync tells what a sync of 4 KiB costs here.
func BenchmarkFdatasync(b *testing.B) {
	for b.Loop() {
		require.NoError(b, ReportSyncs(b, b.TempDir()))
	}
	b.ReportMetric(0, "ns/op")
}

// besides are the rows of the goals: each a setup of this VFS and the one that it is compared with.
func besides() []besideRow {
	row := func(kind Kind, conns int, disk, level, beside, besideLevel string) besideRow {
		return besideRow{Workload{kind, 1, 100, conns}, Setup{"async", disk, level}, Setup{beside, disk, besideLevel}}
	}
	return []besideRow{
		row(Insert, 64, "real", "full", "stock", "full"),
		row(Insert, 64, "real", "full", "async", "normal"),
		row(Insert, 64, "sync+1ms", "full", "stock", "full"),
		row(Insert, 64, "sync+5ms", "full", "stock", "full"),
		row(Insert, 8, "real", "full", "stock", "full"),
		row(Insert, 1, "real", "full", "stock", "full"),
		row(Insert, 1, "real", "normal", "stock", "normal"),
		row(Update, 1, "real", "normal", "stock", "normal"),
		row(Insert, 1, "real", "normal", "stock", "off"),
		row(Insert, 64, "real", "normal", "stock", "off"),
		row(Read, 8, "real", "normal", "stock", "normal"),
	}
}

type besideRow struct {
	Workload
	async, beside Setup
}

func (r besideRow) String() string {
	return fmt.Sprintf("%s/disk=%s/level=%s/beside=%s-%s", r.Workload, r.async.Disk, r.async.Level, r.beside.Name, r.beside.Level)
}

// BenchmarkBeside runs this VFS and what it is compared with in turn, and reports the ratios of their rates and latencies,
// of each pair of runs. A machine that is slow for a while is slow for both.
func BenchmarkBeside(b *testing.B) {
	for _, row := range besides() {
		b.Run(row.String(), func(b *testing.B) {
			for b.Loop() {
				var sp Spread
				for i := range pairs() {
					r, err := row.pair(b, i%2 == 1)
					require.NoError(b, err)
					sp.Beside(r[0], r[1])
				}
				sp.Report(b)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// pairs is how many pairs of runs there are.
func pairs() int {
	if testing.Short() {
		return 3
	}
	return 5
}

// pair runs both, each time another one first.
func (row besideRow) pair(b *testing.B, swap bool) (r [2]Result, err error) {
	order := []int{0, 1}
	if swap {
		slices.Reverse(order)
	}
	for _, i := range order {
		s := []Setup{row.async, row.beside}[i]
		if r[i], err = RunNative(b.Context(), row.Workload, s, timing(), b.TempDir()); err != nil {
			return r, err
		}
	}
	return r, nil
}
