package tasks_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// tick opens another store with somebody who waits, whose looks tell that time has passed.
func tick(t *testing.T) *meter {
	t.Helper()
	m := newMeter()
	st, _, _ := open(t, m.option())
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	go st.Wait(t.Context(), "a")
	m.looks(t, 1)
	return m
}

// TestIdleStore: a store that nobody waits at does nothing, also after somebody has waited;
// and however often somebody begins to wait, one connection looks.
func TestIdleStore(t *testing.T) {
	t.Parallel()
	m, c := newMeter(), tick(t)
	st, _, _ := open(t, m.option())
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	_, err := st.Status(t.Context(), "a")
	require.NoError(t, err)
	connects, _, _, _ := m.during(func() {
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := st.Wait(ctx, "a")
				done <- err
			}()
			m.looks(t, 2)
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			c.looks(t, 3) // so that it has ended
		}
	})
	require.LessOrEqual(t, connects, 1)
	connects, looks, others, what := m.during(func() { c.looks(t, 5) })
	require.Equal(t, []int{0, 0, 0}, []int{connects, looks, others}, "%v", what)
}

// TestIdleRun: a worker without a task looks for one four times a second, by the connections that are open.
func TestIdleRun(t *testing.T) {
	t.Parallel()
	m := newMeter()
	st, _, _ := open(t, m.option())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) { return 1, nil }}, 4)
	}()
	m.looks(t, 3)
	start := time.Now()
	connects, looks, others, what := m.during(func() { m.looks(t, 10) })
	passed := time.Since(start)
	cancel()
	require.NoError(t, <-ended)
	require.Zero(t, connects)
	require.LessOrEqual(t, looks, int(passed/tasks.ChangePoll)+2)
	claims := int(passed/(250*time.Millisecond)) + 2
	require.LessOrEqual(t, others, 12*claims, "%v", what)
}

// TestIdleHandler: a handler that runs costs a look each 100 ms as well.
func TestIdleHandler(t *testing.T) {
	t.Parallel()
	m := newMeter()
	st, _, _ := open(t, m.option())
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	ctx, cancel := context.WithCancel(t.Context())
	ended, runs := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(ctx context.Context, _ tasks.Info) (any, error) {
			close(runs)
			<-ctx.Done()
			return nil, ctx.Err()
		}}, 1, tasks.Grace(0))
	}()
	<-runs
	m.looks(t, 3)
	connects, _, others, what := m.during(func() { m.looks(t, 10) })
	cancel()
	require.NoError(t, <-ended)
	require.Zero(t, connects)
	require.Zero(t, others, "%v", what)
}

// TestWaitersCostWritersNothing: what a Create does doesn't depend on how many wait for other tasks,
// and nobody looks at a task that rests, whichever store the Create is made by.
func TestWaitersCostWritersNothing(t *testing.T) {
	t.Parallel()
	waiters, creates := sized(2000, 300), sized(200, 40)
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprint("same=", same), func(t *testing.T) {
			cost := func(waiters int) (others int, what []string) {
				m := newMeter()
				st, _, path := open(t, m.option())
				by := st
				if !same {
					other, err := tasks.Open(t.Context(), path)
					require.NoError(t, err)
					defer other.Close()
					by = other
				}
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				defer wg.Wait()
				defer cancel()
				first := make(chan struct{}, waiters)
				var all []tasks.NewTask
				for i := range waiters {
					all = append(all, tasks.NewTask{ID: fmt.Sprint(i), Type: tasks.Form})
				}
				require.Nil(t, st.CreateMany(ctx, all, tasks.Relaxed()))
				for i := range waiters {
					wg.Go(func() {
						for range st.Watch(ctx, fmt.Sprint(i)) {
							first <- struct{}{}
						}
					})
				}
				for range waiters {
					<-first
				}
				for rests := false; !rests; { // they are told of what was created before they looked
					_, _, others, _ := m.during(func() { m.looks(t, 2) })
					rests = others == 0
				}
				_, looks, others, what := m.during(func() {
					for i := range creates {
						require.NoError(t, by.Create(ctx, fmt.Sprint("new", i), tasks.Form))
					}
					m.looks(t, 2)
				})
				return others - 3*looks, what // a look that finds something reads the log
			}
			few, _ := cost(1)
			many, what := cost(waiters)
			require.LessOrEqual(t, many, few+20, "%v", what)
		})
	}
}

// TestWaitTold: of tasks that two stores change at the same time, each is told to those who wait at either.
func TestWaitTold(t *testing.T) {
	t.Parallel()
	n := sized(300, 60)
	a, _, path := open(t)
	b, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range n {
		require.NoError(t, a.Create(ctx, fmt.Sprint(i), tasks.Form, tasks.Relaxed()))
	}
	var waits, writes sync.WaitGroup
	for k := range 3 * n {
		st := []*tasks.Store{a, b, a}[k/n]
		waits.Go(func() {
			if _, err := st.Wait(ctx, fmt.Sprint(k%n)); err != nil {
				t.Error(err)
			}
		})
	}
	for k := range 2 {
		writes.Go(func() {
			st := []*tasks.Store{a, b}[k]
			for i := k; i < n; i += 2 {
				if err := st.Update(ctx, fmt.Sprint(i), tasks.Processing, nil, tasks.Relaxed()); err != nil {
					t.Error(err)
				}
				if err := st.Update(ctx, fmt.Sprint(i), tasks.Completed, i, tasks.Relaxed()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writes.Wait()
	waits.Wait()
}

// TestWaitBehindTheLog: who waits is told also if so much was changed between two looks that the log has lost it.
func TestWaitBehindTheLog(t *testing.T) {
	t.Parallel()
	st, _, path := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	db := openSQL(t, path)
	for r, err := range st.Watch(ctx, "a") {
		require.NoError(t, err)
		if r.Status.Final() {
			break
		}
		_, err := db.Exec(`BEGIN IMMEDIATE; UPDATE tasks SET status='completed' WHERE id='a';
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<12000)
			INSERT INTO task_changes(id) SELECT 'n' || i FROM n; COMMIT`) // as so many changes would
		require.NoError(t, err)
	}
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM task_changes").Scan(&n))
	require.Less(t, n, 11000, "the log is bounded")
	// An entry that somebody has taken away is a reason to look as well.
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	for r, err := range st.Watch(ctx, "b") {
		require.NoError(t, err)
		if r.Status.Final() {
			break
		}
		_, err := db.Exec("BEGIN IMMEDIATE; UPDATE tasks SET status='completed' WHERE id='b'; DELETE FROM task_changes; COMMIT")
		require.NoError(t, err)
	}
}

// TestReadersBound: however many read at once, the store opens so many connections.
// The others wait, with their context, and until the store is closed.
func TestReadersBound(t *testing.T) {
	t.Parallel()
	m := newMeter()
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "t.db"), m.option(), tasks.Readers(3))
	require.NoError(t, err)
	defer st.Close()
	rows := sized(1000, 100)
	var all []tasks.NewTask
	for i := range rows {
		all = append(all, tasks.NewTask{ID: fmt.Sprint(i), Type: tasks.Form})
	}
	require.Nil(t, st.CreateMany(t.Context(), all, tasks.Relaxed()))
	var wg sync.WaitGroup
	connects, _, _, _ := m.during(func() {
		for range sized(300, 60) {
			wg.Go(func() {
				list, err := st.List(t.Context(), tasks.Query{Limit: 1000})
				if err != nil || len(list) != rows {
					t.Error(len(list), err)
				}
			})
		}
		wg.Wait()
	})
	require.LessOrEqual(t, connects, 3)
	for _, n := range []int{0, -1, 1001} {
		_, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "t.db"), tasks.Readers(n))
		require.ErrorIs(t, err, tasks.ErrInvalid)
	}
}
