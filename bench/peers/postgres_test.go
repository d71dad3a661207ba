package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"
)

// On PostgreSQL there are River and goqite beside this: backlite is for SQLite.

// pgPool opens a pool to a new database of a server, of a size as River's documentation has it for many workers.
// Package postgres asks for a pool that is prepared for it; River gets one as pgx makes it.
func pgPool(b *testing.B, s *pgtest.Server, prepare bool) *pgxpool.Pool {
	c, err := pgxpool.ParseConfig(s.NewURL(b))
	require.NoError(b, err)
	c.MaxConns = 32
	if prepare {
		postgres.Prepare(c)
	}
	pool, err := pgxpool.NewWithConfig(b.Context(), c)
	require.NoError(b, err)
	return pool
}

func countPG(b *testing.B, pool *pgxpool.Pool, n int, query string, args ...any) {
	b.Helper()
	var got int
	require.NoError(b, pool.QueryRow(b.Context(), query, args...).Scan(&got))
	require.Equal(b, n, got, query)
}

type pgRiverWorker struct {
	river.WorkerDefaults[riverArgs]
}

func (*pgRiverWorker) Work(ctx context.Context, job *river.Job[riverArgs]) error {
	return river.RecordOutput(ctx, text)
}

// riverPG is River's client with its workers: it is told of new jobs by NOTIFY, and completes them in batches.
func riverPG(b *testing.B, s *pgtest.Server, callers int) peer {
	pool := pgPool(b, s, false)
	driver := riverpgxv5.New(pool)
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	_, err = m.Migrate(b.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(b, err)
	workers := river.NewWorkers()
	river.AddWorker(workers, &pgRiverWorker{})
	client, err := river.NewClient(driver, &river.Config{
		Logger:            slog.New(slog.DiscardHandler),
		FetchCooldown:     river.FetchCooldownMin,
		FetchPollInterval: river.FetchPollIntervalMin,
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: max(100, 2*callers)}},
		Workers:           workers,
	})
	require.NoError(b, err)
	var waiting sync.Map // of chan struct{}, by id
	events, stop := client.SubscribeConfig(&river.SubscribeConfig{Kinds: []river.EventKind{river.EventKindJobCompleted}, ChanSize: 100_000})
	go func() {
		for e := range events {
			var args riverArgs
			if err := json.Unmarshal(e.Job.EncodedArgs, &args); err != nil {
				b.Error(err)
			}
			if c, ok := waiting.LoadAndDelete(args.ID); ok {
				close(c.(chan struct{}))
			}
		}
	}()
	ctx := context.Background()
	require.NoError(b, client.Start(ctx))
	return peer{
		life: func(id string) error {
			c := make(chan struct{})
			waiting.Store(id, c)
			if _, err := client.Insert(ctx, riverArgs{id}, nil); err != nil {
				return err
			}
			<-c
			return nil
		},
		rest: func() {},
		check: func(n int) {
			require.NoError(b, client.Stop(ctx))
			stop()
			countPG(b, pool, n, "SELECT count(*) FROM river_job WHERE state='completed' AND attempt=1 AND metadata->>'output'=$1", text)
			pool.Close()
		},
	}
}

// oursPG is Run with its workers, and callers who wait, by the same pool.
func oursPG(b *testing.B, s *pgtest.Server, callers int) peer {
	pool := pgPool(b, s, true)
	st, err := postgres.New(b.Context(), pool)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Document: func(context.Context, tasks.Info) (any, error) { return text, nil }}, max(100, 2*callers))
	}()
	return peer{
		life: func(id string) error {
			if err := st.Create(ctx, id, tasks.Document); err != nil {
				return err
			}
			r, err := st.Wait(ctx, id)
			if err == nil && r.Status != tasks.Completed {
				err = fmt.Errorf("%s is %s", id, r.Status)
			}
			return err
		},
		rest: func() {},
		check: func(n int) {
			cancel()
			require.NoError(b, <-done)
			countPG(b, pool, n, "SELECT count(*) FROM tasks.tasks WHERE status='completed' AND attempts=1 AND result=$1", `"`+text+`"`)
			require.NoError(b, st.Close())
			pool.Close()
		},
	}
}

// callsPG is the same by calls: each caller claims and completes, itself, some task for each that it creates.
func callsPG(b *testing.B, s *pgtest.Server, _ int) peer {
	pool := pgPool(b, s, true)
	st, err := postgres.New(b.Context(), pool)
	require.NoError(b, err)
	ctx := context.Background()
	return peer{
		life: func(id string) error {
			if err := st.Create(ctx, id, tasks.Document); err != nil {
				return err
			}
			c, err := st.Claim(ctx, time.Minute)
			if err != nil {
				return err
			}
			return st.Complete(ctx, c, text)
		},
		rest: func() {},
		check: func(n int) {
			countPG(b, pool, n, "SELECT count(*) FROM tasks.tasks WHERE status='completed' AND attempts=1 AND result=$1", `"`+text+`"`)
			require.NoError(b, st.Close())
			pool.Close()
		},
	}
}

// BenchmarkPostgres is package tasks beside others on one server, in turns, with fsync on.
func BenchmarkPostgres(b *testing.B) {
	s, err := pgtest.Start()
	require.NoError(b, err)
	defer s.Remove()
	type open func(*testing.B, *pgtest.Server, int) peer
	for _, p := range []struct {
		ours, theirs string
		own, their   open
		each         int // tasks per caller
	}{
		{"run", "river", oursPG, riverPG, 20},
		{"calls", "river", callsPG, riverPG, 20},
		{"calls", "goqite", callsPG, goqitePG, 4},
	} {
		for _, callers := range []int{8, 64, 256} {
			b.Run(fmt.Sprintf("ours=%s/beside=%s/callers=%d", p.ours, p.theirs, callers), func(b *testing.B) {
				for b.Loop() {
					inTurns(b, p.theirs, 200+p.each*callers, func(n int) (own, their float64) {
						their = run(b, p.their(b, s, callers), callers, n)
						return run(b, p.own(b, s, callers), callers, n), their
					})
				}
			})
		}
	}
}

// inTurns runs both three times and reports their rates by the median, and the ratio.
func inTurns(b *testing.B, theirs string, n int, both func(n int) (own, their float64)) {
	const pairs = 3
	var ratios, own, their []float64
	for range pairs {
		o, t := both(n)
		ratios, own, their = append(ratios, o/t), append(own, o), append(their, t)
	}
	for _, list := range [][]float64{ratios, own, their} {
		slices.Sort(list)
	}
	b.ReportMetric(ratios[pairs/2], "x-"+theirs)
	b.ReportMetric(ratios[0], "min-x-"+theirs)
	b.ReportMetric(ratios[pairs-1], "max-x-"+theirs)
	b.ReportMetric(their[pairs/2], theirs+"-tasks/s")
	b.ReportMetric(own[pairs/2], "ours-tasks/s")
}
