package syncqueue

import (
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/stretchr/testify/require"
)

// A checkpoint has synced the WAL, and a writer appends to it
// before the sync of the database file is asked for.
var patentHistory = []event{
	{opWrite, WAL, 3}, // frames 1 to 100
	{opRequest, WAL, argNow},
	{opNext, WAL, 0},
	{opDone, WAL, 0},
	{opWrite, DB, 3},
	{opWrite, WAL, 0}, // frames 101 to 105
	{opRequest, WAL, argLater},
	{opRequest, DB, argNow}, // here the patent clears the request for frames 101 to 105
	{opNext, DB, 0},
	{opDone, DB, 0},
	{opRequest, WAL, argNow}, // somebody else wants to know whether they are durable
	{opAdvance, WAL, 10},
	{opNext, WAL, 0},
	{opDone, WAL, 0},
}

// A request comes while a sync runs that started before its bytes were written.
var rejoinHistory = []event{
	{opWrite, WAL, 0},
	{opRequest, WAL, argNow},
	{opNext, WAL, 0},
	{opWrite, WAL, 0},
	{opRequest, WAL, argNow},
	{opDone, WAL, 0},
	{opNext, WAL, 0},
	{opDone, WAL, 0},
}

// A sync fails, and the next one is said to have ended well.
var retryHistory = []event{
	{opWrite, WAL, 0},
	{opRequest, WAL, argNow},
	{opNext, WAL, 0},
	{opDoneErr, WAL, 0},
	{opRequest, WAL, argNow},
	{opNext, WAL, 0},
	{opDone, WAL, 0},
}

// replay is check without a stop at the first violation, of which it returns all.
func replay(disabled rules.Set, history []event) error {
	c := newChecker(histCfg(disabled))
	for _, e := range history {
		c.apply(e)
	}
	c.drain()
	return c.err()
}

// Each history is harmless under the rules and breaks the promise without one of them.
func TestControls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		disabled rules.Set
		history  []event
		first    error    // what breaks first
		says     []string // and what follows from it
	}{
		{
			"the patent's clearing", rules.ClearClosed, patentHistory, errLost,
			[]string{
				"the request for wal 5, of which 4 are safe",
				"waiter 2 was never answered", // the one for frames 101 to 105
			},
		},
		{
			"H6", rules.SyncCoversWritten, rejoinHistory, errLost,
			[]string{"waiter 2 for wal 2, of which 1 are safe"},
		},
		{
			// The queue goes on, and then calls bytes durable that the kernel has dropped.
			"H5", rules.FailureIsFinal, retryHistory, errFailure,
			[]string{"waiter 2 for wal 1, of which 0 are safe"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, replay(0, c.history))
			require.NoError(t, check(histCfg(0), c.history))

			require.ErrorIs(t, check(histCfg(c.disabled), c.history), c.first)
			err := replay(c.disabled, c.history)
			require.ErrorIs(t, err, errLost)
			for _, says := range c.says {
				require.ErrorContains(t, err, says)
			}
		})
	}
}

// The interleaving of rule 5 in plain words: what follows the frames that the checkpoint has synced
// is answered by a sync of the WAL that starts after it, and by nothing else.
func TestAppendDuringCheckpoint(t *testing.T) {
	t.Parallel()
	// The time of the commit's deadline, and not the least interval, starts its sync.
	q := New[string](Config{MinInterval: 1000})
	q.Wrote(WAL, 100)
	ask(t, q, Request[string]{Waiter: "checkpoint", Seq: 100}, 0)
	requireNext(t, q, WAL, 0)
	require.Equal(t, []string{"checkpoint"}, told(q.Done(running(q, WAL), nil, 1)))

	q.Wrote(DB, 40)
	q.Wrote(WAL, 5)
	ask(t, q, Request[string]{Waiter: "commit", Seq: 105, Deadline: 50}, 2)
	ask(t, q, Request[string]{Waiter: "checkpoint", File: DB, Seq: 40}, 3)
	require.EqualValues(t, 100, q.Durable(WAL))
	requireNext(t, q, DB, 3)
	require.Equal(t, []string{"checkpoint"}, told(q.Done(running(q, DB), nil, 4)))

	require.EqualValues(t, 5, q.Pending(WAL))
	requireDue(t, q, WAL, 50)
	require.Equal(t, Job{File: WAL, Seq: 105, Bytes: 5}, unnumbered(requireNext(t, q, WAL, 50)))
	require.Equal(t, []string{"commit"}, told(q.Done(running(q, WAL), nil, 51)))
	require.Equal(t, [2]uint64{2, 1}, q.Counts().Syncs)
}

// The same with the patent's rule: the commit is told that it is durable, and no sync of it ever comes.
func TestAppendDuringCheckpointPatent(t *testing.T) {
	t.Parallel()
	q := New[string](Config{MinInterval: 1000, Disabled: rules.ClearClosed})
	q.Wrote(WAL, 100)
	q.Synced(WAL, 100, 1)
	q.Wrote(DB, 40)
	q.Wrote(WAL, 5)
	ask(t, q, Request[string]{Waiter: "commit", Seq: 105, Deadline: 50}, 2)
	ask(t, q, Request[string]{Waiter: "checkpoint", File: DB, Seq: 40}, 3)
	requireNext(t, q, DB, 3)
	require.Equal(t, []string{"checkpoint", "commit"}, told(q.Done(running(q, DB), nil, 4)))
	require.EqualValues(t, 105, q.Durable(WAL))
	requireNotDue(t, q, WAL)
	require.Zero(t, q.Counts().Syncs[WAL])
}

// Whoever is answered before the sync ends (rule GroupWait switched off) may lose what they were promised.
func TestControlAnswerEarly(t *testing.T) {
	t.Parallel()
	c := newChecker(histCfg(0))
	c.answers(nil, c.q.AnswerEarly(running(c.q, WAL))) // nothing runs
	for _, e := range rejoinHistory[:3] {
		c.apply(e)
	}
	require.NoError(t, c.err())
	early := c.q.AnswerEarly(running(c.q, WAL))
	require.Equal(t, []Answer[int]{{Waiter: 1}}, early)
	c.answers(nil, early)
	require.ErrorIs(t, c.err(), errLost)
	require.Empty(t, c.q.AnswerEarly(running(c.q, WAL)), "answered once")
	require.Empty(t, c.q.Done(running(c.q, WAL), nil, 1), "answered once")
}
