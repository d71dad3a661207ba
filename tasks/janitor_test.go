package tasks_test

import (
	"context"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestJanitor keeps each status for a time of its own.
func TestJanitor(t *testing.T) {
	st, c, _ := open(t)
	ctx := t.Context()
	for _, s := range []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed, tasks.Error} {
		require.NoError(t, st.Create(ctx, string(s), tasks.Form))
		if s != tasks.Pending {
			require.NoError(t, st.Update(ctx, string(s), s, nil))
		}
	}
	c.Add(48 * time.Hour)
	require.NoError(t, st.Create(ctx, "new", tasks.Form))
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	cleaned, ended := make(chan int), make(chan error)
	go func() {
		ended <- st.RunJanitor(running, tasks.Janitor{
			Every:     time.Millisecond,
			Keep:      map[tasks.Status]time.Duration{tasks.Completed: 24 * time.Hour, tasks.Error: -1, tasks.Pending: 47 * time.Hour},
			OnCleanup: func(n int, err error) { require.NoError(t, err); cleaned <- n },
		})
	}()
	require.Equal(t, 2, <-cleaned)
	require.Equal(t, 0, <-cleaned)
	left, err := st.List(ctx, tasks.Query{})
	require.NoError(t, err)
	require.Len(t, left, 3)
	require.Equal(t, "error", left[0].ID)
	require.Equal(t, "processing", left[1].ID)
	c.Add(6 * 24 * time.Hour)
	for <-cleaned == 0 {
	}
	cancel()
	for open := true; open; {
		select {
		case <-cleaned:
		case err := <-ended:
			require.NoError(t, err)
			open = false
		}
	}
	require.ErrorIs(t, st.RunJanitor(ctx, tasks.Janitor{Every: -1}), tasks.ErrInvalid)
	require.ErrorIs(t, st.RunJanitor(ctx, tasks.Janitor{Keep: map[tasks.Status]time.Duration{"gone": 1}}), tasks.ErrInvalid)
	require.NoError(t, st.Close())
	require.ErrorIs(t, st.RunJanitor(ctx, tasks.Janitor{Every: time.Millisecond}), tasks.ErrClosed)
}
