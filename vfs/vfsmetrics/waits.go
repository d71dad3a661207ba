package vfsmetrics

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// waits gathers how long commits have waited: all that share a sync are told at the same moment, and would queue up at the histogram's lock.
// Who fills it up records them; so does whoever collects.
type waits struct {
	mu  sync.Mutex
	n   int
	all [64]time.Duration // the first n are gathered
}

// add gathers a wait, and records what is gathered if that is as much as there is room for.
func (w *waits) add(d time.Duration, to metric.Float64Histogram, opts []metric.RecordOption) {
	w.mu.Lock()
	w.all[w.n] = d
	w.n++
	if w.n < len(w.all) {
		w.mu.Unlock()
		return
	}
	w.unlockAndRecord(to, opts)
}

// flush records what is gathered.
func (w *waits) flush(to metric.Float64Histogram, opts []metric.RecordOption) {
	w.mu.Lock()
	w.unlockAndRecord(to, opts)
}

// unlockAndRecord is called with w.mu held, and releases it before it records.
func (w *waits) unlockAndRecord(to metric.Float64Histogram, opts []metric.RecordOption) {
	all, n := w.all, w.n
	w.n = 0
	w.mu.Unlock()
	for _, d := range all[:n] {
		to.Record(context.Background(), d.Seconds(), opts...)
	}
}
