package vfs

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
)

const (
	histogramBuckets = 24
	histogramShift   = 4 // the first bucket's bound is 2^4 µs, and each is twice the one before

	// A maximum that is lately's is that of so many slots of time, the last of which goes on.
	recentSlots = 5
	recentSlot  = 15 * time.Second

	// A slot's value is its number and the greatest duration in it, in microseconds, of so many bits.
	recentBits = 40
	recentMask = 1<<recentBits - 1
)

// Histogram is how long something took, each time.
type Histogram struct {
	// Count is how often it happened.
	Count uint64 `json:"count"`
	// SumMicros is the time, in microseconds, that it took altogether.
	SumMicros int64 `json:"sum_us"`
	// MaxMicros is the longest time, in microseconds.
	MaxMicros int64 `json:"max_us"`
	// RecentMaxMicros is the longest time, in microseconds, of the last 60 to 75 seconds.
	RecentMaxMicros int64 `json:"recent_max_us"`
	// Buckets is how often it took less than each of [HistogramBounds], and no less than the one before.
	// The last is how often it took longer than all of them.
	Buckets [histogramBuckets]uint64 `json:"buckets"`
}

// HistogramBounds returns the bounds of a histogram's buckets, but for the last, which has none: 16µs, and each twice the one before.
func HistogramBounds() []time.Duration {
	bounds := make([]time.Duration, histogramBuckets-1)
	for i := range bounds {
		bounds[i] = time.Microsecond << (histogramShift + i)
	}
	return bounds
}

// Since returns what was counted after an earlier histogram of the same. Its MaxMicros is still that of all.
func (h Histogram) Since(earlier Histogram) Histogram {
	h.Count -= earlier.Count
	h.SumMicros -= earlier.SumMicros
	for i := range h.Buckets {
		h.Buckets[i] -= earlier.Buckets[i]
	}
	return h
}

// Quantile returns a time that the part q of all, from 0 to 1, took no longer than, such as 0.99 of them. It is at most twice too long.
// It returns 0 if there was none.
func (h Histogram) Quantile(q float64) time.Duration {
	longest := time.Duration(h.MaxMicros) * time.Microsecond
	var n uint64
	for i, bound := range HistogramBounds() {
		n += h.Buckets[i]
		if n > 0 && float64(n) >= q*float64(h.Count) {
			return min(bound, longest)
		}
	}
	return longest
}

// histogram counts without a lock, and without allocating.
type histogram struct {
	buckets [histogramBuckets]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
	longest atomic.Int64 // nanoseconds
	recent  [recentSlots]atomic.Uint64
}

// observe counts a duration. now is the database's time.
func (h *histogram) observe(d time.Duration, now syncqueue.Time) {
	d = max(0, d)
	micros := uint64(d / time.Microsecond)
	h.buckets[min(max(0, bits.Len64(micros)-histogramShift), histogramBuckets-1)].Add(1)
	h.sum.Add(int64(d))
	for {
		longest := h.longest.Load()
		if int64(d) <= longest || h.longest.CompareAndSwap(longest, int64(d)) {
			break
		}
	}
	number := slotNumber(now)
	slot := &h.recent[number%recentSlots]
	value := number<<recentBits | min(micros, recentMask)
	for {
		was := slot.Load()
		// A later number takes the place of an earlier one; of those of the same, the greater duration.
		if value <= was || slot.CompareAndSwap(was, value) {
			return
		}
	}
}

// slotNumber is 1 for the first.
func slotNumber(now syncqueue.Time) uint64 { return uint64(now/recentSlot) + 1 }

func (h *histogram) snapshot(now syncqueue.Time) (s Histogram) {
	for i := range h.buckets {
		s.Buckets[i] = h.buckets[i].Load()
		s.Count += s.Buckets[i]
	}
	s.SumMicros = time.Duration(h.sum.Load()).Microseconds()
	s.MaxMicros = time.Duration(h.longest.Load()).Microseconds()
	for i := range h.recent {
		value := h.recent[i].Load()
		if value>>recentBits+recentSlots > slotNumber(now) {
			s.RecentMaxMicros = max(s.RecentMaxMicros, int64(value&recentMask))
		}
	}
	return s
}

// times are how long things take in a database.
type times struct {
	syncs  [2]histogram // by file
	commit histogram    // that waits
	window histogram
	stall  histogram
	hold   histogram
}

// sync counts the sync of a file.
func (t *times) sync(file syncqueue.File, took time.Duration, now syncqueue.Time) {
	t.syncs[file].observe(took, now)
}

// describe sets what the statistics tell of it.
func (t *times) describe(s *Statistics, now syncqueue.Time) {
	s.WALSyncTime, s.DBSyncTime = t.syncs[syncqueue.WAL].snapshot(now), t.syncs[syncqueue.DB].snapshot(now)
	s.CommitWait, s.LossWindow = t.commit.snapshot(now), t.window.snapshot(now)
	s.StallTime, s.HoldTime = t.stall.snapshot(now), t.hold.snapshot(now)

	s.SyncMicros = s.WALSyncTime.SumMicros + s.DBSyncTime.SumMicros
	s.MaxSyncMicros = max(s.WALSyncTime.MaxMicros, s.DBSyncTime.MaxMicros)
	s.MaxWindowMicros = s.LossWindow.MaxMicros
	s.HeldMicros, s.MaxHeldMicros = s.HoldTime.SumMicros, s.HoldTime.MaxMicros
}
