package syncqueue

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Rule 6: a request is due at once if the last sync is long ago, else at its deadline.
func TestTriggerMinInterval(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		now, deadline, at Time
	}{
		{"too early", 109, 150, 150},
		{"old enough", 110, 150, 110},
		{"deadline is earlier", 109, 105, 105},
		{"old enough, deadline is earlier", 120, 105, 105},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := New[string](Config{MinInterval: 10})
			q.Start(WAL, 90)
			q.Done(running(q, WAL), nil, 100)
			q.Wrote(WAL, 1)
			ask(t, q, Request[string]{Seq: 1, Deadline: c.deadline}, c.now)
			requireDue(t, q, WAL, c.at)
			require.Equal(t, Job{File: WAL, Seq: 1, Bytes: 1}, unnumbered(requireNext(t, q, WAL, c.at)))
		})
	}
}

// Rule 6: the first sync of all has none to keep a distance from; one behind a running sync has.
func TestTriggerFirstAndBehindRunning(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 10})
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Seq: 1, Deadline: 50}, 3)
	requireDue(t, q, WAL, 3)
	requireNext(t, q, WAL, 3)
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Seq: 2, Deadline: 50}, 3)
	q.Done(running(q, WAL), nil, 4)
	requireDue(t, q, WAL, 50)
}

// Rule 6: a request that merges brings its deadline along.
func TestTriggerEarlierDeadline(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	q.Start(WAL, 0)
	q.Done(running(q, WAL), nil, 0)
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Seq: 1, Deadline: 50}, 1)
	ask(t, q, Request[string]{Seq: 1, Deadline: 60}, 2)
	requireDue(t, q, WAL, 50)
	ask(t, q, Request[string]{Seq: 1, Deadline: 30}, 3)
	requireDue(t, q, WAL, 30)
}

// Rule 6: enough bytes don't wait for a deadline.
func TestTriggerLimit(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	q.Start(WAL, 0)
	q.Done(running(q, WAL), nil, 0)
	q.Wrote(WAL, 99)
	ask(t, q, Request[string]{Seq: 99, Deadline: 50, Limit: 100}, 1)
	requireDue(t, q, WAL, 50)
	q.Wrote(WAL, 1)
	// No limit is none, however much waits.
	ask(t, q, Request[string]{Seq: 100, Deadline: 50}, 2)
	requireDue(t, q, WAL, 50)
	ask(t, q, Request[string]{Seq: 100, Deadline: 50, Limit: 100}, 3)
	requireDue(t, q, WAL, 3)
	// A later one doesn't put it off.
	ask(t, q, Request[string]{Seq: 100, Deadline: 50, Limit: 100}, 4)
	requireDue(t, q, WAL, 3)
	// Bytes that are durable don't count.
	q.Synced(WAL, 100, 5)
	q.Wrote(WAL, 99)
	ask(t, q, Request[string]{Seq: 199, Deadline: 50, Limit: 100}, 6)
	requireDue(t, q, WAL, 50)
}

// Rule 7: a commit waits until no more than limit bytes can be lost.
func TestStallBytes(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 300)
	q.Synced(WAL, 100, 0)
	require.Zero(t, q.Stall(199, 100, 0, 0))
	require.Zero(t, q.Stall(200, 100, 0, 0))
	require.EqualValues(t, 101, q.Stall(201, 100, 0, 0))
	require.EqualValues(t, 200, q.Stall(300, 100, 0, 0))
	// Nothing may be lost: the commit itself has to be durable.
	require.EqualValues(t, 300, q.Stall(300, 0, 0, 0))
	require.Zero(t, q.Stall(100, 0, 0, 0))
	// The sequence that it returns is enough.
	q.Synced(WAL, 200, 0)
	require.Zero(t, q.Stall(300, 100, 0, 0))
}

// Rule 7: a commit waits while an earlier one is late.
func TestStallDeadline(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	q.Start(WAL, 0)
	q.Done(running(q, WAL), nil, 0)
	q.Wrote(WAL, 30)
	require.Zero(t, q.Stall(30, 100, 1000, 0), "nobody is late")
	ask(t, q, Request[string]{Seq: 10, Deadline: 50}, 1)
	ask(t, q, Request[string]{Seq: 10, Deadline: 60}, 2) // the earlier deadline counts
	require.Zero(t, q.Stall(30, 100, 50, 0))
	require.EqualValues(t, 10, q.Stall(30, 100, 51, 0))
	// Whoever starts the sync has grace to come by.
	require.Zero(t, q.Stall(30, 100, 57, 7))
	require.EqualValues(t, 10, q.Stall(30, 100, 58, 7))
	// A commit waits for no more than it wrote, and for the more of the two reasons.
	require.EqualValues(t, 5, q.Stall(5, 100, 51, 0))
	require.EqualValues(t, 25, q.Stall(30, 5, 51, 0))
	require.EqualValues(t, 10, q.Stall(30, 25, 51, 0))

	// Once the sync has started the request is in time; one behind it is late without grace.
	requireNext(t, q, WAL, 60)
	require.Zero(t, q.Stall(30, 100, 60, 0))
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Seq: 40, Deadline: 70}, 61)
	require.Zero(t, q.Stall(40, 100, 70, 7))
	require.EqualValues(t, 40, q.Stall(40, 100, 71, 7))
	// Enough of it is durable for this commit.
	q.Synced(WAL, 30, 71)
	require.Zero(t, q.Stall(30, 100, 71, 7))
}

// Rule 8: the urgent are answered first, and each group in order.
func TestUrgentFirst(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	for i, name := range []string{"a", "b", "c", "d"} {
		ask(t, q, Request[string]{Waiter: name, Seq: 1, Urgent: i%2 == 1}, 0)
	}
	want := []string{"b", "d", "a", "c"}
	require.Equal(t, want, slices.Collect(q.Waiters(WAL)))
	for w := range q.Waiters(WAL) {
		require.Equal(t, "b", w)
		break
	}
	requireNext(t, q, WAL, 0)
	require.Empty(t, slices.Collect(q.Waiters(WAL)), "they wait for the running sync, not for the next")
	require.Equal(t, want, told(q.Done(running(q, WAL), nil, 1)))
	require.Empty(t, q.Done(running(q, WAL), nil, 1), "nothing runs")
}

// Rule 8 and H5: a failed sync answers everybody who waits for either file, and whoever comes later.
func TestFailureIsFinal(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	q.Wrote(DB, 1)
	ask(t, q, Request[string]{Waiter: "wal, running", Seq: 1}, 0)
	ask(t, q, Request[string]{Waiter: "db, running", File: DB, Seq: 1}, 0)
	requireNext(t, q, WAL, 0)
	requireNext(t, q, DB, 0)
	q.Wrote(WAL, 1)
	q.Wrote(DB, 1)
	ask(t, q, Request[string]{Waiter: "wal", Seq: 2}, 1)
	ask(t, q, Request[string]{Waiter: "db", File: DB, Seq: 2}, 1)
	require.NoError(t, q.Failed())
	require.ElementsMatch(t, []string{
		"wal: disk failed", "wal, running: disk failed", "db: disk failed", "db, running: disk failed",
	}, told(q.Done(running(q, WAL), errDisk, 2)))
	require.ErrorIs(t, q.Failed(), errDisk)
	require.Zero(t, q.Durable(WAL))

	// The other file's sync may end well. Nobody is told so.
	require.Empty(t, q.Done(running(q, DB), nil, 3))
	for _, file := range files {
		// Even what is durable: the database has failed.
		answered, err := q.Request(Request[string]{Waiter: "late", File: file}, 4)
		require.True(t, answered)
		require.ErrorIs(t, err, errDisk)
		requireNotDue(t, q, file)
		_, err = q.Start(file, 4)
		require.ErrorIs(t, err, errDisk)
	}
	require.Empty(t, q.Restart(5))
	require.Zero(t, q.Durable(WAL), "a restart clears nothing after a failure")
	require.ErrorIs(t, q.Failed(), errDisk)
}

func TestFail(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Waiter: "running", Seq: 1}, 0)
	requireNext(t, q, WAL, 0)
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Waiter: "a", Seq: 2}, 0)
	ask(t, q, Request[string]{Waiter: "b", Seq: 2, Urgent: true}, 0)
	require.Equal(t, []string{"b: disk failed", "a: disk failed", "running: disk failed"}, told(q.Fail(errDisk)))
	// The first failure is the one that tells what went wrong.
	require.Empty(t, q.Fail(errors.New("another")))
	require.Equal(t, errDisk, q.Failed())
	require.Empty(t, q.Done(running(q, WAL), nil, 1), "answered already")
	require.Zero(t, q.Counts().Failures, "no sync failed")
}
