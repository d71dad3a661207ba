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
// its median, and that relative to the same call on an empty table. With -short, up to 100,000.
func BenchmarkGrowth(b *testing.B) {
	sizes := []int{10_000, 100_000, 1_000_000}
	if testing.Short() {
		sizes = sizes[:2]
	}
	empty := growth(b, "pending", 0, 0)
	report := func(call, beside string, n, waiters int, d time.Duration) {
		b.Run(fmt.Sprintf("call=%s/beside=%s/tasks=%d/waiters=%d", call, beside, n, waiters), func(b *testing.B) {
			b.ReportMetric(0, "ns/op") // the calls are measured above
			b.ReportMetric(float64(d)/1e3, "p50-µs")
			b.ReportMetric(float64(d)/float64(empty[call]), "x-empty")
		})
	}
	for _, call := range growthNames {
		report(call, "none", 0, 0, empty[call])
	}
	for _, beside := range []string{"pending", "backoff", "processing", "completed", "error"} {
		for _, n := range sizes {
			took := growth(b, beside, n, 0)
			for _, call := range growthNames {
				report(call, beside, n, 0, took[call])
			}
		}
	}
	took := growth(b, "processing", 10_000, 10_000)
	for _, call := range growthNames {
		report(call, "processing", 10_000, 10_000, took[call])
	}
}

var growthNames = []string{"create", "claim", "idle-claim", "complete", "status", "result", "list", "list-status", "list-type", "list-both", "list-newest", "count", "wait"}

// growth returns the medians of the calls.
func growth(b *testing.B, beside string, n, waiters int) map[string]time.Duration {
	ctx := context.Background()
	path := filepath.Join(b.TempDir(), "tasks.db")
	st, err := tasks.Open(ctx, path)
	require.NoError(b, err)
	defer st.Close()
	fill(b, path, beside, n)
	waiting, cancel := context.WithCancel(ctx)
	var waits sync.WaitGroup
	defer waits.Wait()
	defer cancel()
	first := make(chan struct{}, waiters)
	for i := range waiters {
		waits.Go(func() {
			for range st.Watch(waiting, fmt.Sprint("other", i+1)) {
				first <- struct{}{}
			}
		})
	}
	for range waiters {
		<-first
	}
	all := map[string][]time.Duration{}
	measure := func(name string, call func() error) {
		start := time.Now()
		err := call()
		all[name] = append(all[name], time.Since(start))
		require.NoError(b, err, name)
	}
	list := func(q tasks.Query) func() error {
		q.Limit = 20
		return func() error { _, err := st.List(ctx, q); return err }
	}
	form, completed := []tasks.Type{tasks.Form}, []tasks.Status{tasks.Completed}
	calls := 200
	if testing.Short() {
		calls = 50
	}
	for i := range calls {
		id := fmt.Sprint("own", i)
		var c tasks.Claimed
		measure("idle-claim", func() error {
			_, err := st.Claim(ctx, time.Minute, tasks.FormFilling)
			if errors.Is(err, tasks.ErrNoTask) {
				return nil
			}
			return errors.Join(err, errors.New("there is a task"))
		})
		measure("create", func() error { return st.Create(ctx, id, tasks.Form, tasks.Relaxed()) })
		measure("claim", func() (err error) { c, err = st.Claim(ctx, time.Minute, tasks.Form); return err })
		require.Equal(b, id, c.ID)
		measure("status", func() error { _, err := st.Status(ctx, id); return err })
		done := make(chan error, 1)
		go func() { _, err := st.Wait(ctx, id); done <- err }()
		measure("complete", func() error { return st.Complete(ctx, c, result500, tasks.Relaxed()) })
		require.NoError(b, <-done)
		measure("wait", func() error { _, err := st.Wait(ctx, id); return err })
		measure("result", func() error { _, err := st.Result(ctx, id); return err })
		measure("list", list(tasks.Query{}))
		measure("list-newest", list(tasks.Query{Newest: true}))
		measure("list-type", list(tasks.Query{Types: []tasks.Type{tasks.FormFilling}}))
		measure("list-status", list(tasks.Query{Statuses: completed, Types: nil, Newest: true}))
		measure("list-both", list(tasks.Query{Types: form, Statuses: completed}))
		measure("count", func() error { _, err := st.Count(ctx); return err })
	}
	medians := map[string]time.Duration{}
	for name, took := range all {
		slices.Sort(took)
		medians[name] = took[len(took)/2]
	}
	return medians
}

// fill makes n tasks by one statement on a connection of its own, and brings them into the database file.
func fill(b *testing.B, path, beside string, n int) {
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?vfs=async")
	require.NoError(b, err)
	defer c.Close()
	require.NoError(b, c.Exec(fmt.Sprintf(`PRAGMA synchronous=off; PRAGMA cache_size=-200000;
		WITH RECURSIVE n(i) AS (SELECT 1 WHERE %d>0 UNION ALL SELECT i+1 FROM n WHERE i<%d)
		INSERT INTO tasks(id, type, status, result, run_at, created_at) SELECT a.*, 1700000000 FROM (%s) a;
		PRAGMA wal_checkpoint(TRUNCATE)`, n, n, growthOthers[beside])))
}
