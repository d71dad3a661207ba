package tasks_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

// TestSettle: what was read is made durable by one sync, and by none where it is durable already.
func TestSettle(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	syncs := func(f func()) uint64 {
		before, err := vfs.Stats(path)
		require.NoError(t, err)
		f()
		after, err := vfs.Stats(path)
		require.NoError(t, err)
		return after.Syncs - before.Syncs
	}
	settle := func() { require.NoError(t, st.Settle(ctx)) }

	require.NoError(t, st.Create(ctx, "durable", tasks.Form))
	for range 20 {
		require.Zero(t, syncs(settle), "the change has waited for its sync")
		_, err := st.Result(ctx, "durable")
		require.NoError(t, err)
	}
	require.NoError(t, st.Create(ctx, "relaxed", tasks.Form, tasks.Relaxed()))
	require.NotZero(t, syncs(settle), "nothing has said that it is durable")
	require.Zero(t, syncs(settle))
	_, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.NotZero(t, syncs(settle), "claims don't wait for durability")
	require.Zero(t, syncs(settle))
	stats, err := vfs.Stats(path)
	require.NoError(t, err)
	require.Zero(t, stats.PendingCommits)

	// What another one has committed, whoever that is, isn't known to be durable either.
	sqlFile(t, path, "UPDATE tasks SET updated_at=1 WHERE id='relaxed'")
	require.NotZero(t, syncs(settle))
	require.Zero(t, syncs(settle))
	// A log that was emptied says nothing.
	sqlFile(t, path, "DELETE FROM task_changes")
	require.NotZero(t, syncs(settle))
	require.Zero(t, syncs(settle))

	// Neither does a file that is opened: a process may have left it that was killed.
	other, err := tasks.Open(ctx, path)
	require.NoError(t, err)
	defer other.Close()
	require.NotZero(t, syncs(func() { require.NoError(t, other.Settle(ctx)) }))
	require.NoError(t, st.Close())
	require.ErrorIs(t, st.Settle(ctx), tasks.ErrClosed)
}

// TestChanges: the log tells which tasks have changed, in order, whoever has changed them, and what isn't known any more.
func TestChanges(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	start, err := st.Changes(ctx, -1, 1)
	require.NoError(t, err)
	require.Empty(t, start.IDs)
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	sqlFile(t, path, "UPDATE tasks SET updated_at=1 WHERE id='a'")
	require.NoError(t, st.Delete(ctx, "b"))
	all, err := st.Changes(ctx, start.Last, 1000)
	require.NoError(t, err)
	require.Equal(t, tasks.Changes{IDs: []string{"a", "b"}, Numbers: []int64{start.Last + 3, start.Last + 4}, Last: start.Last + 4}, all)
	part, err := st.Changes(ctx, start.Last+1, 2)
	require.NoError(t, err)
	require.Equal(t, tasks.Changes{IDs: []string{"b", "a"}, Numbers: []int64{start.Last + 2, start.Last + 3}, Last: start.Last + 3, More: true}, part)
	none, err := st.Changes(ctx, all.Last, 1)
	require.NoError(t, err)
	require.Equal(t, tasks.Changes{Last: all.Last}, none)
	ahead, err := st.Changes(ctx, all.Last+1, 1)
	require.NoError(t, err)
	require.Equal(t, tasks.Changes{Last: all.Last, Lost: true}, ahead)
	sqlFile(t, path, "DELETE FROM task_changes WHERE seq<3")
	lost, err := st.Changes(ctx, start.Last, 1000)
	require.NoError(t, err)
	require.True(t, lost.Lost)
	for _, limit := range []int{0, 1001} {
		_, err = st.Changes(ctx, 0, limit)
		require.ErrorIs(t, err, tasks.ErrInvalid)
	}
}

// TestSettledLooks: what a look and the durability of what it finds cost together is one statement, of one task, found or not,
// and one transaction, of several; and it returns only what is durable, or the error that it isn't.
func TestSettledLooks(t *testing.T) {
	ctx := t.Context()
	m := newMeter()
	path := filepath.Join(t.TempDir(), "t.db")
	st, err := tasks.Open(ctx, path, m.option())
	require.NoError(t, err)
	defer st.Close()
	stats := func() vfs.Statistics {
		s, err := vfs.Stats(path)
		require.NoError(t, err)
		return s
	}
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Update(ctx, "a", tasks.Completed, 1))
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	looks := map[string]func(){
		"status": func() {
			for id, want := range map[string]error{"a": nil, "none": tasks.ErrNotFound, "": tasks.ErrInvalid} {
				info, err := st.StatusSettled(ctx, id)
				require.ErrorIs(t, err, want)
				if want == nil {
					plain, err := st.Status(ctx, id)
					require.NoError(t, err)
					require.Equal(t, plain, info)
				}
			}
		},
		"result": func() {
			for id, want := range map[string]error{"a": nil, "none": tasks.ErrNotFound, "": tasks.ErrInvalid} {
				res, err := st.ResultSettled(ctx, id)
				require.ErrorIs(t, err, want)
				if want == nil {
					plain, err := st.Result(ctx, id)
					require.NoError(t, err)
					require.Equal(t, plain, res)
				}
			}
		},
	}
	for _, look := range looks {
		look()
	}
	for name, cost := range map[string]struct {
		look func() error
		want int // statements
	}{
		"status":         {func() error { _, err := st.StatusSettled(ctx, "a"); return err }, 1},
		"no status":      {func() error { _, err := st.StatusSettled(ctx, "none"); return notFoundIsFine(err) }, 1},
		"result":         {func() error { _, err := st.ResultSettled(ctx, "a"); return err }, 1},
		"no result":      {func() error { _, err := st.ResultSettled(ctx, "none"); return notFoundIsFine(err) }, 1},
		"several":        {func() error { _, errs := st.StatusesSettled(ctx, []string{"a", "b"}); return errors.Join(errs...) }, 2 + 2 + 2},
		"apart, a check": {func() error { _, err := st.Status(ctx, "a"); return errors.Join(err, st.Settle(ctx)) }, 2},
	} {
		before := stats()
		_, _, others, what := m.during(func() { require.NoError(t, cost.look(), name) })
		require.Equal(t, cost.want, others, "%s: %v", name, what)
		require.Equal(t, before.Syncs, stats().Syncs, name)
	}

	// What isn't durable is made so first, whoever has changed it, and also if it is that there is no task any more.
	for _, look := range []func(id string) error{
		func(id string) error { _, err := st.StatusSettled(ctx, id); return notFoundIsFine(err) },
		func(id string) error { _, err := st.ResultSettled(ctx, id); return notFoundIsFine(err) },
		func(id string) error {
			_, errs := st.StatusesSettled(ctx, []string{"a", id})
			return notFoundIsFine(errors.Join(errs...))
		},
	} {
		for _, c := range []struct {
			name, id string
			change   func()
		}{
			{"created", "own", func() { require.NoError(t, st.Create(ctx, "own", tasks.Form, tasks.Relaxed())) }},
			{"changed", "own", func() { require.NoError(t, st.Update(ctx, "own", tasks.Completed, 1, tasks.Relaxed())) }},
			{"deleted", "own", func() { require.NoError(t, st.Delete(ctx, "own", tasks.Relaxed())) }},
			{"by another", "b", func() { sqlFile(t, path, "UPDATE tasks SET updated_at=updated_at+1 WHERE id='b'") }},
			{"the log was emptied", "b", func() { sqlFile(t, path, "DELETE FROM task_changes") }},
			{"after that", "b", func() { require.NoError(t, st.Update(ctx, "b", tasks.Error, nil, tasks.Force(), tasks.Relaxed())) }},
		} {
			require.NoError(t, st.Settle(ctx))
			before := stats()
			c.change()
			require.NoError(t, look(c.id), c.name)
			require.Zero(t, stats().PendingCommits, c.name)
			require.Greater(t, stats().Syncs, before.Syncs, c.name)
		}
	}
	require.NoError(t, st.Close())
	_, err = st.StatusSettled(ctx, "a")
	require.ErrorIs(t, err, tasks.ErrClosed)
	_, err = st.ResultSettled(ctx, "a")
	require.ErrorIs(t, err, tasks.ErrClosed)

	// Who can't say that anything is durable says so, and doesn't tell what it has seen.
	reader, err := tasks.Open(ctx, path, tasks.ReadOnly())
	require.NoError(t, err)
	defer reader.Close()
	info, err := reader.StatusSettled(ctx, "a")
	require.ErrorIs(t, err, tasks.ErrReadOnly)
	require.Zero(t, info)
	res, err := reader.ResultSettled(ctx, "a")
	require.ErrorIs(t, err, tasks.ErrReadOnly)
	require.Zero(t, res)
}

func notFoundIsFine(err error) error {
	if errors.Is(err, tasks.ErrNotFound) {
		return nil
	}
	return err
}
