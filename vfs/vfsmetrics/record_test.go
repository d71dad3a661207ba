package vfsmetrics

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// event is one that is recorded.
type event struct {
	name   string
	record func()
}

// events are one of each sort that a database has while commits go on.
func events(t testing.TB) []event {
	m := &databases{live: map[string]*series{}}
	m.known.Store(&map[string]*series{})
	meter := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())).Meter(scopeVFS)
	require.NoError(t, m.histograms(meter))
	const path = "/a/path/of/a/database.db"
	waited := vfs.CommitWaitedInfo{Database: path, Duration: time.Millisecond}
	synced := vfs.SyncEvent{Database: path, File: "wal", Duration: time.Millisecond}
	stalled := vfs.StallEndedInfo{Database: path, Reason: vfs.StallCheckpoint, Duration: time.Millisecond}
	checkpointed := vfs.CheckpointEndedInfo{Database: path, Background: true, Duration: time.Millisecond}
	return []event{
		{"CommitWaited", func() { m.waited(waited) }},
		{"SyncEnded", func() { m.synced(synced) }},
		{"StallEnded", func() { m.stalled(stalled) }},
		{"CheckpointEnded", func() { m.checkpointed(checkpointed) }},
	}
}

// BenchmarkRecord is one recorded event. A commit at FULL pays CommitWaited, and its part of the SyncEnded that it shares.
func BenchmarkRecord(b *testing.B) {
	for _, e := range events(b) {
		b.Run(e.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.record()
			}
		})
	}
}

// BenchmarkRecordAtOnce is the processor time of CommitWaited where several goroutines record at once:
// beside BenchmarkCost's cpu-ns/commit it says how much of a commit at FULL that is.
func BenchmarkRecordAtOnce(b *testing.B) {
	record := events(b)[0].record
	for _, procs := range []int{1, 2} {
		b.Run(fmt.Sprintf("goroutines=%d", procs), func(b *testing.B) {
			const each = 200_000
			for b.Loop() {
				cpu := cputime()
				var wg sync.WaitGroup
				for range procs {
					wg.Go(func() {
						for range each {
							record()
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

// TestRecordAllocates: no event allocates, once its database is known.
func TestRecordAllocates(t *testing.T) {
	for _, e := range events(t) {
		require.Zero(t, testing.AllocsPerRun(1000, e.record), e.name)
	}
}

// TestWaits: each wait is recorded once, by the commit that fills up what is gathered, by a collection, or when measuring stops.
func TestWaits(t *testing.T) {
	reader := metric.NewManualReader()
	m := &databases{live: map[string]*series{}}
	m.known.Store(&map[string]*series{})
	meter := metric.NewMeterProvider(metric.WithReader(reader)).Meter(scopeVFS)
	require.NoError(t, m.histograms(meter))
	recorded := func() (n uint64, sum float64) {
		var data metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &data))
		for _, scope := range data.ScopeMetrics {
			for _, i := range scope.Metrics {
				if h, ok := i.Data.(metricdata.Histogram[float64]); ok {
					for _, p := range h.DataPoints {
						n, sum = n+p.Count, sum+p.Sum
					}
				}
			}
		}
		return n, sum
	}
	callback, err := m.observe(meter) // collections flush from here on
	require.NoError(t, err)
	room := len(waits{}.all)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range room {
				m.waited(vfs.CommitWaitedInfo{Database: "/a.db", Duration: time.Second})
			}
		})
	}
	wg.Wait()
	n, sum := recorded()
	require.EqualValues(t, 2*room, n)
	require.InDelta(t, 2*room, sum, 1e-9)

	m.waited(vfs.CommitWaitedInfo{Database: "/a.db", Duration: time.Second})
	n, _ = recorded()
	require.EqualValues(t, 2*room+1, n)

	require.NoError(t, callback.Unregister())
	m.waited(vfs.CommitWaitedInfo{Database: "/a.db", Duration: time.Second})
	n, _ = recorded()
	require.EqualValues(t, 2*room+1, n, "it was recorded at once")
	m.flush()
	m.flush()
	n, _ = recorded()
	require.EqualValues(t, 2*room+2, n)
}
