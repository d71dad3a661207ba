package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/memory"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestRunDrains: handlers that run when the context is done have their grace period, and no task is claimed any more.
func TestRunDrains(t *testing.T) {
	t.Parallel()
	for _, grace := range []time.Duration{time.Hour, 0} {
		t.Run(fmt.Sprint("grace=", grace), func(t *testing.T) {
			st, _, _ := open(t)
			ctx, cancel := context.WithCancel(t.Context())
			require.NoError(t, st.Create(ctx, "a", tasks.Form))
			started, finish := make(chan struct{}), make(chan struct{})
			handlers := map[tasks.Type]tasks.Handler{tasks.Form: func(ctx context.Context, _ tasks.Info) (any, error) {
				close(started)
				select {
				case <-finish:
					return "finished", ctx.Err()
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}}
			done := make(chan error)
			go func() { done <- st.Run(ctx, handlers, 2, tasks.Grace(grace)) }()
			<-started
			cancel()
			if grace > 0 {
				require.NoError(t, st.Create(t.Context(), "b", tasks.Form))
				close(finish)
			}
			require.NoError(t, <-done)
			info, err := st.Status(t.Context(), "a")
			require.NoError(t, err)
			if grace == 0 {
				require.Equal(t, tasks.Pending, info.Status)
				require.Equal(t, "context canceled", info.Error)
				return
			}
			require.Equal(t, tasks.Completed, info.Status)
			info, err = st.Status(t.Context(), "b")
			require.NoError(t, err)
			require.Equal(t, tasks.Pending, info.Status)
		})
	}
}

// TestRunLease: a lease is extended while the handler runs; when it is lost, the handler is told.
func TestRunLease(t *testing.T) {
	t.Parallel()
	st, c, path := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	started, lost := make(chan struct{}), make(chan error, 1)
	handlers := map[tasks.Type]tasks.Handler{tasks.Form: func(ctx context.Context, _ tasks.Info) (any, error) {
		close(started)
		<-ctx.Done()
		lost <- context.Cause(ctx)
		return "void", nil
	}}
	done := make(chan error)
	go func() { done <- st.Run(ctx, handlers, 1, tasks.LeaseTime(time.Second)) }()
	<-started
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer conn.Close()
	q, _, err := conn.Prepare("SELECT lease_until FROM task_leases")
	require.NoError(t, err)
	defer q.Close()
	until := func() time.Time {
		defer q.Reset()
		q.Step()
		return time.UnixMilli(q.ColumnInt64(0)).UTC()
	}
	require.Equal(t, c.Now().Add(time.Second), until())
	c.Add(600 * time.Millisecond)
	extended := c.Now().Add(time.Second)
	require.Eventually(t, func() bool { return until().Equal(extended) }, 10*time.Second, 10*time.Millisecond)
	c.Add(600 * time.Millisecond)
	_, err = st.Claim(ctx, time.Second)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	require.NoError(t, st.Update(ctx, "a", tasks.Completed, "by hand"))
	require.ErrorIs(t, <-lost, tasks.ErrLeaseLost)
	cancel()
	require.NoError(t, <-done)
	res, err := st.Result(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, `"by hand"`, string(res.Raw))
}

// TestRunClosed: it ends with an error when the store is closed.
func TestRunClosed(t *testing.T) {
	st, _, _ := open(t)
	done := make(chan error)
	f := func(context.Context, tasks.Info) (any, error) { return nil, nil }
	go func() { done <- st.Run(t.Context(), map[tasks.Type]tasks.Handler{tasks.Form: f}, 1) }()
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	_, err := st.Wait(t.Context(), "a")
	require.NoError(t, err)
	require.NoError(t, st.Close())
	require.ErrorIs(t, <-done, tasks.ErrClosed)
}

// hasty is a backend whose tasks are deleted by others as soon as they are claimed.
type hasty struct{ tasks.Backend }

func (b hasty) Claim(ctx context.Context, q tasks.ClaimQuery) (tasks.Claimed, error) {
	c, err := b.Backend.Claim(ctx, q)
	if err == nil {
		err = b.Write(ctx, []tasks.Change{{Op: tasks.OpDelete, ID: c.ID}}, false)[0]
	}
	return c, err
}

// TestRunLostAtOnce: a handler is told of what has happened before it began, too.
func TestRunLostAtOnce(t *testing.T) {
	st, err := tasks.New(hasty{memory.New(time.Now).Backend()})
	require.NoError(t, err)
	defer st.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	running, stop := context.WithCancel(ctx)
	handlers := map[tasks.Type]tasks.Handler{tasks.Form: func(handling context.Context, _ tasks.Info) (any, error) {
		defer stop()
		select {
		case <-handling.Done():
			if cause := context.Cause(handling); !errors.Is(cause, tasks.ErrLeaseLost) {
				t.Error(cause)
			}
		case <-ctx.Done():
			t.Error("the handler isn't told")
		}
		return "void", nil
	}}
	require.NoError(t, st.Run(running, handlers, 1, tasks.LeaseTime(tasks.MaxLease)))
}

// TestRunClosedWhileHandling: closing the store ends handlers, whose results can't be stored any more.
func TestRunClosedWhileHandling(t *testing.T) {
	st, _, _ := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	begun, told, done := make(chan struct{}), make(chan error, 1), make(chan error, 1)
	handlers := map[tasks.Type]tasks.Handler{tasks.Form: func(handling context.Context, _ tasks.Info) (any, error) {
		close(begun)
		<-handling.Done()
		told <- context.Cause(handling)
		return "void", nil
	}}
	go func() { done <- st.Run(ctx, handlers, 1, tasks.LeaseTime(tasks.MaxLease)) }()
	<-begun
	require.NoError(t, st.Close())
	require.ErrorIs(t, <-told, tasks.ErrClosed)
	cancel()
	if err := <-done; err != nil {
		require.ErrorIs(t, err, tasks.ErrClosed)
	}
}
