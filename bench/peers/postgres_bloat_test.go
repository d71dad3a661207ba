package peers

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

var bloatChanges = flag.Int("bloat-changes", 5_000_000, "how many changes BenchmarkPostgresBloat makes; 200000 with -short")

// BenchmarkPostgresBloat changes tasks again and again, with autovacuum as the schema sets it, and compares the sizes of their table
// and its indexes with what they are when they are written anew. Of the callers, half change tasks that stay: pending, processing, failed, and retried;
// the others have tasks that come and go: created, claimed, completed, deleted.
//
// What a second's changes leave behind stays until autovacuum comes, which is once a second at the most.
// So it is also a matter of how many tasks there are beside.
func BenchmarkPostgresBloat(b *testing.B) {
	total := int64(*bloatChanges)
	if testing.Short() {
		total = min(total, 200_000)
	}
	for _, rows := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) { bloat(b, total, rows) })
	}
}

func bloat(b *testing.B, total int64, rows int) {
	const callers = 64
	s, err := pgtest.Start("autovacuum_naptime=1s")
	require.NoError(b, err)
	defer s.Remove()
	for b.Loop() {
		pool := pgPool(b, s, true)
		st, err := postgres.New(b.Context(), pool)
		require.NoError(b, err)
		_, err = pool.Exec(b.Context(), `INSERT INTO tasks.tasks(id, type, status, rank, created_at)
			SELECT 'task-'||lpad(i::text, 8, '0'), 'form', 'pending', 1700000000+i, 1700000000+i FROM generate_series(0, $1::int-1) i`, rows)
		require.NoError(b, err)
		var changes atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for n := range callers {
			wg.Go(func() {
				change := stays(st, n/2, callers/2, rows)
				if n%2 == 1 {
					change = comes(st, n)
				}
				for changes.Load() < total {
					made, err := change(b.Context())
					if err != nil {
						b.Error(err)
						return
					}
					changes.Add(int64(made))
				}
			})
		}
		wg.Wait()
		took := time.Since(start)
		require.NoError(b, st.Close())
		table, indexes := sizes(b, pool)
		_, err = pool.Exec(b.Context(), "VACUUM FULL tasks.tasks")
		require.NoError(b, err)
		freshTable, freshIndexes := sizes(b, pool)
		b.ReportMetric(float64(changes.Load()), "changes")
		b.ReportMetric(float64(changes.Load())/took.Seconds(), "changes/s")
		b.ReportMetric(table/freshTable, "x-table")
		b.ReportMetric(indexes/freshIndexes, "x-indexes")
		b.ReportMetric((table+indexes)/(freshTable+freshIndexes), "x-fresh")
		b.ReportMetric(table+indexes, "bytes")
		pool.Close()
	}
}

// stays returns what changes one of the caller's tasks after the other, three times each.
func stays(st *tasks.Store, caller, callers, rows int) func(context.Context) (int, error) {
	next := caller
	return func(ctx context.Context) (int, error) {
		id := fmt.Sprintf("task-%08d", next)
		if next += callers; next >= rows {
			next = caller
		}
		if err := st.Update(ctx, id, tasks.Processing, nil, tasks.Relaxed()); err != nil {
			return 0, err
		}
		if err := st.Update(ctx, id, tasks.Error, nil, tasks.Relaxed()); err != nil {
			return 0, err
		}
		return 3, st.Retry(ctx, id, tasks.Relaxed())
	}
}

// comes returns what creates a task, claims one, completes and deletes that.
func comes(st *tasks.Store, caller int) func(context.Context) (int, error) {
	n := 0
	return func(ctx context.Context) (int, error) {
		n++
		if err := st.Create(ctx, fmt.Sprintf("life-%d-%d", caller, n), tasks.Document, tasks.Relaxed()); err != nil {
			return 0, err
		}
		c, err := st.Claim(ctx, time.Minute, tasks.Document)
		if err != nil {
			return 0, err
		}
		if err := st.Complete(ctx, c, text, tasks.Relaxed()); err != nil {
			return 0, err
		}
		return 4, st.Delete(ctx, c.ID, tasks.Relaxed())
	}
}

// sizes returns how many bytes the table of tasks has, and its indexes.
func sizes(b *testing.B, pool *pgxpool.Pool) (table, indexes float64) {
	require.NoError(b, pool.QueryRow(b.Context(), "SELECT pg_table_size('tasks.tasks')::float8, pg_indexes_size('tasks.tasks')::float8").
		Scan(&table, &indexes))
	return table, indexes
}
