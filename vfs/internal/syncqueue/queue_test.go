package syncqueue

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCancel(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	q.Wrote(DB, 1)
	for _, w := range []string{"a", "b"} {
		ask(t, q, Request[string]{Waiter: w, Seq: 1}, 0)
		ask(t, q, Request[string]{Waiter: w, File: DB, Seq: 1}, 0)
	}
	requireNext(t, q, WAL, 0)
	q.Cancel("nobody")
	q.Cancel("a")
	require.Equal(t, []string{"b"}, slices.Collect(q.Waiters(DB)))
	q.Cancel("b")
	require.Empty(t, told(q.Done(running(q, WAL), nil, 1)))
	// The request stays: its bytes are to be made durable all the same.
	require.Empty(t, slices.Collect(q.Waiters(DB)))
	requireNext(t, q, DB, 1)
	require.Empty(t, told(q.Done(running(q, DB), nil, 2)))
	require.Zero(t, q.Pending(DB))
}

// The zero waiter makes a request that nobody waits for.
func TestNobody(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Seq: 1}, 0)
	require.Empty(t, slices.Collect(q.Waiters(WAL)))
	requireNext(t, q, WAL, 0)
	ask(t, q, Request[string]{Seq: 1}, 0)
	require.Empty(t, q.Done(running(q, WAL), nil, 1))
	require.EqualValues(t, 1, q.Durable(WAL))
}

func TestStart(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	q.Wrote(WAL, 10)
	job, err := q.Start(WAL, 0)
	require.NoError(t, err)
	require.Equal(t, Job{File: WAL, Seq: 10, Bytes: 10}, unnumbered(job))
	_, err = q.Start(WAL, 1)
	require.ErrorIs(t, err, ErrRunning)
	_, err = q.Start(DB, 1)
	require.NoError(t, err, "the other file's")
	require.Empty(t, q.Done(running(q, WAL), nil, 2))

	// It takes along those who wait for a later one.
	q.Wrote(WAL, 5)
	ask(t, q, Request[string]{Waiter: "a", Seq: 15, Deadline: 50}, 3)
	requireDue(t, q, WAL, 50)
	job, err = q.Start(WAL, 4)
	require.NoError(t, err)
	require.Equal(t, Job{File: WAL, Seq: 15, Bytes: 5}, unnumbered(job))
	require.Equal(t, []string{"a"}, told(q.Done(running(q, WAL), nil, 5)))
	requireNotDue(t, q, WAL)

	// It belongs to the generation that it starts in.
	require.Empty(t, q.Done(running(q, DB), nil, 5))
	q.Restart(6)
	job, err = q.Start(WAL, 7)
	require.NoError(t, err)
	require.Equal(t, Job{File: WAL, Gen: 1, Seq: 15}, unnumbered(job))
}

func TestSynced(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	q.Wrote(DB, 10)
	ask(t, q, Request[string]{Waiter: "a", File: DB, Seq: 10}, 0)
	require.Empty(t, q.Synced(DB, 9, 1))
	require.EqualValues(t, 9, q.Durable(DB))
	require.EqualValues(t, 1, q.Pending(DB))
	require.Equal(t, []string{"a"}, told(q.Synced(DB, 10, 2)))
	require.Zero(t, q.Pending(DB))
	requireNotDue(t, q, DB)
	// One that started earlier and ends later takes nothing back.
	require.Empty(t, q.Synced(DB, 5, 3))
	require.EqualValues(t, 10, q.Durable(DB))
	require.EqualValues(t, 10, q.Written(DB))
	require.Zero(t, q.Durable(WAL))
}

func TestCounts(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 10)
	q.Request(Request[string]{Seq: 10}, 0)
	q.Request(Request[string]{Seq: 10}, 0) // merges
	q.Next(WAL, 0)
	q.Request(Request[string]{Seq: 10}, 0) // joins the running sync
	q.Done(running(q, WAL), nil, 1)
	q.Request(Request[string]{Seq: 10}, 2) // covered
	q.Wrote(DB, 1)
	q.Start(DB, 2)
	q.Start(DB, 2) // refused
	q.Done(running(q, DB), errDisk, 3)
	q.Request(Request[string]{Seq: 10}, 4) // refused
	require.Equal(t, Counts{Requests: 5, Merged: 2, Covered: 1, Syncs: [2]uint64{1, 1}, Failures: 1}, q.Counts())
}

// The history in the drawing at the type window.
func TestWindow(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	unsynced := func(commits uint64, first Time) {
		t.Helper()
		n, at := q.Unsynced()
		require.Equal(t, commits, n)
		if commits > 0 {
			require.Equal(t, first, at)
		}
	}
	commit := func(now Time) {
		q.Wrote(WAL, 1)
		q.Acknowledged(q.Written(WAL), now)
	}
	unsynced(0, 0)
	commit(10) // a
	commit(14) // b
	unsynced(2, 10)
	q.Start(WAL, 20)
	unsynced(2, 10)
	commit(25) // c
	commit(26) // d
	unsynced(4, 10)
	require.Zero(t, q.LongestWindow())
	q.Done(running(q, WAL), nil, 30) // a and b
	require.Equal(t, Time(20), q.LongestWindow())
	unsynced(2, 25)

	q.Start(WAL, 30)
	commit(33) // e
	unsynced(3, 25)
	q.Done(running(q, WAL), nil, 40) // c and d: 15, which is less
	require.Equal(t, Time(20), q.LongestWindow())
	unsynced(1, 33)

	// The end of the generation makes e safe.
	q.Restart(60)
	require.Equal(t, Time(27), q.LongestWindow())
	unsynced(0, 0)
	// What is durable when it is acknowledged was never at risk.
	q.Acknowledged(q.Written(WAL), 70)
	unsynced(0, 0)
}

// Each end of a window is told, with the longest of the commits that it ends.
func TestWindowTold(t *testing.T) {
	t.Parallel()
	var told []Time
	q := New[string](Config{Window: func(d, now Time) { told = append(told, d, now) }})
	commit := func(now Time) {
		q.Wrote(WAL, 1)
		q.Acknowledged(q.Written(WAL), now)
	}
	commit(10)
	commit(14)
	q.Start(WAL, 20)
	commit(25)
	q.Done(running(q, WAL), nil, 30)
	require.Equal(t, []Time{20, 30}, told)
	q.Start(WAL, 30)
	commit(33)
	q.Restart(40) // ends both sets, and the running sync then ends none
	require.Equal(t, []Time{20, 30, 15, 40}, told)
	q.Done(running(q, WAL), nil, 45)
	q.Start(WAL, 50)
	q.Done(running(q, WAL), nil, 60) // nobody was at risk
	require.Equal(t, []Time{20, 30, 15, 40}, told)
}

// A commit is acknowledged while a sync runs that covers it.
func TestWindowDuringSync(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	q.Start(WAL, 0)
	q.Acknowledged(1, 5)
	q.Done(running(q, WAL), nil, 8)
	require.Equal(t, Time(3), q.LongestWindow())
	commits, _ := q.Unsynced()
	require.Zero(t, commits)
}

// Another sync that covers less than the running one makes only part of its commits safe.
func TestWindowPartOfRunning(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 2)
	q.Acknowledged(2, 5)
	q.Start(WAL, 6)
	q.Synced(WAL, 1, 7)
	commits, _ := q.Unsynced()
	require.EqualValues(t, 1, commits)
	require.Zero(t, q.LongestWindow())
	q.Done(running(q, WAL), nil, 8)
	require.Equal(t, Time(3), q.LongestWindow())
}

// A failed sync makes nothing durable, and a restart before the running sync ends
// makes safe what that covers, too.
func TestWindowFailureAndRestart(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	q.Acknowledged(1, 5)
	q.Start(WAL, 6)
	q.Restart(9)
	require.Equal(t, Time(4), q.LongestWindow())
	q.Done(running(q, WAL), nil, 20)
	require.Equal(t, Time(4), q.LongestWindow())

	q.Wrote(WAL, 1)
	q.Acknowledged(2, 30)
	q.Start(WAL, 31)
	q.Done(running(q, WAL), errDisk, 90)
	require.Equal(t, Time(4), q.LongestWindow())
	commits, first := q.Unsynced()
	require.EqualValues(t, 1, commits)
	require.Equal(t, Time(30), first)
}
