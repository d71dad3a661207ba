package syncqueue

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// told returns who was answered, in order, with the error where there is one.
func told(answers []Answer[string]) []string {
	var out []string
	for _, a := range answers {
		s := a.Waiter
		if a.Err != nil {
			s += ": " + a.Err.Error()
		}
		out = append(out, s)
	}
	return out
}

// ask makes a request that must not be answered at once.
func ask(t *testing.T, q *Queue[string], r Request[string], now Time) {
	t.Helper()
	answered, err := q.Request(r, now)
	require.False(t, answered)
	require.NoError(t, err)
}

// requireNext hands out a sync that must be due now.
func requireNext(t *testing.T, q *Queue[string], file File, now Time) Job {
	t.Helper()
	job, ok := q.Next(file, now)
	require.True(t, ok, "a sync of the %v at %d", file, now)
	return job
}

// requireDue tells when the next sync is due, and that it isn't handed out before.
func requireDue(t *testing.T, q *Queue[string], file File, want Time) {
	t.Helper()
	due, ok := q.Due(file)
	require.True(t, ok, "a request waits")
	require.Equal(t, want, due)
	_, ok = q.Next(file, want-1)
	require.False(t, ok, "handed out before it is due")
}

// requireNotDue tells that no sync can be started, ever so late.
func requireNotDue(t *testing.T, q *Queue[string], file File) {
	t.Helper()
	_, ok := q.Due(file)
	require.False(t, ok)
	_, ok = q.Next(file, 1<<40)
	require.False(t, ok)
	if q.Running(file) == 0 {
		require.Empty(t, slices.Collect(q.Waiters(file)))
	}
}

// unnumbered returns the job without its number.
func unnumbered(job Job) Job {
	job.No = 0
	return job
}

// Rule 1: what was asked for first is served first.
func TestOrder(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	q.Synced(WAL, 0, 0)
	q.Wrote(DB, 1)
	ask(t, q, Request[string]{Waiter: "a", File: DB, Seq: 1, Deadline: 50}, 0)
	requireNext(t, q, DB, 0) // The first sync ever needn't wait.
	q.Wrote(DB, 1)
	ask(t, q, Request[string]{Waiter: "b", File: DB, Seq: 2, Deadline: 30}, 1)
	q.Restart(2)
	q.Wrote(DB, 1)
	ask(t, q, Request[string]{Waiter: "c", File: DB, Seq: 3, Deadline: 30}, 2)
	require.Equal(t, []string{"a"}, told(q.Done(running(q, DB), nil, 3)))

	require.Equal(t, []string{"b"}, slices.Collect(q.Waiters(DB)))
	require.Equal(t, Job{File: DB, Gen: 0, Seq: 3, Bytes: 2}, unnumbered(requireNext(t, q, DB, 30)))
	// The sync started after all three writes.
	require.Equal(t, []string{"b", "c"}, told(q.Done(running(q, DB), nil, 31)))
	requireNotDue(t, q, DB)
}

// Rule 1: the files don't wait for one another.
func TestFilesAreIndependent(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 1)
	q.Wrote(DB, 2)
	ask(t, q, Request[string]{Waiter: "w", File: WAL, Seq: 1}, 0)
	ask(t, q, Request[string]{Waiter: "d", File: DB, Seq: 2}, 0)
	require.Equal(t, Job{File: DB, Seq: 2, Bytes: 2}, unnumbered(requireNext(t, q, DB, 0)))
	require.Equal(t, Job{File: WAL, Seq: 1, Bytes: 1}, unnumbered(requireNext(t, q, WAL, 0)))
	require.Equal(t, 1, q.Running(WAL))
	require.Equal(t, []string{"d"}, told(q.Done(running(q, DB), nil, 1)))
	require.Equal(t, []string{"w"}, told(q.Done(running(q, WAL), nil, 1)))
	require.Zero(t, q.Running(WAL))
	require.Equal(t, "wal db", WAL.String()+" "+DB.String())
}

// Rule 2: greater sequence, earlier deadline, the waiters of both.
func TestMerge(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	q.Start(WAL, 0)
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Waiter: "a", Seq: 10, Deadline: 50}, 1)
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Waiter: "b", Seq: 20, Deadline: 40}, 2)
	ask(t, q, Request[string]{Waiter: "c", Seq: 5, Deadline: 60}, 3) // takes nothing back
	q.Done(running(q, WAL), nil, 4)
	requireDue(t, q, WAL, 40)
	require.Equal(t, []string{"a", "b", "c"}, slices.Collect(q.Waiters(WAL)))

	// Part of it becomes durable: who asked for no more is answered, the rest goes on waiting.
	require.Equal(t, []string{"a", "c"}, told(q.Synced(WAL, 10, 5)))
	require.Equal(t, []string{"b"}, slices.Collect(q.Waiters(WAL)))
	requireDue(t, q, WAL, 40)

	require.Equal(t, Job{File: WAL, Seq: 20, Bytes: 10}, unnumbered(requireNext(t, q, WAL, 40)))
	require.Equal(t, []string{"b"}, told(q.Done(running(q, WAL), nil, 41)))
	requireNotDue(t, q, WAL)
}

// Rule 3: what is durable needs no sync.
func TestCoveredByDurable(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 10)
	q.Synced(WAL, 10, 0)
	for seq, want := range map[uint64]bool{0: true, 9: true, 10: true, 11: false} {
		q.Wrote(WAL, 1)
		answered, err := q.Request(Request[string]{Waiter: "a", Seq: seq}, 0)
		require.NoError(t, err)
		require.Equal(t, want, answered, "sequence %d", seq)
	}
}

// Rule 3 and H6: a running sync answers only for what was written before it started.
func TestCoveredByRunning(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 10)
	q.Start(WAL, 0)
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Waiter: "before", Seq: 10}, 1)
	requireNotDue(t, q, WAL)
	ask(t, q, Request[string]{Waiter: "after", Seq: 11}, 1)
	ask(t, q, Request[string]{Waiter: "before, urgent", Seq: 3, Urgent: true}, 1)
	requireNotDue(t, q, WAL) // One sync of a file at a time.
	require.Equal(t, []string{"before, urgent", "before"}, told(q.Done(running(q, WAL), nil, 2)))
	require.EqualValues(t, 10, q.Durable(WAL))
	require.EqualValues(t, 10, q.Pending(WAL))
	requireNext(t, q, WAL, 2)
	require.Equal(t, []string{"after"}, told(q.Done(running(q, WAL), nil, 3)))
	require.Zero(t, q.Pending(WAL))
}

// Rule 4: the requests of two generations don't merge,
// and those of the next wait for the sync of the database file.
func TestBarrier(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Start(WAL, 0)
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Waiter: "old", Seq: 10, Deadline: 20}, 0)
	q.Wrote(DB, 5)
	require.Empty(t, q.Restart(1))
	require.EqualValues(t, 1, q.Generation())
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Waiter: "new", Seq: 11}, 2)
	q.Done(running(q, WAL), nil, 3)

	// The new one is due and didn't hasten the old one.
	require.Equal(t, []string{"old"}, slices.Collect(q.Waiters(WAL)))
	requireDue(t, q, WAL, 20)
	// A sync that began before the last bytes of the database were written doesn't close the generation.
	require.Empty(t, told(q.Synced(DB, 4, 4)))
	require.Equal(t, []string{"old"}, slices.Collect(q.Waiters(WAL)))

	require.Equal(t, []string{"old"}, told(q.Synced(DB, 5, 5)))
	require.Equal(t, []string{"new"}, slices.Collect(q.Waiters(WAL)))
	require.Equal(t, Job{File: WAL, Gen: 1, Seq: 11, Bytes: 1}, unnumbered(requireNext(t, q, WAL, 6)))
	require.Equal(t, []string{"new"}, told(q.Done(running(q, WAL), nil, 7)))
}

// Rule 4: with nothing left of the old generation, the new one waits all the same.
func TestBarrierHoldsBack(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(DB, 5)
	q.Restart(1)
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Waiter: "new", Seq: 1}, 2)
	requireNotDue(t, q, WAL)
	q.Wrote(DB, 5)
	q.Restart(3)
	q.Wrote(WAL, 1)
	ask(t, q, Request[string]{Waiter: "newer", Seq: 2}, 3)
	requireNotDue(t, q, WAL)
	// One sync closes both generations: that of "new" is over, too.
	require.Empty(t, told(q.Synced(DB, 9, 4)))
	requireNotDue(t, q, WAL)
	require.Equal(t, []string{"new"}, told(q.Synced(DB, 10, 5)))
	requireNext(t, q, WAL, 5)
	require.Equal(t, []string{"newer"}, told(q.Done(running(q, WAL), nil, 6)))
}

// Rule 5: the requests of a generation that is closed have nothing to wait for.
func TestClear(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000})
	q.Synced(WAL, 0, 0)
	q.Wrote(WAL, 10)
	q.Wrote(DB, 5)
	ask(t, q, Request[string]{Waiter: "a", Seq: 4, Deadline: 50}, 1)
	ask(t, q, Request[string]{Waiter: "b", Seq: 10, Deadline: 50, Urgent: true}, 1)
	// A durable database file alone closes nothing.
	require.Empty(t, q.Synced(DB, 5, 2))
	require.Equal(t, []string{"b", "a"}, slices.Collect(q.Waiters(WAL)))
	require.Zero(t, q.Durable(WAL))
	// The end of the generation does.
	require.Equal(t, []string{"b", "a"}, told(q.Restart(3)))
	require.EqualValues(t, 10, q.Durable(WAL))
	requireNotDue(t, q, WAL)
	require.Zero(t, q.Counts().Syncs)
}

// Rule 5: who waits for a running sync is answered by that.
func TestClearLeavesRunning(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Waiter: "a", Seq: 10}, 0)
	requireNext(t, q, WAL, 0)
	require.Empty(t, q.Restart(1))
	require.Equal(t, 1, q.Running(WAL))
	require.Equal(t, []string{"a"}, told(q.Done(running(q, WAL), nil, 2)))
}

// Rule 9: a later sync that ends first answers for the earlier, and never the other way round.
func TestBeside(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Waiter: "a", Seq: 10}, 0)
	first := requireNext(t, q, WAL, 0)
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Waiter: "b", Seq: 20}, 1)
	requireNotDue(t, q, WAL)
	second, ok := q.NextBeside(WAL, 1)
	require.True(t, ok)
	q.Wrote(WAL, 10)
	ask(t, q, Request[string]{Waiter: "c", Seq: 30}, 2)
	third, ok := q.NextBeside(WAL, 2)
	require.True(t, ok)
	require.Equal(t, 3, q.Running(WAL))
	require.Equal(t, 3, q.Covered(WAL))
	// Who asks for less joins the first that covers it.
	ask(t, q, Request[string]{Waiter: "d", Seq: 15}, 2)

	require.Equal(t, []string{"b", "d", "a"}, told(q.Done(second, nil, 3)))
	require.EqualValues(t, 20, q.Durable(WAL))
	require.Empty(t, q.Done(first, nil, 4))
	require.EqualValues(t, 20, q.Durable(WAL))
	require.Empty(t, q.Done(first, nil, 4), "ended already")
	require.Equal(t, []string{"c"}, told(q.Done(third, nil, 5)))
	require.Zero(t, q.Pending(WAL))
}

// H5: one that ends well after another has failed makes nothing durable.
func TestBesideFailed(t *testing.T) {
	t.Parallel()
	q := New[string](Config{})
	var jobs []Job
	for i, who := range []string{"a", "b", "c"} {
		q.Wrote(WAL, 10)
		ask(t, q, Request[string]{Waiter: who, Seq: uint64(10 * (i + 1))}, 0)
		job, ok := q.NextBeside(WAL, 0)
		require.True(t, ok)
		jobs = append(jobs, job)
	}
	require.Len(t, q.Done(jobs[1], errDisk, 1), 3)
	require.Empty(t, q.Done(jobs[2], nil, 2))
	require.Empty(t, q.Done(jobs[0], nil, 2))
	require.Zero(t, q.Durable(WAL))
	require.ErrorIs(t, q.Failed(), errDisk)
}
