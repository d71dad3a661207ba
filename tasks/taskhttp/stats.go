package taskhttp

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
)

// Stats say how things are going.
type Stats struct {
	At time.Time `json:"at"`
	// Counts are how many tasks there are of each type and status.
	Counts map[tasks.Type]map[tasks.Status]int `json:"counts"`
	Rates  Rates                               `json:"rates"`
	Queue  Times                               `json:"queue"`   // from a task's creation, or the time that it waited for, to its last attempt
	Work   Times                               `json:"handler"` // of the last attempt
	// OldestPending is the task that waits longest, of those that don't wait for a time of their own.
	OldestPending *Oldest   `json:"oldest_pending,omitempty"`
	Failures      []Failure `json:"failures"`
	Server        Held      `json:"server"`
	// VFS are the databases of the process; only for who has the right Admin.
	VFS []vfs.Statistics `json:"vfs,omitempty"`
}

// Rates are counted over the newest 1000 tasks, and over a minute at most.
type Rates struct {
	Seconds   float64 `json:"seconds"` // that they are counted over
	Created   float64 `json:"created_per_second"`
	Completed float64 `json:"completed_per_second"`
	Failed    float64 `json:"failed_per_second"`
}

// Times are those of the newest 1000 tasks that have them.
type Times struct {
	Tasks int     `json:"tasks"`
	P50   float64 `json:"p50_seconds"`
	P95   float64 `json:"p95_seconds"`
	Max   float64 `json:"max_seconds"`
}

// Oldest is a task that waits.
type Oldest struct {
	ID      string     `json:"id"`
	Type    tasks.Type `json:"type"`
	Seconds float64    `json:"seconds"`
}

// Failure is an error that tasks have failed with: of the newest 1000 that have failed.
type Failure struct {
	Error string     `json:"error"` // its first line
	Type  tasks.Type `json:"type"`
	Count int        `json:"count"`
	Task  string     `json:"task"` // the newest of them
	At    time.Time  `json:"at"`   // that it failed
}

// Held is what clients hold.
type Held struct {
	Waiting int `json:"waiting"` // long polls
	Streams int `json:"streams"`
}

const (
	statsSample = 1000
	statsWindow = time.Minute
	// statsAge is for how long statistics are served again: many may look at the page.
	statsAge = time.Second
	// statsFailures is how many kinds of failures are told.
	statsFailures = 20
)

// statsCache has the statistics of each principal's view.
type statsCache struct {
	mu  sync.Mutex
	all map[[2]string]*cachedStats // by owner and prefix; guarded by mu
}

type cachedStats struct {
	mu sync.Mutex // held while they are found out, by one for all
	at time.Time
	Stats
}

// serveStats answers with statistics of the tasks that are seen.
func (h *Handler) serveStats(r *request) error {
	s, err := h.statsFor(r.Context(), r.by)
	if err != nil {
		return problemOf(err, "")
	}
	if err := h.durable(r.Context()); err != nil {
		return problemOf(err, "")
	}
	s.Server = Held{h.waits.count(), h.streams.count()}
	if r.by.Rights >= Admin {
		s.VFS = vfs.AllStats()
	}
	body, err := encode(s)
	if err != nil {
		return err
	}
	h.answer(r, http.StatusOK, body)
	return nil
}

func (h *Handler) statsFor(ctx context.Context, by Principal) (Stats, error) {
	c := &h.stats
	c.mu.Lock()
	key := [2]string{by.Owner, by.Prefix}
	if len(c.all) >= 1000 {
		c.all = nil
	}
	if c.all == nil {
		c.all = map[[2]string]*cachedStats{}
	}
	if c.all[key] == nil {
		c.all[key] = &cachedStats{}
	}
	s := c.all[key]
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.at) >= statsAge {
		found, err := h.findStats(ctx, by, now)
		if err != nil {
			return Stats{}, err
		}
		s.Stats, s.at = found, now
	}
	return s.Stats, nil
}

// findStats looks at the counts and at the newest tasks. Its work doesn't grow with the table.
func (h *Handler) findStats(ctx context.Context, by Principal, now time.Time) (s Stats, err error) {
	s = Stats{At: now.UTC().Truncate(time.Millisecond), Failures: []Failure{}}
	newest, err := h.sample(ctx, by, tasks.Query{Newest: true})
	if err != nil {
		return s, err
	}
	failed, err := h.sample(ctx, by, tasks.Query{Newest: true, Statuses: []tasks.Status{tasks.Error}})
	if err != nil {
		return s, err
	}
	pending, err := h.sample(ctx, by, tasks.Query{Statuses: []tasks.Status{tasks.Pending}})
	if err != nil {
		return s, err
	}
	switch {
	case by.Prefix != "":
		// There are no counts by prefix: those of the newest tasks are told.
		s.Counts = countsOf(newest)
	case by.Owner != "":
		s.Counts, err = h.store.CountOwner(ctx, by.Owner)
	default:
		s.Counts, err = h.store.Count(ctx)
	}
	if err != nil {
		return s, err
	}
	s.Rates = ratesOf(newest, now)
	s.Queue, s.Work = timesOf(newest)
	s.OldestPending = oldestOf(pending, now)
	s.Failures = failuresOf(failed)
	return s, nil
}

// sample returns the first tasks of a query that are seen.
func (h *Handler) sample(ctx context.Context, by Principal, q tasks.Query) ([]tasks.Info, error) {
	q.Owner, q.Limit = by.Owner, statsSample
	list, err := h.store.List(ctx, q)
	return slices.DeleteFunc(list, func(t tasks.Info) bool { return !by.sees(t) }), err
}

func countsOf(list []tasks.Info) map[tasks.Type]map[tasks.Status]int {
	counts := map[tasks.Type]map[tasks.Status]int{}
	for _, t := range list {
		if counts[t.Type] == nil {
			counts[t.Type] = map[tasks.Status]int{}
		}
		counts[t.Type][t.Status]++
	}
	return counts
}

// ratesOf counts what has happened in the last minute, or since the oldest of the newest tasks was created.
func ratesOf(newest []tasks.Info, now time.Time) Rates {
	window := statsWindow
	if len(newest) == statsSample {
		window = min(window, max(now.Sub(newest[len(newest)-1].CreatedAt), time.Second))
	}
	since, r := now.Add(-window), Rates{Seconds: window.Seconds()}
	for _, t := range newest {
		if t.CreatedAt.After(since) {
			r.Created++
		}
		if t.EndedAt.After(since) {
			if t.Status == tasks.Completed {
				r.Completed++
			} else {
				r.Failed++
			}
		}
	}
	for _, n := range []*float64{&r.Created, &r.Completed, &r.Failed} {
		*n /= r.Seconds
	}
	return r
}

func timesOf(newest []tasks.Info) (queue, work Times) {
	var waited, took []time.Duration
	for _, t := range newest {
		if t.StartedAt.IsZero() {
			continue
		}
		since := t.CreatedAt
		if t.RunAt.After(since) {
			since = t.RunAt
		}
		if t.Attempts <= 1 {
			waited = append(waited, max(0, t.StartedAt.Sub(since)))
		}
		if t.Status.Final() && !t.EndedAt.Before(t.StartedAt) {
			took = append(took, t.EndedAt.Sub(t.StartedAt))
		}
	}
	return timesFrom(waited), timesFrom(took)
}

func timesFrom(list []time.Duration) (t Times) {
	if t.Tasks = len(list); t.Tasks == 0 {
		return t
	}
	slices.Sort(list)
	at := func(p int) float64 { return list[(len(list)-1)*p/100].Seconds() }
	t.P50, t.P95, t.Max = at(50), at(95), at(100)
	return t
}

// oldestOf returns the task that has waited longest. Those that wait for a time, or for the end of a backoff, don't count.
func oldestOf(pending []tasks.Info, now time.Time) *Oldest {
	for _, t := range pending {
		if !t.RunAt.After(now) {
			return &Oldest{t.ID, t.Type, max(0, now.Sub(t.CreatedAt).Truncate(time.Second).Seconds())}
		}
	}
	return nil
}

func failuresOf(failed []tasks.Info) []Failure {
	type kind struct {
		text string
		of   tasks.Type
	}
	at, list := map[kind]int{}, []Failure{}
	for _, t := range failed {
		if t.Cancelled {
			continue
		}
		line, _, _ := strings.Cut(t.Error, "\n")
		k := kind{line, t.Type}
		i, ok := at[k]
		if !ok {
			i = len(list)
			at[k] = i
			list = append(list, Failure{Error: line, Type: t.Type, Task: t.ID, At: t.EndedAt})
		}
		list[i].Count++
		if t.EndedAt.After(list[i].At) {
			list[i].Task, list[i].At = t.ID, t.EndedAt
		}
	}
	slices.SortStableFunc(list, func(a, b Failure) int { return b.Count - a.Count })
	return list[:min(len(list), statsFailures)]
}
