package taskd

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/promtext"
	"github.com/docusnap/asyncvfs/vfs"
)

// scrapeTime is how long the store may take to be measured.
const scrapeTime = 10 * time.Second

// metrics serves what there is to measure, in Prometheus' text format.
type metrics struct {
	tally *tally
	store *tasks.Store
	log   *slog.Logger
}

// ServeHTTP tells of the databases and of what this process has done also where the store doesn't answer: then the most of all.
func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), scrapeTime)
	defer cancel()
	var out promtext.Writer
	err := m.writeStore(ctx, &out)
	if err != nil {
		m.log.Warn("the store can't be measured", "error", err)
	}
	out.Family("taskd_store_up", promtext.Gauge, "1 if the store could be measured.")
	out.Sample("", one(err == nil))
	m.tally.write(&out)
	writeDatabases(&out, vfs.AllStats())
	w.Header().Set("Content-Type", promtext.ContentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Write(out.Bytes())
}

// statuses are told also where there are no tasks: a series that comes and goes can't be alerted on.
var statuses = [...]tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed, tasks.Error}

// writeStore writes what the table holds, whoever works on it.
func (m *metrics) writeStore(ctx context.Context, w *promtext.Writer) error {
	counts, err := m.store.Count(ctx)
	if err == nil {
		w.Family("tasks_stored", promtext.Gauge, "Tasks in the table.")
		for _, t := range slices.Sorted(maps.Keys(counts)) {
			for _, s := range statuses {
				w.Sample(ofType(t, "tasks_status", string(s)), float64(counts[t][s]))
			}
		}
	}
	age, ageErr := oldestPending(ctx, m.store, time.Now())
	if ageErr == nil {
		w.Family("tasks_pending_age_seconds", promtext.Gauge, "Time since the oldest pending task could have run; 0 if there is none.")
		w.Sample("", age.Seconds())
	}
	cache, cacheErr := m.store.CacheStats(ctx)
	if cacheErr == nil {
		for _, c := range []struct {
			name string
			kind promtext.Kind
			help string
			n    int64
		}{
			{"tasks_cache_misses_total", promtext.Counter, "Results that the cache didn't have.", cache.Misses},
			{"tasks_cache_shared_total", promtext.Counter, "Misses that waited for the computation of another call.", cache.Shared},
			{"tasks_cache_computed_total", promtext.Counter, "Computations that were begun.", cache.Computed},
			{"tasks_cache_evicted_total", promtext.Counter, "Results that were deleted to keep the limits.", cache.Evicted},
			{"tasks_cache_entries", promtext.Gauge, "Results in the cache.", int64(cache.Entries)},
			{"tasks_cache_size_bytes", promtext.Gauge, "Size of the results in the cache.", cache.Bytes},
		} {
			w.Family(c.name, c.kind, c.help)
			w.Sample("", float64(c.n))
		}
	}
	return errors.Join(err, ageErr, cacheErr)
}

// oldestLook is how many of the oldest pending tasks are looked at for one that could run now.
const oldestLook = 100

// oldestPending returns how long ago the oldest pending task could have run. Where the oldest 100 all wait for their time, it is 0.
func oldestPending(ctx context.Context, st *tasks.Store, now time.Time) (age time.Duration, err error) {
	list, err := st.List(ctx, tasks.Query{Statuses: []tasks.Status{tasks.Pending}, Limit: oldestLook})
	for _, t := range list {
		since := t.CreatedAt
		if t.RunAt.After(since) {
			since = t.RunAt
		}
		age = max(age, now.Sub(since))
	}
	return age, err
}

// counted are the tally's counters and histograms, in the order in which they are told.
var counted = []struct {
	name string
	kind promtext.Kind
	help string
}{
	{"tasks_created_total", promtext.Counter, "Tasks that were created."},
	{"tasks_claimed_total", promtext.Counter, "Times that a task was claimed."},
	{"tasks_finished_total", promtext.Counter, "Tasks that were completed or have failed for good."},
	{"tasks_attempts_total", promtext.Counter, "Attempts that have ended."},
	{"tasks_leases_lost_total", promtext.Counter, "Tasks that weren't their handler's any more."},
	{"tasks_handlers_stuck_total", promtext.Counter, "Handlers that didn't return though their context was done."},
	{"tasks_trouble_total", promtext.Counter, "Errors of claims and reports after which a worker goes on."},
	{"tasks_cache_hits_total", promtext.Counter, "Results that the cache had."},
	{"tasks_queue_duration_seconds", promtext.Histogram, "Time that tasks waited for a worker, since they were created or were to run."},
	{"tasks_attempt_duration_seconds", promtext.Histogram, "Duration of handlers."},
}

// write writes what this process has done.
func (t *tally) write(w *promtext.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range counted {
		if len(t.counts[c.name])+len(t.times[c.name]) == 0 {
			continue
		}
		w.Family(c.name, c.kind, c.help)
		for _, labels := range slices.Sorted(maps.Keys(t.counts[c.name])) {
			w.Sample(labels, float64(t.counts[c.name][labels]))
		}
		for _, labels := range slices.Sorted(maps.Keys(t.times[c.name])) {
			h := t.times[c.name][labels]
			w.Histogram(labels, timeBounds, h.counts, h.sum)
		}
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
