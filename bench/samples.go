package bench

import (
	"math"
	"slices"
	"time"
)

// A sample is a commit, or a read.
type sample struct {
	begun, took time.Duration // begun since the run's clock was started
	read        bool
}

// samples are kept in pieces, so that none is copied during a run.
type samples struct{ pieces [][]sample }

func (s *samples) add(x sample) {
	if n := len(s.pieces); n == 0 || len(s.pieces[n-1]) == cap(s.pieces[n-1]) {
		s.pieces = append(s.pieces, make([]sample, 0, 4096))
	}
	last := &s.pieces[len(s.pieces)-1]
	*last = append(*last, x)
}

func (s *samples) each(f func(sample)) {
	for _, p := range s.pieces {
		for _, x := range p {
			f(x)
		}
	}
}

// Percentile returns the value that p percent of sorted ones don't exceed; 0 if there are none.
func Percentile[T any](sorted []T, p float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	i := int(math.Ceil(float64(len(sorted))*p/100)) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Latency is how long calls took, in microseconds.
type Latency struct {
	P50, P99, P999, P9999, Max float64
}

// latencyOf sorts the times.
func latencyOf(times []time.Duration) Latency {
	slices.Sort(times)
	at := func(p float64) float64 { return float64(Percentile(times, p).Nanoseconds()) / 1000 }
	return Latency{at(50), at(99), at(99.9), at(99.99), at(100)}
}

// tally makes rates and latencies of the samples of a run's measured part, which is from one time to another.
// A call counts towards the rate if it ended then, and towards the latencies if it began then, however long it took.
func tally(all []samples, from, to time.Duration) (r Result) {
	var commits, reads []time.Duration
	least := math.MaxInt
	for _, s := range all {
		own := 0
		s.each(func(x sample) {
			if end := x.begun + x.took; end >= from && end < to {
				own++
				if x.read {
					r.Reads++
				} else {
					r.Commits++
				}
			}
			if x.begun < from || x.begun >= to {
				return
			}
			if x.read {
				reads = append(reads, x.took)
			} else {
				commits = append(commits, x.took)
			}
		})
		least = min(least, own)
	}
	if sum := r.Commits + r.Reads; sum > 0 {
		r.LeastShare = float64(least*len(all)) / float64(sum)
	}
	r.Seconds = (to - from).Seconds()
	r.Commit, r.Read = latencyOf(commits), latencyOf(reads)
	return r
}
