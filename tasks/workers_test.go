package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestClaimOnce: workers of two stores are handed out each task once.
func TestClaimOnce(t *testing.T) {
	t.Parallel()
	st, c, path := open(t)
	other, err := tasks.Open(t.Context(), path, tasks.Clock(c.Now))
	require.NoError(t, err)
	defer other.Close()
	ctx := t.Context()
	var list []tasks.NewTask
	for i := range 200 {
		list = append(list, tasks.NewTask{ID: fmt.Sprint(i), Type: []tasks.Type{tasks.Document, tasks.Form}[i%2]})
	}
	require.Nil(t, st.CreateMany(ctx, list))
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := []*tasks.Store{st, other}[i%2]
			for {
				c, err := s.Claim(ctx, tasks.MaxLease)
				if errors.Is(err, tasks.ErrNoTask) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got[c.ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, got, 200)
	for id, n := range got {
		require.Equal(t, 1, n, id)
	}
}

func TestClaimOldestFirst(t *testing.T) {
	st, c, _ := open(t)
	ctx := t.Context()
	for _, id := range []string{"c", "b"} {
		require.NoError(t, st.Create(ctx, id, tasks.Form))
	}
	c.Add(time.Second)
	require.NoError(t, st.Create(ctx, "a", tasks.Document))
	require.NoError(t, st.Create(ctx, "d", tasks.Form))
	_, err := st.Claim(ctx, time.Minute, tasks.FormFilling)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	c.Add(1500 * time.Millisecond)
	var order string
	for range 3 {
		task, err := st.Claim(ctx, time.Minute, tasks.Document, tasks.Form)
		require.NoError(t, err)
		require.Equal(t, tasks.Processing, task.Status)
		require.Equal(t, 1, task.Attempts)
		require.Equal(t, c.Now().Truncate(time.Second), task.UpdatedAt)
		require.Equal(t, c.Now().Add(time.Minute), task.LeaseUntil)
		order += task.ID
	}
	require.Equal(t, "cba", order, "first in, first out, also within a second")
	task, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.NoError(t, st.Complete(ctx, task, "done"))
	res, err := st.Result(ctx, "d")
	require.NoError(t, err)
	require.Equal(t, tasks.Completed, res.Status)
	require.Equal(t, `"done"`, string(res.Raw))
	require.ErrorIs(t, st.Complete(ctx, task, "twice"), tasks.ErrLeaseLost)
}

// TestLeaseExpired: a task comes back when its lease has expired, and the old holder can't change it any more.
func TestLeaseExpired(t *testing.T) {
	st, c, _ := open(t, tasks.MaxAttempts(2))
	ctx := t.Context()
	start := c.Now()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	old, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	c.Add(50 * time.Second)
	require.NoError(t, st.Extend(ctx, &old, time.Minute))
	require.Equal(t, c.Now().Add(time.Minute), old.LeaseUntil)
	c.Add(59 * time.Second)
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	c.Add(time.Second)
	// Nobody has taken it yet.
	_, err = st.Claim(ctx, time.Minute, tasks.Document)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	require.NoError(t, st.Extend(ctx, &old, time.Second))
	c.Add(time.Second)
	_, err = st.Claim(ctx, time.Second)
	require.ErrorIs(t, err, tasks.ErrNoTask, "it is taken back, and waits for its backoff")
	ended := c.Now()
	c.Add(2 * time.Second)
	task, err := st.Claim(ctx, time.Second)
	require.NoError(t, err)
	require.Equal(t, 2, task.Attempts)
	require.Equal(t, "lease expired", task.Error)
	require.ErrorIs(t, st.Extend(ctx, &old, time.Minute), tasks.ErrLeaseLost)
	require.ErrorIs(t, st.Complete(ctx, old, "old"), tasks.ErrLeaseLost)
	require.ErrorIs(t, st.Fail(ctx, old, errors.New("old")), tasks.ErrLeaseLost)
	require.NoError(t, st.Extend(ctx, &task, time.Second))

	// It was the last attempt.
	c.Add(time.Second)
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	res, err := st.Result(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, tasks.Error, res.Status)
	require.Nil(t, res.Raw)
	attempts, err := st.Attempts(ctx, "a")
	require.NoError(t, err)
	second := ended.Add(2 * time.Second)
	require.Equal(t, []tasks.Attempt{
		{Number: 1, StartedAt: start, EndedAt: ended, Error: "lease expired"},
		{Number: 2, StartedAt: second, EndedAt: second.Add(time.Second), Error: "lease expired"},
	}, attempts)
}

// TestLeaseLost: a change by others ends the lease, and deleting a task its attempts.
func TestLeaseLost(t *testing.T) {
	st, c, path := open(t)
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	task, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.NoError(t, st.Update(ctx, "a", tasks.Error, nil))
	require.ErrorIs(t, st.Extend(ctx, &task, time.Minute), tasks.ErrLeaseLost)
	require.NoError(t, st.Retry(ctx, "a"))
	require.ErrorIs(t, st.Complete(ctx, task, nil), tasks.ErrLeaseLost)
	c.Add(time.Hour)
	again, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.ErrorIs(t, st.Complete(ctx, task, nil), tasks.ErrLeaseLost)
	attempts, err := st.Attempts(ctx, "a")
	require.NoError(t, err)
	require.Len(t, attempts, 2)
	require.Equal(t, "lease lost", attempts[0].Error)
	require.Zero(t, attempts[1].EndedAt)

	require.NoError(t, st.Delete(ctx, "a"))
	require.ErrorIs(t, st.Fail(ctx, again, errors.New("no")), tasks.ErrLeaseLost)
	_, err = st.Attempts(ctx, "a")
	require.ErrorIs(t, err, tasks.ErrNotFound)
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	_, err = st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	n, err := st.Cleanup(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer conn.Close()
	s, _, err := conn.Prepare("SELECT count(*) FROM task_attempts")
	require.NoError(t, err)
	defer s.Close()
	require.True(t, s.Step())
	require.Zero(t, s.ColumnInt(0))
}

// TestClaimAfterBackoff: every attempt's error is kept, and the next one waits until its time.
func TestClaimAfterBackoff(t *testing.T) {
	wait := func(attempt int) time.Duration { return time.Duration(attempt) * 1500 * time.Millisecond }
	st, c, _ := open(t, tasks.MaxAttempts(3), tasks.Backoff(wait))
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	long := strings.Repeat("x", tasks.MaxErrorText-1) + "üü"
	for i, text := range []string{"first", long, "bad \xff\xff text"} {
		task, err := st.Claim(ctx, time.Minute)
		require.NoError(t, err)
		require.Equal(t, i+1, task.Attempts)
		require.NoError(t, st.Fail(ctx, task, errors.New(text)))
		require.ErrorIs(t, st.Fail(ctx, task, errors.New(text)), tasks.ErrLeaseLost)
		if i < 2 {
			c.Add(wait(i+1) - time.Millisecond)
			_, err = st.Claim(ctx, time.Minute)
			require.ErrorIs(t, err, tasks.ErrNoTask)
			c.Add(time.Millisecond)
		}
	}
	info, err := st.Status(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, tasks.Error, info.Status)
	require.Equal(t, "bad ? text", info.Error)
	attempts, err := st.Attempts(ctx, "a")
	require.NoError(t, err)
	require.Len(t, attempts, 3)
	require.Equal(t, "first", attempts[0].Error)
	require.Equal(t, long[:tasks.MaxErrorText-1], attempts[1].Error)
	require.True(t, utf8.ValidString(attempts[1].Error))
	require.Equal(t, "bad ? text", attempts[2].Error)
	require.Equal(t, 1500*time.Millisecond, attempts[1].StartedAt.Sub(attempts[0].EndedAt))

	// One more attempt, which succeeds.
	require.NoError(t, st.Retry(ctx, "a"))
	task, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.NoError(t, st.Complete(ctx, task, nil, tasks.Relaxed()))
	attempts, err = st.Attempts(ctx, "a")
	require.NoError(t, err)
	require.Len(t, attempts, 4)
	require.Empty(t, attempts[3].Error)
	require.Equal(t, c.Now(), attempts[3].EndedAt)
}

// TestClaimDefaultBackoff: from half of the time to one and a half of it.
func TestClaimDefaultBackoff(t *testing.T) {
	st, c, _ := open(t, tasks.MaxAttempts(1000))
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600, 600} {
		d := time.Duration(seconds) * time.Second
		task, err := st.Claim(ctx, time.Minute)
		require.NoError(t, err, d)
		require.NoError(t, st.Fail(ctx, task, errors.New("again")))
		c.Add(d/2 - time.Millisecond)
		_, err = st.Claim(ctx, time.Minute)
		require.ErrorIs(t, err, tasks.ErrNoTask)
		c.Add(d + time.Millisecond)
	}
}

func TestClaimInput(t *testing.T) {
	st, _, _ := open(t)
	ctx := t.Context()
	f := func(context.Context, tasks.Info) (any, error) { return nil, nil }
	run := func(n int, typ tasks.Type, f tasks.Handler, opts ...tasks.RunOption) error {
		return st.Run(ctx, map[tasks.Type]tasks.Handler{typ: f}, n, opts...)
	}
	claim := func(d time.Duration, types ...tasks.Type) error {
		_, err := st.Claim(ctx, d, types...)
		return err
	}
	openWith := func(o tasks.Option) error {
		_, err := tasks.Open(ctx, filepath.Join(t.TempDir(), "x.db"), o)
		return err
	}
	for i, err := range []error{
		claim(time.Second - 1), claim(24*time.Hour + 1), claim(time.Second, "letter"),
		st.Extend(ctx, &tasks.Claimed{Info: tasks.Info{ID: "a"}}, 0), st.Complete(ctx, tasks.Claimed{}, nil),
		st.Fail(ctx, tasks.Claimed{Info: tasks.Info{ID: "a"}}, nil),
		run(0, tasks.Form, f), run(1, "letter", f), run(1, tasks.Form, nil), st.Run(ctx, nil, 1),
		run(1, tasks.Form, f, tasks.Grace(-1)), run(1, tasks.Form, f, tasks.LeaseTime(0)),
		openWith(tasks.MaxAttempts(0)), openWith(tasks.MaxAttempts(1001)), openWith(tasks.Backoff(nil)),
	} {
		require.ErrorIs(t, err, tasks.ErrInvalid, i)
	}
	_, err := st.Attempts(ctx, "nobody")
	require.ErrorIs(t, err, tasks.ErrNotFound)
}

// TestRun: all tasks end, never more at a time than allowed, and what goes wrong is kept.
func TestRun(t *testing.T) {
	t.Parallel()
	st, _, _ := open(t, tasks.MaxAttempts(1))
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 50 {
		require.NoError(t, st.Create(ctx, fmt.Sprint(i), tasks.Form, tasks.Relaxed()))
	}
	var running, most atomic.Int32
	form := func(_ context.Context, task tasks.Info) (any, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		runtime.Gosched()
		switch task.ID {
		case "1":
			panic("page 1 is blank")
		case "2":
			return nil, errors.New("no pages")
		case "3":
			return func() {}, nil
		case "4":
			runtime.Goexit()
		}
		return task.ID, nil
	}
	done := make(chan error)
	go func() { done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: form}, 4) }()
	for i := range 50 {
		res, err := st.Wait(ctx, fmt.Sprint(i))
		require.NoError(t, err)
		if i == 0 || i > 4 {
			require.Equal(t, tasks.Completed, res.Status)
			require.Equal(t, fmt.Sprintf("%q", res.ID), string(res.Raw))
			continue
		}
		require.Equal(t, tasks.Error, res.Status)
		require.Contains(t, res.Error, []string{"", "panic: page 1 is blank", "no pages", "encoding/json", "ended its goroutine"}[i])
		if i == 1 {
			require.Contains(t, strings.Split(res.Error, "\n")[1], "TestRun")
			require.Less(t, strings.Count(res.Error, "\n"), 25)
		}
	}
	require.LessOrEqual(t, most.Load(), int32(4))
	// An idle worker notices a new task.
	require.NoError(t, st.Create(ctx, "new", tasks.Form))
	_, err := st.Wait(ctx, "new")
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-done)
}

// TestClaimAfterRetry: Retry doesn't wait for what is left of a backoff.
func TestClaimAfterRetry(t *testing.T) {
	st, _, _ := open(t, tasks.Backoff(func(int) time.Duration { return time.Hour }))
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	c, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.NoError(t, st.Fail(ctx, c, errors.New("torn page")))
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	require.NoError(t, st.Update(ctx, "a", tasks.Error, nil))
	require.NoError(t, st.Retry(ctx, "a"))
	_, err = st.Claim(ctx, time.Minute)
	require.NoError(t, err)
}

// TestCrashIsTheProcess: what a process holds ends together, whichever store or call of Run holds it: none of it pays for another.
// Where each store is a process of its own, each task was alone.
func TestCrashIsTheProcess(t *testing.T) {
	t.Parallel()
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprint("apart=", apart), func(t *testing.T) {
			opts := []tasks.Option{tasks.Backoff(func(int) time.Duration { return time.Minute })}
			if apart {
				opts = append(opts, tasks.AsProcess())
			}
			a, clock, path := open(t, opts...)
			b, err := tasks.Open(t.Context(), path, append(opts, tasks.Clock(clock.Now))...)
			require.NoError(t, err)
			defer b.Close()
			ctx := t.Context()
			require.NoError(t, a.Create(ctx, "claimed", tasks.Form))
			_, err = a.Claim(ctx, time.Minute)
			require.NoError(t, err)
			require.NoError(t, a.Create(ctx, "run", tasks.Form))
			running, cancel := context.WithCancel(ctx)
			runs := make(chan struct{})
			done := make(chan error, 1)
			go func() {
				done <- b.Run(running, map[tasks.Type]tasks.Handler{tasks.Form: func(ctx context.Context, _ tasks.Info) (any, error) {
					close(runs)
					<-ctx.Done()
					return nil, ctx.Err()
				}}, 1, tasks.Grace(0), tasks.LeaseTime(time.Hour))
			}()
			<-runs
			clock.Add(time.Hour)
			_, err = a.Claim(ctx, time.Minute, tasks.Document, tasks.Form) // takes both back
			require.ErrorIs(t, err, tasks.ErrNoTask)
			for _, id := range []string{"claimed", "run"} {
				info, err := a.Status(ctx, id)
				require.NoError(t, err)
				require.Equal(t, tasks.Pending, info.Status)
				require.Equal(t, apart, info.Uncounted == 0, id)
			}
			cancel()
			require.NoError(t, <-done)
		})
	}
}
