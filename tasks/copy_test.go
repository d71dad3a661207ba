package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/memory"
	"github.com/stretchr/testify/require"
)

// TestCopy: everything comes over, a copy that broke off is repeated, and a difference is found.
func TestCopy(t *testing.T) {
	ctx := t.Context()
	open := func() *tasks.Store {
		st, err := tasks.Open(ctx, filepath.Join(t.TempDir(), "tasks.db"), tasks.TrackUse())
		require.NoError(t, err)
		t.Cleanup(func() { st.Close() })
		return st
	}
	from, to := open(), open()
	var list []tasks.NewTask
	for i := range 1200 {
		list = append(list, tasks.NewTask{ID: fmt.Sprint(i), Type: tasks.Form, Options: []tasks.CallOption{
			tasks.Input(json.RawMessage(fmt.Sprintf(`{"n":%d.0}`, i))), tasks.Owner("o"), tasks.Priority(i % 3),
			tasks.WithLabels(map[string]string{"n": fmt.Sprint(i % 7)}), tasks.UniqueKey(fmt.Sprint("k", i))}})
	}
	require.Nil(t, from.CreateMany(ctx, list, tasks.Relaxed()))
	for i := range 20 {
		c, err := from.Claim(ctx, time.Hour)
		require.NoError(t, err)
		switch i % 4 {
		case 0:
			require.NoError(t, from.Complete(ctx, c, "done"))
		case 1:
			require.NoError(t, from.Fail(ctx, c, errors.New("why")))
		case 2:
			require.NoError(t, from.Report(ctx, c.ID, tasks.Advance{Done: 1, Note: "x"}))
		}
	}
	_, err := from.Do(ctx, tasks.Form, "in", func(context.Context) (any, error) { return "out", nil })
	require.NoError(t, err)
	require.NoError(t, from.SetLimits(ctx, tasks.Document, tasks.TypeLimits{Running: 3}))
	require.NoError(t, to.Create(ctx, "5", tasks.Document)) // in the way
	require.NoError(t, to.Create(ctx, "other", tasks.Document))

	broken, cancel := context.WithCancel(ctx)
	_, err = tasks.Copy(broken, to, from, tasks.CopyProgress(func(tasks.Copied) { cancel() }))
	require.ErrorIs(t, err, context.Canceled)
	parts := 0
	done, err := tasks.Copy(ctx, to, from, tasks.CopyProgress(func(tasks.Copied) { parts++ }))
	require.NoError(t, err)
	require.Equal(t, 1200, done.Tasks)
	require.Equal(t, 1, done.Results)
	require.Greater(t, parts, 2)
	for _, q := range []tasks.Query{{Limit: 1000}, {Label: [2]string{"n", "3"}, Limit: 1000}, {Owner: "o", Statuses: []tasks.Status{tasks.Processing}}} {
		want, err := from.List(ctx, q)
		require.NoError(t, err)
		q.Types = []tasks.Type{tasks.Form}
		got, err := to.List(ctx, q)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for i := range 30 {
		want, err := from.Attempts(ctx, fmt.Sprint(i))
		require.NoError(t, err)
		got, err := to.Attempts(ctx, fmt.Sprint(i))
		require.NoError(t, err)
		require.Equal(t, want, got)
		in, err := to.Input(ctx, fmt.Sprint(i))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf(`{"n":%d.0}`, i), string(in), "byte by byte")
	}
	limits, err := to.Limits(ctx)
	require.NoError(t, err)
	require.Equal(t, 3, limits[tasks.Document].Running)
	c, err := to.Do(ctx, tasks.Form, "in", func(context.Context) (any, error) { return nil, errors.New("computed") })
	require.NoError(t, err)
	require.Equal(t, `"out"`, string(c.Raw))
	// The order of claims is kept.
	a, err := from.Claim(ctx, time.Minute, tasks.Form)
	require.NoError(t, err)
	b, err := to.Claim(ctx, time.Minute, tasks.Form)
	require.NoError(t, err)
	require.Equal(t, a.ID, b.ID)

	again, err := tasks.Copy(ctx, open(), from)
	require.NoError(t, err)
	back, err := tasks.Copy(ctx, open(), from)
	require.NoError(t, err)
	require.Equal(t, again.Sum, back.Sum)

	mem, err := tasks.New(memory.New(time.Now).Backend())
	require.NoError(t, err)
	_, err = tasks.Copy(ctx, mem, from)
	require.ErrorIs(t, err, tasks.ErrNoTransfer)
}
