package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/testclock"
	"github.com/stretchr/testify/require"
)

// host has a clock that can be set, and one that can't.
type host struct {
	wall    *testclock.Clock
	elapsed atomic.Int64
}

func (h *host) pass(d time.Duration) { h.wall.Add(d); h.elapsed.Add(int64(d)) }

func (h *host) open(t *testing.T, path string, opts ...tasks.Option) *tasks.Store {
	st, err := tasks.Open(t.Context(), path, append([]tasks.Option{
		tasks.Clock(h.wall.Now), tasks.Elapsed(func() time.Duration { return time.Duration(h.elapsed.Load()) }),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st
}

// TestClockSteps: leases and backoffs last as long as they should when the clock is set, whichever of the host's processes
// sees it first, and a time that the creator has set stays.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-100 * time.Hour, -time.Hour, -30 * time.Second, 30 * time.Second, time.Hour, 8 * 24 * time.Hour} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			h := &host{wall: testclock.New()}
			path := filepath.Join(t.TempDir(), "tasks.db")
			opts := tasks.Backoff(func(int) time.Duration { return 3 * time.Minute })
			st, other := h.open(t, path, opts), h.open(t, path, opts)
			ctx := t.Context()
			for _, id := range []string{"held", "backoff"} {
				require.NoError(t, st.Create(ctx, id, tasks.Form))
			}
			held, err := st.Claim(ctx, 2*time.Minute)
			require.NoError(t, err)
			waits, err := other.Claim(ctx, time.Minute)
			require.NoError(t, err)
			require.NoError(t, other.Fail(ctx, waits, errors.New("why")))
			at := h.wall.Now().Add(1000 * time.Hour)
			require.NoError(t, st.Create(ctx, "later", tasks.Form, tasks.RunAt(at)))
			h.pass(time.Minute)
			h.wall.Add(step)
			for range 2 { // both see it, and move things once
				for _, s := range []*tasks.Store{other, st} {
					_, err = s.Claim(ctx, time.Minute)
					require.ErrorIs(t, err, tasks.ErrNoTask, "the lease and the backoff last on")
				}
			}
			// 59 s later both are still there, 2 s after that they aren't.
			h.pass(59 * time.Second)
			_, err = other.Claim(ctx, time.Minute)
			require.ErrorIs(t, err, tasks.ErrNoTask)
			require.NoError(t, st.Extend(ctx, &held, time.Minute))
			h.pass(61 * time.Second)
			_, err = other.Claim(ctx, time.Minute)
			if errors.Is(err, tasks.ErrNoTask) { // the one in backoff is due, unless it has been claimed just now
				info, err := st.Status(ctx, "held")
				require.NoError(t, err)
				require.Equal(t, tasks.Pending, info.Status, "the lease has ended")
			}
			h.pass(time.Second)
			info, err := st.Status(ctx, "backoff")
			require.NoError(t, err)
			if info.Status == tasks.Pending {
				c, err := st.Claim(ctx, time.Minute)
				require.NoError(t, err)
				require.Equal(t, "backoff", c.ID)
			}
			info, err = st.Status(ctx, "later")
			require.NoError(t, err)
			require.Equal(t, at, info.RunAt)
			require.ErrorIs(t, st.Extend(ctx, &held, time.Minute), tasks.ErrLeaseLost)
		})
	}
}

// TestClockStepNoise: small corrections, and time that passes, are no steps.
func TestClockStepNoise(t *testing.T) {
	h := &host{wall: testclock.New()}
	path := filepath.Join(t.TempDir(), "tasks.db")
	st := h.open(t, path)
	ctx := t.Context()
	for _, d := range []time.Duration{time.Second, -time.Second, 2 * time.Second} {
		h.pass(time.Hour)
		h.wall.Add(d)
		_, err := st.Claim(ctx, time.Minute)
		require.ErrorIs(t, err, tasks.ErrNoTask)
	}
	var n int
	require.NoError(t, openSQL(t, path).QueryRow("SELECT count(*) FROM task_clock_steps").Scan(&n))
	require.Zero(t, n)
}

// TestJanitorClockStep: a clock that jumps ahead makes nothing old, however often the janitor comes, and what isn't done is spared
// whatever the clock says. What really is old goes.
func TestJanitorClockStep(t *testing.T) {
	h := &host{wall: testclock.New()}
	st := h.open(t, filepath.Join(t.TempDir(), "tasks.db"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, s := range []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed, tasks.Error} {
		require.NoError(t, st.Create(ctx, string(s), tasks.Form))
		if s != tasks.Pending {
			require.NoError(t, st.Update(ctx, string(s), s, nil))
		}
	}
	results, next := make(chan int), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- st.RunJanitor(ctx, tasks.Janitor{Every: time.Millisecond, OnCleanup: func(n int, err error) {
			require.NoError(t, err)
			results <- n
			<-next
		}})
	}()
	cleaned := func() int { next <- struct{}{}; return <-results }
	require.Zero(t, <-results)
	h.wall.Add(8 * 24 * time.Hour)
	require.Zero(t, cleaned())
	require.Zero(t, cleaned(), "nor the next time")
	h.pass(6*24*time.Hour + 23*time.Hour)
	require.Zero(t, cleaned())
	h.pass(2 * time.Hour)
	require.Equal(t, 2, cleaned(), "time has passed; what isn't done is spared")
	cancel()
	close(next)
	require.NoError(t, <-done)
	list, err := st.List(t.Context(), tasks.Query{})
	require.NoError(t, err)
	require.Len(t, list, 2)
}

// TestCleanupAges: ages are spans of time that have passed, through any steps of the clock.
func TestCleanupAges(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for name, steps := range map[string][]time.Duration{ // with an hour between each
		"none": {0, 0, 0, 0}, "forward": {0, 1000 * hour, 0, 0}, "back": {0, -1000 * hour, 0, 0}, "there and back": {0, 1000 * hour, -1000 * hour, 0},
		"back and there": {-1000 * hour, 1000 * hour, 0, 0}, "often": {100 * hour, 100 * hour, -150 * hour, 3000 * hour},
	} {
		t.Run(name, func(t *testing.T) {
			h := &host{wall: testclock.New()}
			st := h.open(t, filepath.Join(t.TempDir(), "tasks.db"))
			ctx := t.Context()
			for i, step := range steps {
				require.NoError(t, st.Create(ctx, fmt.Sprint(i), tasks.Form))
				h.pass(hour / 2)
				h.wall.Add(step)
				_, err := st.Claim(ctx, time.Minute, tasks.Document) // it looks
				require.ErrorIs(t, err, tasks.ErrNoTask)
				h.pass(hour / 2)
			}
			// They are 4, 3, 2 and 1 hours old.
			for i := range steps {
				n, err := st.Cleanup(ctx, time.Duration(len(steps)-i)*hour+hour/4)
				require.NoError(t, err)
				_, err = st.Status(ctx, fmt.Sprint(i))
				require.NoError(t, err, "%d is younger than that; %d went", i, n)
				_, err = st.Cleanup(ctx, time.Duration(len(steps)-i)*hour-hour/4)
				require.NoError(t, err)
				if name == "none" || name == "forward" {
					_, err = st.Status(ctx, fmt.Sprint(i))
					require.ErrorIs(t, err, tasks.ErrNotFound)
				}
			}
		})
	}
}

// TestClockStepBetweenProcesses: a process that starts after the clock was set, with nobody left who has seen it, knows it by the clock
// that all processes since the host's start share. After another start it can't know.
func TestClockStepBetweenProcesses(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-100 * time.Hour, -time.Hour, time.Hour, 8 * 24 * time.Hour} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprint(step, restarted), func(t *testing.T) {
				h := &host{wall: testclock.New()}
				name := "host"
				boot := tasks.BootClock(func() (string, time.Duration, bool) { return name, time.Duration(h.elapsed.Load()), true })
				path := filepath.Join(t.TempDir(), "tasks.db")
				ctx := t.Context()
				st := h.open(t, path, boot)
				require.NoError(t, st.Create(ctx, "held", tasks.Form))
				require.NoError(t, st.Create(ctx, "old", tasks.Form))
				require.NoError(t, st.Update(ctx, "old", tasks.Completed, 1))
				held, err := st.Claim(ctx, 2*time.Minute)
				require.NoError(t, err)
				require.NoError(t, st.Close())
				h.pass(time.Minute)
				h.wall.Add(step)
				if restarted {
					name = "host again"
				}
				for range 2 { // once
					st = h.open(t, path, boot)
					_, err = st.Claim(ctx, time.Minute)
					require.ErrorIs(t, err, tasks.ErrNoTask)
					attempts, err := st.Attempts(ctx, "held")
					require.NoError(t, err)
					require.Equal(t, restarted && step > 0, !attempts[0].EndedAt.IsZero(), "the lease has ended")
					n, err := st.Cleanup(ctx, 7*24*time.Hour)
					require.NoError(t, err)
					if restarted {
						return
					}
					require.Zero(t, n)
					require.NoError(t, st.Close())
				}
				st = h.open(t, path, boot)
				h.pass(61 * time.Second)
				_, _ = st.Claim(ctx, time.Minute)
				require.ErrorIs(t, st.Extend(ctx, &held, time.Minute), tasks.ErrLeaseLost, "two minutes have passed")
			})
		}
	}
}

// TestCacheLeaseClockStep: a computing process that has died is waited for as long as its lease, whichever way the clock is set.
func TestCacheLeaseClockStep(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-100 * time.Hour, time.Hour} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			h := &host{wall: testclock.New()}
			path := filepath.Join(t.TempDir(), "tasks.db")
			st := h.open(t, path)
			_, err := openSQL(t, path).Exec("INSERT INTO task_cache(type, key, created_at, used_at, leased_at, lease_until, lease) VALUES('form', 'k', ?1, ?1, ?1, ?2, 'dead')",
				h.wall.Now().UnixMilli(), h.wall.Now().Add(time.Minute).UnixMilli())
			require.NoError(t, err)
			h.pass(30 * time.Second)
			h.wall.Add(step)
			ctx, cancel := context.WithCancel(t.Context())
			waiting := make(chan error, 1)
			go func() {
				_, err := st.Do(ctx, tasks.Form, nil, func(context.Context) (any, error) { return 1, nil }, tasks.Key("k"))
				waiting <- err
			}()
			var until int64
			require.Eventually(t, func() bool {
				require.NoError(t, openSQL(t, path).QueryRow("SELECT lease_until FROM task_cache").Scan(&until))
				return time.UnixMilli(until).Equal(h.wall.Now().Add(30 * time.Second).Truncate(time.Millisecond))
			}, time.Minute, time.Millisecond)
			cancel()
			require.ErrorIs(t, <-waiting, context.Canceled)
			h.pass(31 * time.Second)
			_, err = st.Do(t.Context(), tasks.Form, nil, func(context.Context) (any, error) { return 1, nil }, tasks.Key("k"))
			require.NoError(t, err)
		})
	}
}
