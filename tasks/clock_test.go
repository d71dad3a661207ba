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

// TestJanitorRefusesStep: a clock that jumps ahead makes nothing old, and what isn't done is spared whatever the clock says.
func TestJanitorRefusesStep(t *testing.T) {
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
	type cleaned struct {
		n   int
		err error
	}
	results, next := make(chan cleaned), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- st.RunJanitor(ctx, tasks.Janitor{Every: time.Millisecond, OnCleanup: func(n int, err error) {
			results <- cleaned{n, err}
			<-next
		}})
	}()
	require.Equal(t, cleaned{}, <-results)
	h.wall.Add(8 * 24 * time.Hour)
	next <- struct{}{}
	r := <-results
	require.ErrorIs(t, r.err, tasks.ErrClockStep)
	require.Zero(t, r.n)
	h.wall.Add(-8 * 24 * time.Hour) // somebody has noticed
	next <- struct{}{}
	require.Equal(t, cleaned{}, <-results)
	h.pass(8 * 24 * time.Hour)
	next <- struct{}{}
	require.Equal(t, cleaned{n: 2}, <-results, "time has passed; what isn't done is spared")
	cancel()
	close(next)
	require.NoError(t, <-done)
	list, err := st.List(t.Context(), tasks.Query{})
	require.NoError(t, err)
	require.Len(t, list, 2)
}
