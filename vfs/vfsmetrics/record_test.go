package vfsmetrics

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
)

// BenchmarkRecord is what a commit at FULL pays, in processor time where that can be told: beside BenchmarkCost's cpu-ns/commit it says how much that is.
func BenchmarkRecord(b *testing.B) {
	m := &databases{live: map[string]*series{}}
	m.known.Store(&map[string]*series{})
	meter := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())).Meter(scopeVFS)
	require.NoError(b, m.histograms(meter))
	info := vfs.CommitWaitedInfo{Database: "/a/path/of/a/database.db", Duration: time.Millisecond}
	for _, procs := range []int{1, 2} {
		b.Run(fmt.Sprintf("goroutines=%d", procs), func(b *testing.B) {
			b.ReportAllocs()
			const each = 200_000
			for b.Loop() {
				cpu := cputime()
				var wg sync.WaitGroup
				for range procs {
					wg.Go(func() {
						for range each {
							m.waited(info)
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(cputime()-cpu)/float64(procs*each), "cpu-ns/commit")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
