package postgres_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// idleClock counts what an idle store asks the server, by a clock that goes on by itself: all waits end at once.
type idleClock struct {
	tracerBase
	looks int           // how many waits between looks it counts
	every time.Duration // a wait between looks of the state that is counted

	mu      sync.Mutex
	refuse  bool           // LISTEN; guarded by mu
	asked   map[string]int // queries and pings, by what they are for; guarded by mu
	waits   int            // between looks, counted; guarded by mu
	tries   []time.Duration
	done    chan struct{} // closed when it has counted all
	settled chan struct{} // closed when it listens, or after some tries
}

// tracerBase is a tracer of batches too.
type tracerBase struct{}

func (tracerBase) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (tracerBase) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}
func (tracerBase) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (c *idleClock) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case strings.HasPrefix(d.SQL, "LISTEN"):
		c.asked["listen"]++
		if c.refuse {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx
		}
	case strings.Contains(d.SQL, "LEFT JOIN (SELECT xid, ids, writer FROM"):
		c.asked["look"]++
	default:
		c.asked[d.SQL]++
	}
	return ctx
}

func (c *idleClock) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked["claim"]++
}

// after ends waits at once, and those between looks that aren't of the state that is counted a moment later.
func (c *idleClock) after(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := make(chan time.Time, 1)
	switch {
	case d == c.every && c.waits == c.looks:
		return nil // it has counted enough
	case d == c.every:
		if c.waits++; c.waits == 1 {
			delete(c.asked, "look")
		} else if c.waits == c.looks {
			close(c.done)
		}
	case d == postgres.DefaultPoll || d == postgres.ListenPolls*postgres.DefaultPoll:
		return time.After(5 * time.Millisecond)
	default:
		if c.tries = append(c.tries, d); len(c.tries) == 20 {
			close(c.settled)
			return nil
		}
	}
	now <- time.Now()
	return now
}

// TestIdle: a process that waits, and whose workers have nothing to do, asks the server at most once a second,
// where it hears of changes and where it can't.
func TestIdle(t *testing.T) {
	for name, mode := range map[string]struct {
		config      postgres.Config
		every       time.Duration
		refuse, cut bool
	}{
		"listening": {every: postgres.ListenPolls * postgres.DefaultPoll},
		"polling":   {config: postgres.Config{NoListen: true}, every: postgres.DefaultPoll},
		"refused":   {every: postgres.DefaultPoll, refuse: true},
		"cut":       {every: postgres.DefaultPoll, cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &idleClock{looks: 50, every: mode.every, refuse: mode.refuse, asked: map[string]int{}, done: make(chan struct{}), settled: make(chan struct{})}
			if mode.cut {
				clock.every = postgres.ListenPolls * postgres.DefaultPoll
			}
			pc, err := pgxpool.ParseConfig(server.URL("postgres"))
			require.NoError(t, err)
			pc.ConnConfig.Tracer = clock
			postgres.Prepare(pc)
			ping := pc.ShouldPing
			pc.ShouldPing = func(ctx context.Context, p pgxpool.ShouldPingParams) bool {
				p.IdleDuration = time.Minute // as it would be
				if ping(ctx, p) {
					clock.mu.Lock()
					clock.asked["ping"]++
					clock.mu.Unlock()
				}
				return false
			}
			pool, err := pgxpool.NewWithConfig(t.Context(), pc)
			require.NoError(t, err)
			defer pool.Close()
			mode.config.Schema = server.NewSchema()
			// Before, and by another store: this one has nothing to tell then, and hears nothing.
			require.NoError(t, open(t, postgres.Config{Schema: mode.config.Schema}).Create(t.Context(), "far", tasks.Form, tasks.RunAt(time.Now().Add(time.Hour))))
			st, err := mode.config.After(clock.after).New(t.Context(), pool)
			require.NoError(t, err)
			defer st.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()

			// What a claim costs that finds nothing.
			clock.mu.Lock()
			clear(clock.asked)
			clock.mu.Unlock()
			_, err = st.Claim(ctx, time.Minute, tasks.Form)
			require.ErrorIs(t, err, tasks.ErrNoTask)
			clock.mu.Lock()
			claim := clock.asked["claim"] + clock.asked["ping"]
			require.Positive(t, clock.asked["claim"])
			clear(clock.asked)
			clock.mu.Unlock()

			waited := make(chan error, 1)
			go func() { _, err := st.Wait(ctx, "far"); waited <- err }()
			if mode.cut {
				<-clock.done // it listens
				clock.mu.Lock()
				clock.every, clock.waits, clock.done, clock.refuse = postgres.DefaultPoll, 0, make(chan struct{}), true
				clock.mu.Unlock()
				_, err := pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid<>pg_backend_pid()")
				require.NoError(t, err)
			}
			<-clock.done
			if mode.refuse || mode.cut {
				<-clock.settled
			}
			cancel()
			<-waited
			clock.mu.Lock()
			defer clock.mu.Unlock()
			require.LessOrEqual(t, clock.asked["look"], clock.looks+1, "looks that no wait was for")
			require.GreaterOrEqual(t, clock.asked["look"], clock.looks-1)
			rate := float64(clock.asked["look"]) / (float64(clock.looks) * mode.every.Seconds())
			rate += float64(claim) / (postgres.ClaimPolls * postgres.DefaultPoll).Seconds()
			if mode.refuse || mode.cut {
				require.Equal(t, postgres.ListenAgain*postgres.DefaultPoll, clock.tries[len(clock.tries)-1])
				rate += 1 / clock.tries[len(clock.tries)-1].Seconds()
			}
			rate += 2. / 60 // the log of changes is trimmed
			t.Logf("%.2f queries a second; %v", rate, clock.asked)
			require.LessOrEqual(t, rate, 1.)
		})
	}
}

// TestTrim: the log of changes is bounded also where nobody ever waits for a task.
func TestTrim(t *testing.T) {
	c := postgres.Config{Schema: server.NewSchema()}.TrimEvery(1)
	st := open(t, c)
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "INSERT INTO "+c.Schema+".task_changes(xid, writer, ids) SELECT -i, 'x', '{a}' FROM generate_series(1, $1::int) i", 2*postgres.KeepChanges)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		require.NoError(t, st.Create(ctx, "a", tasks.Form))
		require.NoError(t, st.Delete(ctx, "a"))
		var n int
		require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM "+c.Schema+".task_changes").Scan(&n))
		return n <= postgres.KeepChanges+100
	}, 30*time.Second, time.Millisecond)
}
