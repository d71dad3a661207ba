package syncqueue

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUndone: a sync that didn't take place fails those who wait for it, and nobody else,
// and what it was to cover counts as before.
func TestUndone(t *testing.T) {
	q := New[string](Config{})
	q.Wrote(WAL, 10)
	q.Request(Request[string]{Waiter: "a", File: WAL, Seq: 10}, 0)
	q.Acknowledged(10, 1)
	_, ok := q.Next(WAL, 2)
	require.True(t, ok)
	q.Wrote(WAL, 10)
	q.Acknowledged(20, 3)
	q.Request(Request[string]{Waiter: "b", File: WAL, Seq: 20}, 3)
	answers := q.Undone(running(q, WAL), errDisk, 4)
	require.Equal(t, []Answer[string]{{"a", errDisk}}, answers)
	require.NoError(t, q.Failed())
	require.EqualValues(t, 20, q.Pending(WAL))
	commits, first := q.Unsynced()
	require.EqualValues(t, 2, commits)
	require.EqualValues(t, 1, first)
	job, ok := q.Next(WAL, 5)
	require.True(t, ok)
	require.EqualValues(t, 20, job.Seq)
	require.Equal(t, []Answer[string]{{"b", nil}}, q.Done(running(q, WAL), nil, 9))
	require.EqualValues(t, 8, q.LongestWindow())
	require.Zero(t, q.Pending(WAL))
	require.Nil(t, q.Undone(running(q, WAL), errDisk, 9))
}
