package tasks_test

import (
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
	require.Equal(t, tasks.Changes{IDs: []string{"a", "b"}, Last: start.Last + 4}, all)
	part, err := st.Changes(ctx, start.Last+1, 2)
	require.NoError(t, err)
	require.Equal(t, tasks.Changes{IDs: []string{"b", "a"}, Last: start.Last + 3, More: true}, part)
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
