package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// growthOthers are the tasks that a call doesn't concern: all of one status, as one statement fills them in.
// The types are those of others, but for tasks that wait for their backoff, which claims could walk past.
var growthOthers = map[string]string{
	"pending":    `SELECT 'other' || i, 'document', 'pending', NULL, NULL FROM n`,
	"backoff":    `SELECT 'other' || i, 'form', 'pending', NULL, 253402000000000 FROM n`,
	"processing": `SELECT 'other' || i, 'document', 'processing', NULL, NULL FROM n`,
	"completed":  `SELECT 'other' || i, 'document', 'completed', '{"text":"' || printf('%.*c', 200, 'x') || '"}', NULL FROM n`,
	"error":      `SELECT 'other' || i, 'document', 'error', NULL, NULL FROM n`,
}

// BenchmarkGrowth measures each call beside a number of tasks that it doesn't concern, and beside 10,000 who wait for some of them:
// its median, and that relative to the same call on a table without them. The two are called in turns. With -short, up to 100,000.
func BenchmarkGrowth(b *testing.B) {
	sizes := []int{0, 10_000, 100_000, 1_000_000}
	if testing.Short() {
		sizes = sizes[:3]
	}
	measure := func(beside string, n, waiters int) {
		took, empty := growth(b, beside, n, waiters)
		for _, call := range growthNames {
			b.Run(fmt.Sprintf("call=%s/beside=%s/tasks=%d/waiters=%d", call, beside, n, waiters), func(b *testing.B) {
				b.ReportMetric(0, "ns/op") // the calls are measured above
				b.ReportMetric(float64(took[call])/1e3, "p50-µs")
				b.ReportMetric(float64(took[call])/float64(empty[call]), "x-empty")
			})
		}
	}
	measure("none", 0, 0) // how far two that are alike are apart
	for _, beside := range []string{"pending", "backoff", "processing", "completed", "error"} {
		for _, n := range sizes[1:] {
			measure(beside, n, 0)
		}
	}
	measure("processing", 10_000, 10_000)
}

var growthNames = []string{"create", "claim", "idle-claim", "complete", "status", "result", "list", "list-status", "list-type", "list-both", "list-newest", "count", "wait"}

// growthStore is a store whose calls are measured.
type growthStore struct {
	*tasks.Store
	took map[string][]time.Duration
}

// openGrowth opens a store beside n tasks, with enough of its own for lists to be full.
func openGrowth(b *testing.B, beside string, n int) *growthStore {
	path := filepath.Join(b.TempDir(), "tasks.db")
	st, err := tasks.Open(b.Context(), path)
	require.NoError(b, err)
	fill(b, path, beside, n)
	for i := range growthList {
		id := fmt.Sprint("first", i)
		require.NoError(b, st.Create(b.Context(), id, tasks.Form, tasks.Relaxed()))
		require.NoError(b, st.Update(b.Context(), id, tasks.Completed, result500, tasks.Relaxed()))
	}
	return &growthStore{st, map[string][]time.Duration{}}
}

// growthList is how long lists are.
const growthList = 20

func (g *growthStore) measure(b *testing.B, name string, call func() error) {
	start := time.Now()
	err := call()
	g.took[name] = append(g.took[name], time.Since(start))
	require.NoError(b, err, name)
}

// medians returns those of the calls.
func (g *growthStore) medians() map[string]time.Duration {
	medians := map[string]time.Duration{}
	for name, took := range g.took {
		slices.Sort(took)
		medians[name] = took[len(took)/2]
	}
	return medians
}

// growth returns the medians of the calls, and those of the same calls without the tasks and those who wait.
func growth(b *testing.B, beside string, n, waiters int) (took, empty map[string]time.Duration) {
	grown, bare := openGrowth(b, beside, n), openGrowth(b, "pending", 0)
	defer bare.Close()
	defer grown.Close()
	waiting, cancel := context.WithCancel(context.Background())
	var waits sync.WaitGroup
	defer waits.Wait()
	defer cancel()
	first := make(chan struct{}, waiters)
	for i := range waiters {
		waits.Go(func() {
			for range grown.Watch(waiting, fmt.Sprint("other", i+1)) {
				first <- struct{}{}
			}
		})
	}
	for range waiters {
		<-first
	}
	calls := 200
	if testing.Short() {
		calls = 50
	}
	for i := range calls {
		pair := []*growthStore{grown, bare}
		if i%2 == 1 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		for _, st := range pair {
			st.life(b, fmt.Sprint("own", i))
		}
	}
	return grown.medians(), bare.medians()
}

// life makes the calls once.
func (g *growthStore) life(b *testing.B, id string) {
	ctx := context.Background()
	list := func(q tasks.Query) func() error {
		q.Limit = growthList
		return func() error { _, err := g.List(ctx, q); return err }
	}
	form, completed := []tasks.Type{tasks.Form}, []tasks.Status{tasks.Completed}
	var c tasks.Claimed
	g.measure(b, "idle-claim", func() error {
		_, err := g.Claim(ctx, time.Minute, tasks.FormFilling)
		if errors.Is(err, tasks.ErrNoTask) {
			return nil
		}
		return errors.Join(err, errors.New("there is a task"))
	})
	g.measure(b, "create", func() error { return g.Create(ctx, id, tasks.Form, tasks.Relaxed()) })
	g.measure(b, "claim", func() (err error) { c, err = g.Claim(ctx, time.Minute, tasks.Form); return err })
	require.Equal(b, id, c.ID)
	g.measure(b, "status", func() error { _, err := g.Status(ctx, id); return err })
	done := make(chan error, 1)
	go func() { _, err := g.Wait(ctx, id); done <- err }()
	g.measure(b, "complete", func() error { return g.Complete(ctx, c, result500, tasks.Relaxed()) })
	require.NoError(b, <-done)
	g.measure(b, "wait", func() error { _, err := g.Wait(ctx, id); return err })
	g.measure(b, "result", func() error { _, err := g.Result(ctx, id); return err })
	g.measure(b, "list", list(tasks.Query{}))
	g.measure(b, "list-newest", list(tasks.Query{Newest: true}))
	g.measure(b, "list-type", list(tasks.Query{Types: []tasks.Type{tasks.FormFilling}}))
	g.measure(b, "list-status", list(tasks.Query{Statuses: completed, Types: nil, Newest: true}))
	g.measure(b, "list-both", list(tasks.Query{Types: form, Statuses: completed}))
	g.measure(b, "count", func() error { _, err := g.Count(ctx); return err })
}

// fill makes n tasks by one statement on a connection of its own, and brings them into the database file.
func fill(b *testing.B, path, beside string, n int) {
	if n == 0 {
		return
	}
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?vfs=async")
	require.NoError(b, err)
	defer c.Close()
	require.NoError(b, c.Exec(fmt.Sprintf(`PRAGMA synchronous=off; PRAGMA cache_size=-200000;
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)
		INSERT INTO tasks(id, type, status, result, run_at, created_at) SELECT a.*, 1700000000 FROM (%s) a;
		PRAGMA wal_checkpoint(TRUNCATE)`, n, growthOthers[beside])))
}
