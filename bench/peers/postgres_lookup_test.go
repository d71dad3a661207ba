package peers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// BenchmarkPostgresLookup is a look-up of a status by 8 goroutines beside a bare query of the same row by pgx, in turns, over one pool.
// The bare query reads the columns that a status has, and makes nothing of them.
func BenchmarkPostgresLookup(b *testing.B) {
	const pairs, callers, rows, looks = 5, 8, 1000, 30_000
	s, err := pgtest.Start()
	require.NoError(b, err)
	defer s.Remove()
	pool := pgPool(b, s, true)
	defer pool.Close()
	st, err := postgres.New(b.Context(), pool)
	require.NoError(b, err)
	defer st.Close()
	id := func(i int64) string { return fmt.Sprintf("task-%08d", i%rows) }
	_, err = pool.Exec(b.Context(), `INSERT INTO tasks.tasks(id, type, status, rank, created_at)
		SELECT 'task-'||lpad(i::text, 8, '0'), 'form', 'pending', i, 1700000000+i FROM generate_series(0, $1::int-1) i`, rows)
	require.NoError(b, err)
	const query = `SELECT id, type, status, created_at, updated_at, attempts, error, uncounted, cancelled, started_at, ended_at, run_at,
		owner, priority, labels, done, total, note FROM tasks.tasks WHERE id=$1`
	bare := func(ctx context.Context, id string) error {
		var got, typ, status, owner string
		var text, labels, note *string
		var created int64
		var updated, started, ended, runAt *int64
		var attempts, uncounted, priority int
		var cancelled bool
		var done, total float64
		err := pool.QueryRow(ctx, query, id).Scan(&got, &typ, &status, &created, &updated, &attempts, &text, &uncounted, &cancelled,
			&started, &ended, &runAt, &owner, &priority, &labels, &done, &total, &note)
		if err == nil && (got != id || status != "pending") {
			err = fmt.Errorf("%s is %s %s", id, got, status)
		}
		return err
	}
	ours := func(ctx context.Context, id string) error {
		t, err := st.Status(ctx, id)
		if err == nil && (t.ID != id || t.Status != tasks.Pending) {
			err = fmt.Errorf("%s is %s %s", id, t.ID, t.Status)
		}
		return err
	}
	rate := func(look func(context.Context, string) error) float64 {
		var next atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for range callers {
			wg.Go(func() {
				for i := next.Add(1); i <= looks; i = next.Add(1) {
					if err := look(b.Context(), id(i)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return looks / time.Since(start).Seconds()
	}
	rate(bare) // connections and plans
	rate(ours)
	for b.Loop() {
		var ratios, theirs, own []float64
		for range pairs {
			t, o := rate(bare), rate(ours)
			ratios, theirs, own = append(ratios, o/t), append(theirs, t), append(own, o)
		}
		for _, list := range [][]float64{ratios, theirs, own} {
			slices.Sort(list)
		}
		b.ReportMetric(ratios[pairs/2], "x-pgx")
		b.ReportMetric(ratios[0], "min-x-pgx")
		b.ReportMetric(ratios[pairs-1], "max-x-pgx")
		b.ReportMetric(theirs[pairs/2], "pgx-looks/s")
		b.ReportMetric(own[pairs/2], "ours-looks/s")
	}
}
