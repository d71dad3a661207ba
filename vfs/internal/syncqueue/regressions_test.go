package syncqueue

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each test here is of a bug that was found by other tests, and is named after what went wrong.

// Answer: where several come at once, urgent ones come first.
// Those of the running sync come before the urgent ones that wait behind it.
func TestUrgentNotFirstAfterFailure(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Waiter: "a", Seq: 1}, 0)
	requireNext(t, q, WAL, 0)
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Waiter: "urgent", Seq: 2, Urgent: true}, 0)
	require.Equal(t, []string{"urgent: disk failed", "a: disk failed"}, told(q.Done(running(q, WAL), errDisk, 1)))
}

// The same where a sync of the database file closes a generation.
func TestUrgentNotFirstAfterClear(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	q.Wrote(DB, 1)
	ask(t, q, Request[string]{Waiter: "a", File: DB, Seq: 1}, 0)
	ask(t, q, Request[string]{Waiter: "urgent", Seq: 1, Urgent: true}, 0)
	q.Restart(0)
	requireNext(t, q, DB, 0)
	require.Equal(t, []string{"urgent", "a"}, told(q.Done(running(q, DB), nil, 1)))
}

// A sync without a job, or the end of a generation, that covers only some of the commits
// makes the window forget all of them.
func TestWindowForgetsCommits(t *testing.T) {
	t.Parallel()
	t.Run("synced", func(t *testing.T) {
		t.Parallel()
		q := New[string](Config{})
		q.Wrote(WAL, 1)
		q.Wrote(WAL, 1)
		q.Acknowledged(2, 5)
		q.Synced(WAL, 1, 6) // it started before the second write
		commits, _ := q.Unsynced()
		require.EqualValues(t, 1, commits)
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		q := New[string](Config{})
		q.Wrote(WAL, 1)
		q.Wrote(DB, 1)
		q.Restart(0)
		q.Wrote(WAL, 1)
		q.Acknowledged(2, 5) // in the new generation
		q.Synced(DB, 1, 6)   // closes the old one
		commits, _ := q.Unsynced()
		require.EqualValues(t, 1, commits)
	})
}

// Unsynced: when the first of them was acknowledged.
// A commit that the running sync covers may be acknowledged after one that it doesn't.
func TestUnsyncedFirst(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	_, err := q.Start(WAL, 0)
	require.NoError(t, err)
	q.Wrote(WAL, 1)
	q.Acknowledged(2, 5)
	q.Acknowledged(1, 6)
	commits, first := q.Unsynced()
	require.EqualValues(t, 2, commits)
	require.Equal(t, Time(5), first)
}

// H5: no later sync can vouch for the bytes. Synced does, so that Pending says that nothing is.
func TestSyncedAfterFailure(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(DB, 1)
	_, err := q.Start(DB, 0)
	require.NoError(t, err)
	q.Done(running(q, DB), errDisk, 1)
	q.Synced(DB, 1, 2)
	require.Zero(t, q.Durable(DB))
	require.EqualValues(t, 1, q.Pending(DB))
}

// Rule 8: for good. Fail keeps the first error; a second sync that fails replaces it.
func TestSecondFailureReplacesFirst(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	for _, file := range files {
		_, err := q.Start(file, 0)
		require.NoError(t, err)
	}
	q.Done(running(q, WAL), errDisk, 1)
	q.Done(running(q, DB), errors.New("another"), 2)
	require.Equal(t, errDisk, q.Failed())
}

// Request.Deadline: when the sync must start at the latest.
// A request behind one of an earlier generation waits for the deadline of that.
func TestDeadlineBehindOlderGeneration(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	_, err := q.Start(DB, 0)
	require.NoError(t, err)
	q.Done(running(q, DB), nil, 0)
	q.Wrote(DB, 1)
	ask(t, q, Request[string]{Waiter: "a", File: DB, Seq: 1, Deadline: 50}, 1)
	q.Restart(2)
	q.Wrote(DB, 1)
	ask(t, q, Request[string]{Waiter: "b", File: DB, Seq: 2, Deadline: 10}, 3)
	due, _ := q.Due(DB)
	require.Equal(t, Time(10), due)
}
