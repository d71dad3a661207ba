package bench

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkBeside runs this VFS and the stock one in turn, five times each with the same commits,
// and reports the ratio of commits per second: the median of the five, the least and the greatest.
// A machine that is slow for a while is slow for both.
func BenchmarkBeside(b *testing.B) {
	const pairs = 5
	register(b)
	for _, tt := range []struct {
		disk        disk
		connections int
		level       string
		commits     int
	}{
		{real, 1, "full", 12_000},
		{real, 8, "full", 12_000},
		{real, 64, "full", 12_000},
		{slower, 1, "full", 1_500},
		{slower, 8, "full", 1_000},
		{slower, 64, "full", 2_000},
		{real, 1, "normal", 60_000},
		{real, 8, "normal", 60_000},
		{real, 64, "normal", 60_000},
	} {
		name := fmt.Sprintf("disk=%s/conns=%d/level=%s", tt.disk.name, tt.connections, tt.level)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var ratios, tails, windows []float64
				for range pairs {
					stock, err := Inserts(b.Context(), Setup{"stock", tt.disk.stock, tt.level}, b.TempDir(), tt.connections, tt.commits)
					require.NoError(b, err)
					async, err := Inserts(b.Context(), Setup{"async", tt.disk.async, tt.level}, b.TempDir(), tt.connections, tt.commits)
					require.NoError(b, err)
					ratios = append(ratios, async.PerSecond()/stock.PerSecond())
					tails = append(tails, float64(async.Percentile(99.9))/float64(stock.Percentile(99.9)))
					windows = append(windows, float64(async.Window.Microseconds()))
				}
				slices.Sort(ratios)
				slices.Sort(tails)
				b.ReportMetric(ratios[pairs/2], "x-stock")
				b.ReportMetric(ratios[0], "min-x-stock")
				b.ReportMetric(ratios[pairs-1], "max-x-stock")
				b.ReportMetric(tails[pairs/2], "x-stock-p99.9")
				b.ReportMetric(slices.Max(windows), "window-µs")
			}
		})
	}
}
