package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// pgOthers are tasks that a call doesn't concern, a million of them: waiting to be claimed, for later, being worked on, or done.
// What waits for later is of the type that is claimed.
var pgOthers = []struct{ name, sql string }{
	{"none", ""},
	{"pending", "'document', 'pending', NULL, NULL"},
	{"later", "'form', 'pending', 253402000000000, NULL"},
	{"completed", `'document', 'completed', NULL, '"' || repeat('x', 200) || '"'`},
}

// BenchmarkPostgresGrowth measures calls beside a million tasks that they don't concern, and in turns without them on the same server:
// medians, and how they relate. With -short, beside 100,000.
func BenchmarkPostgresGrowth(b *testing.B) {
	n, calls := 1_000_000, 300
	if testing.Short() {
		n, calls = 100_000, 100
	}
	s, err := pgtest.Start()
	require.NoError(b, err)
	defer s.Remove()
	for _, others := range pgOthers {
		grown, bare := openPGGrowth(b, s, others.sql, n), openPGGrowth(b, s, "", 0)
		for i := range calls {
			pair := []*pgGrowth{grown, bare}
			if i%2 == 1 {
				slices.Reverse(pair)
			}
			for _, g := range pair {
				g.life(b, fmt.Sprint("own", i))
			}
		}
		for _, name := range []string{"create", "claim", "idle-claim", "complete", "status", "list"} {
			b.Run(fmt.Sprintf("call=%s/beside=%s/tasks=%d", name, others.name, n), func(b *testing.B) {
				took, empty := grown.median(name), bare.median(name)
				b.ReportMetric(0, "ns/op") // the calls are measured above
				b.ReportMetric(float64(took)/1e3, "p50-µs")
				b.ReportMetric(float64(took)/float64(empty), "x-empty")
			})
		}
		grown.close(b)
		bare.close(b)
	}
}

type pgGrowth struct {
	*tasks.Store
	pool *pgxpool.Pool
	took map[string][]time.Duration
}

func openPGGrowth(b *testing.B, s *pgtest.Server, others string, n int) *pgGrowth {
	pool := pgPool(b, s, true)
	st, err := postgres.New(b.Context(), pool)
	require.NoError(b, err)
	if others != "" {
		_, err = pool.Exec(b.Context(), `INSERT INTO tasks.tasks(id, rank, created_at, type, status, run_at, result)
			SELECT 'other'||i, 1700000000, 1700000000, `+others+` FROM generate_series(1, $1::int) i`, n)
		require.NoError(b, err)
		_, err = pool.Exec(b.Context(), "VACUUM ANALYZE tasks.tasks")
		require.NoError(b, err)
	}
	return &pgGrowth{st, pool, map[string][]time.Duration{}}
}

func (g *pgGrowth) close(b *testing.B) {
	require.NoError(b, g.Close())
	g.pool.Close()
}

func (g *pgGrowth) measure(b *testing.B, name string, call func() error) {
	start := time.Now()
	err := call()
	g.took[name] = append(g.took[name], time.Since(start))
	require.NoError(b, err, name)
}

func (g *pgGrowth) median(name string) time.Duration {
	slices.Sort(g.took[name])
	return g.took[name][len(g.took[name])/2]
}

// life takes a task through its life.
func (g *pgGrowth) life(b *testing.B, id string) {
	ctx := context.Background()
	var c tasks.Claimed
	g.measure(b, "idle-claim", func() error {
		if _, err := g.Claim(ctx, time.Minute, tasks.FormFilling); !errors.Is(err, tasks.ErrNoTask) {
			return errors.Join(err, errors.New("there is a task"))
		}
		return nil
	})
	g.measure(b, "create", func() error { return g.Create(ctx, id, tasks.Form) })
	g.measure(b, "claim", func() (err error) { c, err = g.Claim(ctx, time.Minute, tasks.Form); return err })
	require.Equal(b, id, c.ID)
	g.measure(b, "complete", func() error { return g.Complete(ctx, c, text) })
	g.measure(b, "status", func() error { _, err := g.Status(ctx, id); return err })
	g.measure(b, "list", func() error {
		_, err := g.List(ctx, tasks.Query{Types: []tasks.Type{tasks.Form}, Statuses: []tasks.Status{tasks.Completed}, Newest: true, Limit: 1})
		return err
	})
}

// queryCount counts what a pool asks of its server.
type queryCount struct{ n atomic.Int64 }

func (q *queryCount) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	q.n.Add(1)
	return ctx
}

func (q *queryCount) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (q *queryCount) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (q *queryCount) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) { q.n.Add(1) }

func (q *queryCount) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// BenchmarkPostgresIdle has 100 stores with pools and workers of their own, as so many processes have, that find nothing to do,
// and one waiting caller each. It reports queries a second of each.
func BenchmarkPostgresIdle(b *testing.B) {
	const stores, rest, watch = 100, 5 * time.Second, 20 * time.Second
	s, err := pgtest.Start("max_connections=500")
	require.NoError(b, err)
	defer s.Remove()
	url := s.NewURL(b)
	var count queryCount
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2*stores)
	var all []func()
	for range stores {
		c, err := pgxpool.ParseConfig(url)
		require.NoError(b, err)
		c.MaxConns = 4
		c.ConnConfig.Tracer = &count
		postgres.Prepare(c)
		pool, err := pgxpool.NewWithConfig(b.Context(), c)
		require.NoError(b, err)
		st, err := postgres.New(b.Context(), pool)
		require.NoError(b, err)
		if len(all) == 0 {
			require.NoError(b, st.Create(ctx, "waited for", tasks.Document))
		}
		go func() {
			ended <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) { return text, nil }}, 4)
		}()
		go func() {
			if _, err := st.Wait(ctx, "waited for"); !errors.Is(err, context.Canceled) {
				ended <- err
				return
			}
			ended <- nil
		}()
		all = append(all, func() {
			require.NoError(b, st.Close())
			pool.Close()
		})
	}
	for b.Loop() {
		time.Sleep(rest)
		before := count.n.Load()
		time.Sleep(watch)
		b.ReportMetric(float64(count.n.Load()-before)/watch.Seconds()/stores, "queries/s/store")
		b.ReportMetric(0, "ns/op")
	}
	cancel()
	for range 2 * stores {
		require.NoError(b, <-ended)
	}
	for _, f := range all {
		f()
	}
}
