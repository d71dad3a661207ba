package vfs

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHistogramBuckets: each duration is in the bucket that the bounds say.
func TestHistogramBuckets(t *testing.T) {
	bounds := HistogramBounds()
	require.Len(t, bounds, histogramBuckets-1)
	require.Equal(t, 16*time.Microsecond, bounds[0])
	require.Greater(t, bounds[len(bounds)-1], maxMaxDelay)
	durations := []time.Duration{-1, 0, 1, time.Hour, 400 * 24 * time.Hour}
	for _, b := range bounds {
		durations = append(durations, b-1, b, b+1)
	}
	for _, d := range durations {
		var h histogram
		h.observe(d, 0)
		s := h.snapshot(0)
		want := 0
		for want < len(bounds) && d >= bounds[want] {
			want++
		}
		require.EqualValues(t, 1, s.Buckets[want], d)
		require.EqualValues(t, 1, s.Count)
		require.Equal(t, max(0, d).Microseconds(), s.MaxMicros)
		require.Equal(t, max(0, d).Microseconds(), s.SumMicros)
	}
}

// TestHistogramRecent: a maximum that is lately's falls after a minute, and the other stays.
func TestHistogramRecent(t *testing.T) {
	var h histogram
	const ms = int64(1000)
	for _, step := range []struct {
		at, took     time.Duration // took is 0 for a look only
		recent, most int64
	}{
		{0, 0, 0, 0},
		{0, 5 * time.Millisecond, 5 * ms, 5 * ms},
		{14 * time.Second, 3 * time.Millisecond, 5 * ms, 5 * ms},
		{60 * time.Second, 0, 5 * ms, 5 * ms},
		{74 * time.Second, time.Millisecond, 5 * ms, 5 * ms},
		{75 * time.Second, 0, 1 * ms, 5 * ms},
		{75 * time.Second, 2 * time.Millisecond, 2 * ms, 5 * ms}, // in the slot of the first
		{134 * time.Second, 0, 2 * ms, 5 * ms},
		{150 * time.Second, 0, 0, 5 * ms},
		{99 * time.Hour, 9 * time.Millisecond, 9 * ms, 9 * ms},
		{99*time.Hour + time.Minute, 0, 9 * ms, 9 * ms},
		{100 * time.Hour, 0, 0, 9 * ms},
	} {
		if step.took != 0 {
			h.observe(step.took, step.at)
		}
		s := h.snapshot(step.at)
		require.Equal(t, step.recent, s.RecentMaxMicros, step.at)
		require.Equal(t, step.most, s.MaxMicros, step.at)
	}
}

// TestHistogramQuantile: it is no less than the true one, and at most twice that.
func TestHistogramQuantile(t *testing.T) {
	require.Zero(t, Histogram{}.Quantile(0.5))
	rnd := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 5000 {
		d := 16*time.Microsecond + time.Duration(rnd.ExpFloat64()*float64(3*time.Millisecond))
		d = d.Truncate(time.Microsecond)
		h.observe(d, 0)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[max(0, int(q*float64(len(all)))-1)]
		got := h.snapshot(0).Quantile(q)
		require.GreaterOrEqual(t, got, exact, q)
		require.LessOrEqual(t, got, 2*exact, q)
	}
	require.Equal(t, all[len(all)-1], h.snapshot(0).Quantile(1))
}

// TestHistogramSince: two snapshots give what happened between them.
func TestHistogramSince(t *testing.T) {
	var h, between histogram
	h.observe(time.Second, 0)
	before := h.snapshot(0)
	for _, d := range []time.Duration{time.Microsecond, time.Millisecond} {
		h.observe(d, 0)
		between.observe(d, 0)
	}
	since, want := h.snapshot(0).Since(before), between.snapshot(0)
	require.Equal(t, want.Buckets, since.Buckets)
	require.Equal(t, want.Count, since.Count)
	require.Equal(t, want.SumMicros, since.SumMicros)
}

// TestHistogramConcurrent: nothing is lost where many count at once, and nothing is allocated.
func TestHistogramConcurrent(t *testing.T) {
	var h histogram
	var wg sync.WaitGroup
	const goroutines, each = 8, 2000
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				h.observe(time.Duration(g*each+i)*time.Microsecond, time.Duration(i)*time.Second/10)
			}
		})
	}
	wg.Wait()
	s := h.snapshot(each * time.Second / 10)
	const n = goroutines * each
	require.EqualValues(t, n, s.Count)
	require.EqualValues(t, n*(n-1)/2, s.SumMicros)
	require.EqualValues(t, n-1, s.MaxMicros)
	require.EqualValues(t, n-1, s.RecentMaxMicros)
	require.Zero(t, testing.AllocsPerRun(100, func() { h.observe(time.Millisecond, time.Hour) }))
}
