package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/memory"
	"github.com/stretchr/testify/require"
)

// TestRunTimeout: an attempt that takes too long is cancelled and fails, by task, type and default.
func TestRunTimeout(t *testing.T) {
	st, _, _ := open(t, tasks.MaxAttempts(1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, st.Create(ctx, "task", tasks.FormFilling, tasks.TaskTimeout(time.Millisecond)))
	require.NoError(t, st.Create(ctx, "type", tasks.Form))
	require.NoError(t, st.Create(ctx, "default", tasks.Document))
	f := func(ctx context.Context, _ tasks.Info) (any, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() {
		done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: f, tasks.Document: f, tasks.FormFilling: f}, 1,
			tasks.Timeout(2*time.Millisecond, tasks.Form), tasks.Timeout(3*time.Millisecond), tasks.Timeout(time.Hour, tasks.FormFilling))
	}()
	for i, id := range []string{"task", "type", "default"} {
		r, err := st.Wait(ctx, id)
		require.NoError(t, err)
		require.Equal(t, tasks.Error, r.Status)
		require.Contains(t, r.Error, fmt.Sprintf("%v after %dms", tasks.ErrAttemptTimeout, i+1))
	}
	cancel()
	require.NoError(t, <-done)
}

// TestRunStuck: a handler that ignores its context loses its slot and its attempt, is reported, and holds up neither
// other tasks nor the end of Run. What it returns one day is void.
func TestRunStuck(t *testing.T) {
	stuck := make(chan tasks.StuckInfo, 10)
	var log lockedLog
	st, _, _ := open(t, tasks.MaxAttempts(1), tasks.WithHooks(tasks.Hooks{Stuck: func(_ context.Context, i tasks.StuckInfo) { stuck <- i }}),
		tasks.Logger(slog.New(slog.NewTextHandler(&log, nil))))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release := make(chan struct{})
	defer close(release)
	require.NoError(t, st.Create(ctx, "hangs", tasks.Form))
	handler := func(_ context.Context, i tasks.Info) (any, error) {
		if i.ID != "good" {
			<-release
		}
		return i.ID, nil
	}
	done := make(chan error, 1)
	go func() {
		done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handler}, 1,
			tasks.Timeout(time.Millisecond), tasks.HangTime(time.Millisecond), tasks.Grace(0))
	}()
	i := <-stuck
	require.Equal(t, "hangs", i.Task.ID)
	require.ErrorIs(t, i.Cause, tasks.ErrAttemptTimeout)
	require.False(t, i.Returned)
	r, err := st.Wait(ctx, "hangs")
	require.NoError(t, err)
	require.Equal(t, tasks.Error, r.Status)
	require.Contains(t, r.Error, "doesn't return")
	require.NoError(t, st.Create(ctx, "good", tasks.Form, tasks.TaskTimeout(24*time.Hour)))
	_, err = st.Wait(ctx, "good") // it has the only slot
	require.NoError(t, err)
	// One that has no timeout: the end of Run doesn't hang for it either.
	require.NoError(t, st.Create(ctx, "hangs too", tasks.Form, tasks.TaskTimeout(24*time.Hour)))
	for info, err := range st.Watch(ctx, "hangs too") {
		require.NoError(t, err)
		if info.Status == tasks.Processing {
			break
		}
	}
	cancel()
	require.NoError(t, <-done)
	i = <-stuck
	require.Equal(t, "hangs too", i.Task.ID)
	require.ErrorIs(t, i.Cause, tasks.ErrShutdown)
	info, err := st.Status(t.Context(), "hangs too")
	require.NoError(t, err)
	require.Equal(t, tasks.Pending, info.Status, "given back")
	require.Equal(t, 1, info.Uncounted)
	release <- struct{}{}
	i = <-stuck
	require.True(t, i.Returned)
	for _, text := range []string{"handler is stuck", "task=hangs", "attempt failed"} {
		require.Contains(t, log.String(), text)
	}
}

// lockedLog is a writer that may be read while others write.
type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestRunGivesBack: an orderly shutdown past its grace costs no attempt, however often.
func TestRunGivesBack(t *testing.T) {
	st, _, _ := open(t, tasks.MaxAttempts(1))
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	for n := range 6 {
		ctx, cancel := context.WithCancel(t.Context())
		handler := func(ctx context.Context, _ tasks.Info) (any, error) {
			cancel()
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		require.NoError(t, st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handler}, 1, tasks.Grace(0)))
		info, err := st.Status(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, tasks.Pending, info.Status)
		require.Equal(t, n+1, info.Uncounted)
		require.Equal(t, n+1, info.Attempts)
		require.True(t, info.RunAt.IsZero())
	}
}

// flaky is a backend some of whose calls fail, as those of a full disk do.
type flaky struct {
	tasks.Backend
	claims, finishes atomic.Int32 // how many fail
	err              error
}

func (b *flaky) Claim(ctx context.Context, q tasks.ClaimQuery) (tasks.Claimed, error) {
	if b.claims.Add(-1) >= 0 {
		return tasks.Claimed{}, b.err
	}
	return b.Backend.Claim(ctx, q)
}

func (b *flaky) Finish(ctx context.Context, o tasks.Outcome, durable bool) error {
	if b.finishes.Add(-1) >= 0 {
		return b.err
	}
	return b.Backend.Finish(ctx, o, durable)
}

// TestRunErrorsPass: an error that passes neither ends Run nor drops what was computed; one that can't pass does.
func TestRunErrorsPass(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	b := &flaky{Backend: memory.New(time.Now).Backend(), err: full}
	b.claims.Store(2)
	b.finishes.Store(3)
	trouble := make(chan tasks.TroubleInfo, 100)
	st, err := tasks.New(b, tasks.WithHooks(tasks.Hooks{Trouble: func(_ context.Context, i tasks.TroubleInfo) { trouble <- i }}))
	require.NoError(t, err)
	defer st.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	var ran atomic.Int32
	handlers := map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) { return ran.Add(1), nil }}
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx, handlers, 1) }()
	r, err := st.Wait(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, tasks.Completed, r.Status)
	require.Equal(t, "1", string(r.Raw), "computed once")
	for range 5 {
		require.ErrorIs(t, (<-trouble).Err, full)
	}
	b.err = fmt.Errorf("%w: torn", tasks.ErrBroken)
	b.claims.Store(1)
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	require.ErrorIs(t, <-done, tasks.ErrBroken)
}

// TestHooks: what happens is told, in order, and middleware is around handlers, the first one outermost.
func TestHooks(t *testing.T) {
	var mu sync.Mutex
	var told []string
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf(format, args...))
	}
	st, c, _ := open(t, tasks.MaxAttempts(1), tasks.WithHooks(tasks.Hooks{}), tasks.WithHooks(tasks.Hooks{
		Created: func(_ context.Context, i tasks.CreatedInfo) { tell("created %s %s", i.ID, i.Status) },
		Claimed: func(_ context.Context, i tasks.ClaimedInfo) { tell("claimed %s after %v", i.Task.ID, i.Waited) },
		AttemptEnded: func(_ context.Context, i tasks.AttemptEndedInfo) {
			tell("ended %s %s %v", i.Task.ID, i.Status, i.Err)
			require.Positive(t, i.Took)
		},
		Finished:  func(_ context.Context, i tasks.FinishedInfo) { tell("finished %s %s %v", i.ID, i.Status, i.Cancelled) },
		LeaseLost: func(_ context.Context, i tasks.LeaseLostInfo) { tell("lost %s", i.Task.ID) },
		CacheHit:  func(_ context.Context, i tasks.CacheHitInfo) { tell("hit %s", i.Key) },
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, st.Warm(ctx, tasks.Form, nil, 1, tasks.Key("k")))
	_, err := st.Do(ctx, tasks.Form, nil, never(t), tasks.Key("k"))
	require.NoError(t, err)
	for _, id := range []string{"good", "bad", "cancelled"} {
		require.NoError(t, st.Create(ctx, id, tasks.Form))
	}
	c.Add(time.Second)
	around := func(name string) func(tasks.Handler) tasks.Handler {
		return func(next tasks.Handler) tasks.Handler {
			return func(ctx context.Context, i tasks.Info) (any, error) {
				tell("%s(", name)
				defer tell(")")
				return next(ctx, i)
			}
		}
	}
	handler := func(ctx context.Context, i tasks.Info) (any, error) {
		switch i.ID {
		case "bad":
			return nil, errors.New("why")
		case "cancelled":
			defer cancel()
			require.NoError(t, st.Cancel(context.WithoutCancel(ctx), i.ID))
			<-ctx.Done()
		}
		return 1, nil
	}
	require.NoError(t, st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handler}, 1, tasks.Middleware(around("a"), around("b"))))
	require.Equal(t, []string{
		"hit k", "created good pending", "created bad pending", "created cancelled pending",
		"claimed good after 1s", "a(", "b(", ")", ")", "ended good completed <nil>", "finished good completed false",
		"claimed bad after 1s", "a(", "b(", ")", ")", "ended bad error why", "finished bad error false",
		"claimed cancelled after 1s", "a(", "b(", "finished cancelled error true", ")", ")", "lost cancelled",
	}, told)
}

// TestRunInput: handlers get what the task was created with.
func TestRunInput(t *testing.T) {
	st, _, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type scan struct{ Name string }
	require.NoError(t, st.Create(ctx, "a", tasks.Form, tasks.Input(scan{"größe"})))
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	require.NoError(t, st.Create(ctx, "c", tasks.Form, tasks.Input("no scan")))
	done := make(chan error, 1)
	go func() {
		done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(ctx context.Context, i tasks.Info) (any, error) {
			var in scan
			err := tasks.DecodeInput(ctx, &in)
			if i.ID == "b" {
				require.ErrorIs(t, err, tasks.ErrNoInput)
				return "none", nil
			}
			return in.Name, err
		}}, 1)
	}()
	for id, want := range map[string]string{"a": `"größe"`, "b": `"none"`, "c": ""} {
		r, err := st.Wait(ctx, id)
		require.NoError(t, err)
		require.Equal(t, want, string(r.Raw))
		require.Equal(t, 1, r.Attempts, "what can't be decoded is permanent")
	}
	cancel()
	require.NoError(t, <-done)
}
