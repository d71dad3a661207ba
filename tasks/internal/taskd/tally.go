package taskd

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/promtext"
)

// tally counts what this process's store does. The names are those of package vfsmetrics as Prometheus has them,
// so that its dashboard and alert rules are those of this program, too.
type tally struct {
	mu     sync.Mutex
	counts map[string]map[string]uint64 // by the metric's name and its labels; guarded by mu
	times  map[string]map[string]*times // likewise; guarded by mu
}

// times is a histogram.
type times struct {
	counts []uint64 // of timeBounds, and one more
	sum    float64  // seconds
}

// timeBounds are the bounds of the histograms, in seconds.
var timeBounds = []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}

// What came of an attempt.
const (
	outcomeCompleted = "completed"
	outcomeFailed    = "failed"  // for good
	outcomeRetry     = "retry"   // it is tried again
	outcomeSnoozed   = "snoozed" // and that counts as no attempt
)

// newTally returns one that has counted nothing yet of tasks of some types. That is told, too: of a series that isn't there
// until it is 1, the first one can't be seen.
func newTally(types []tasks.Type) *tally {
	t := &tally{counts: map[string]map[string]uint64{}, times: map[string]map[string]*times{}}
	for _, of := range types {
		for _, name := range []string{"tasks_created_total", "tasks_claimed_total", "tasks_leases_lost_total", "tasks_handlers_stuck_total", "tasks_cache_hits_total"} {
			t.add(name, 0, ofType(of))
		}
		for _, outcome := range []string{outcomeCompleted, outcomeFailed, outcomeRetry, outcomeSnoozed} {
			t.add("tasks_attempts_total", 0, ofType(of, "tasks_outcome", outcome))
		}
		t.add("tasks_finished_total", 0, finished(of, tasks.Completed, false))
		t.add("tasks_finished_total", 0, finished(of, tasks.Error, false))
		t.add("tasks_finished_total", 0, finished(of, tasks.Error, true))
	}
	for _, operation := range []string{"claim", "report"} {
		t.add("tasks_trouble_total", 0, promtext.Labels("tasks_operation", operation))
	}
	return t
}

// ofType returns the labels of a task. Its id is none of them.
func ofType(t tasks.Type, more ...string) string {
	if t == "" {
		t = "unknown" // to the call
	}
	return promtext.Labels(append(more, "tasks_type", string(t))...)
}

func finished(t tasks.Type, s tasks.Status, cancelled bool) string {
	text := "false"
	if cancelled {
		text = "true"
	}
	return ofType(t, "tasks_cancelled", text, "tasks_status", string(s))
}

func outcome(i tasks.AttemptEndedInfo) string {
	switch {
	case i.Status == tasks.Completed:
		return outcomeCompleted
	case i.Status.Final():
		return outcomeFailed
	case i.Uncounted:
		return outcomeSnoozed
	}
	return outcomeRetry
}

func (t *tally) add(name string, n uint64, labels string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts[name] == nil {
		t.counts[name] = map[string]uint64{}
	}
	t.counts[name][labels] += n
}

func (t *tally) record(name string, d time.Duration, labels string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.times[name] == nil {
		t.times[name] = map[string]*times{}
	}
	h := t.times[name][labels]
	if h == nil {
		h = &times{counts: make([]uint64, len(timeBounds)+1)}
		t.times[name][labels] = h
	}
	i, _ := slices.BinarySearch(timeBounds, d.Seconds()) // the first bound that is as great or greater
	h.counts[i]++
	h.sum += d.Seconds()
}

// hooks are what the store calls.
func (t *tally) hooks() tasks.Hooks {
	return tasks.Hooks{
		Created: func(_ context.Context, i tasks.CreatedInfo) { t.add("tasks_created_total", 1, ofType(i.Type)) },
		Claimed: func(_ context.Context, i tasks.ClaimedInfo) {
			t.add("tasks_claimed_total", 1, ofType(i.Task.Type))
			t.record("tasks_queue_duration_seconds", i.Waited, ofType(i.Task.Type))
		},
		AttemptEnded: func(_ context.Context, i tasks.AttemptEndedInfo) {
			labels := ofType(i.Task.Type, "tasks_outcome", outcome(i))
			t.add("tasks_attempts_total", 1, labels)
			if i.Took > 0 {
				t.record("tasks_attempt_duration_seconds", i.Took, labels)
			}
		},
		Finished: func(_ context.Context, i tasks.FinishedInfo) {
			t.add("tasks_finished_total", 1, finished(i.Type, i.Status, i.Cancelled))
		},
		LeaseLost: func(_ context.Context, i tasks.LeaseLostInfo) {
			t.add("tasks_leases_lost_total", 1, ofType(i.Task.Type))
		},
		CacheHit: func(_ context.Context, i tasks.CacheHitInfo) { t.add("tasks_cache_hits_total", 1, ofType(i.Type)) },
		Stuck: func(_ context.Context, i tasks.StuckInfo) {
			if !i.Returned {
				t.add("tasks_handlers_stuck_total", 1, ofType(i.Task.Type))
			}
		},
		Trouble: func(_ context.Context, i tasks.TroubleInfo) {
			operation := "claim"
			if i.Task != nil {
				operation = "report"
			}
			t.add("tasks_trouble_total", 1, promtext.Labels("tasks_operation", operation))
		},
	}
}
