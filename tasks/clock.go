package tasks

import (
	"sync"
	"time"
)

var start = time.Now()

// sinceStart is the time by the monotonic clock, which nobody sets.
func sinceStart() time.Duration { return time.Since(start) }

func noBootClock() (string, time.Duration, bool) { return "", 0, false }

// clockSlack is how much a clock may be corrected without that counting as a step.
const clockSlack = 2 * time.Second

// stepWatch notices that the clock was set. Without a monotonic clock it only notices that it was set back.
type stepWatch struct {
	now     func() time.Time
	elapsed func() time.Duration

	mu   sync.Mutex
	last time.Time     // guarded by mu
	mono time.Duration // guarded by mu
}

// clockStep is what a stepWatch has seen since its last look: the clock was set by that much,
// at some time between two times of the new clock.
type clockStep struct {
	by       time.Duration
	from, to time.Time
}

// look returns the step since the last look, if there was one. It isn't seen again unless it is put back.
func (w *stepWatch) look() (step clockStep, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now().Round(0) // without the monotonic part
	var mono time.Duration
	if w.elapsed != nil {
		mono = w.elapsed()
	}
	last, passed := w.last, mono-w.mono
	w.last, w.mono = now, mono
	if last.IsZero() {
		return step, false
	}
	by := now.Sub(last)
	if w.elapsed != nil {
		by -= passed
	}
	if by >= -clockSlack && (by <= clockSlack || w.elapsed == nil) {
		return step, false
	}
	return clockStep{by, now.Add(-passed), now}, true
}

// undo makes the next look see a step again that couldn't be dealt with.
func (w *stepWatch) undo(s clockStep) {
	w.mu.Lock()
	w.last = w.last.Add(-s.by)
	w.mu.Unlock()
}
