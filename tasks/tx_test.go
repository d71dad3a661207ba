package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

// TestTx: a task and the application's own row are made together, or neither is.
func TestTx(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	db, err := driver.Open("file:" + filepath.ToSlash(path) + "?vfs=async&_txlock=immediate&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE invoice(id INTEGER PRIMARY KEY, task TEXT)")
	require.NoError(t, err)
	for _, commit := range []bool{false, true} {
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = tx.Exec("INSERT INTO invoice(task) VALUES('a')")
		require.NoError(t, err)
		in, err := st.InTx(tx)
		require.NoError(t, err)
		require.NoError(t, in.Create(ctx, "a", tasks.Document))
		require.ErrorIs(t, in.Create(ctx, "a", tasks.Document), tasks.ErrExists)
		require.NoError(t, in.Update(ctx, "a", tasks.Error, nil, tasks.ErrorText("torn page")))
		require.ErrorIs(t, in.Update(ctx, "a", tasks.Completed, 1), tasks.ErrTransition)
		require.NoError(t, in.Retry(ctx, "a"))
		require.NoError(t, in.Update(ctx, "a", tasks.Completed, "名"))
		require.ErrorIs(t, in.Update(ctx, "b", tasks.Completed, 1), tasks.ErrNotFound)
		require.ErrorIs(t, in.Delete(ctx, "b"), tasks.ErrNotFound)
		require.ErrorIs(t, in.Create(ctx, "", tasks.Form), tasks.ErrInvalid)
		_, err = st.Status(ctx, "a")
		require.ErrorIs(t, err, tasks.ErrNotFound) // not yet
		if !commit {
			require.NoError(t, tx.Rollback())
			_, err = st.Status(ctx, "a")
			require.ErrorIs(t, err, tasks.ErrNotFound)
			continue
		}
		require.NoError(t, tx.Commit())
		res, err := st.Result(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, `"名"`, string(res.Raw))
		require.Equal(t, "torn page", res.Error)
	}
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM invoice").Scan(&n))
	require.Equal(t, 1, n)
}

// TestTxCreation: what a task is created with in the application's transaction comes and goes with it.
func TestTxCreation(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	db := openSQL(t, path)
	for _, commit := range []bool{false, true} {
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		in, err := st.InTx(tx)
		require.NoError(t, err)
		key := tasks.UniqueKey("k")
		require.NoError(t, in.Create(ctx, "a", tasks.Form, tasks.Input(1), key, tasks.WithLabels(map[string]string{"l": "v"})))
		var exists *tasks.ExistsError
		require.ErrorAs(t, in.Create(ctx, "b", tasks.Form, key), &exists)
		require.Equal(t, "a", exists.ID)
		require.ErrorIs(t, in.Create(ctx, "a", tasks.Form), tasks.ErrExists)
		if !commit {
			require.NoError(t, tx.Rollback())
			_, err := st.Input(ctx, "a")
			require.ErrorIs(t, err, tasks.ErrNotFound)
			continue
		}
		require.NoError(t, tx.Commit())
		raw, err := st.Input(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, "1", string(raw))
		list, err := st.List(ctx, tasks.Query{Label: [2]string{"l", "v"}})
		require.NoError(t, err)
		require.Len(t, list, 1)
	}
}

// TestTxLease: a worker's report is made with the application's own row, or neither is.
func TestTxLease(t *testing.T) {
	st, c, path := open(t, tasks.Backoff(func(int) time.Duration { return time.Minute }))
	ctx := t.Context()
	db := openSQL(t, path)
	_, err := db.Exec("CREATE TABLE invoice(task TEXT)")
	require.NoError(t, err)
	// in makes changes in a transaction, which is rolled back the first time.
	in := func(change func(in *tasks.Tx), rolledBack func()) {
		t.Helper()
		for _, commit := range []bool{false, true} {
			tx, err := db.BeginTx(ctx, nil)
			require.NoError(t, err)
			_, err = tx.Exec("INSERT INTO invoice VALUES('a')")
			require.NoError(t, err)
			in, err := st.InTx(tx)
			require.NoError(t, err)
			change(in)
			if commit {
				require.NoError(t, tx.Commit())
			} else {
				require.NoError(t, tx.Rollback())
				rolledBack()
			}
		}
	}
	status := func() tasks.Result {
		r, err := st.Result(ctx, "a")
		require.NoError(t, err)
		return r
	}
	processing := func() { require.Equal(t, tasks.Processing, status().Status) }
	require.NoError(t, st.Create(ctx, "a", tasks.Form, tasks.TaskAttempts(3)))
	claimed, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	lost := claimed
	lost.Lease = "another"

	in(func(in *tasks.Tx) {
		require.ErrorIs(t, in.Progress(ctx, "b", 1), tasks.ErrNotFound)
		require.ErrorIs(t, in.Progress(ctx, "a", nil), tasks.ErrInvalid)
		require.ErrorIs(t, in.Report(ctx, "a", tasks.Advance{Done: math.NaN()}), tasks.ErrInvalid)
		require.NoError(t, in.Progress(ctx, "a", "名"))
		require.NoError(t, in.Report(ctx, "a", tasks.Advance{Done: 1, Total: 2, Note: "half"}))
	}, func() { require.Nil(t, status().Raw); require.Zero(t, status().Advance) })
	require.Equal(t, `"名"`, string(status().Raw))
	require.Equal(t, tasks.Advance{Done: 1, Total: 2, Note: "half"}, status().Advance)

	c.Add(30 * time.Second)
	in(func(in *tasks.Tx) {
		require.ErrorIs(t, in.Extend(ctx, &lost, time.Minute), tasks.ErrLeaseLost)
		require.ErrorIs(t, in.Extend(ctx, &claimed, 0), tasks.ErrInvalid)
		require.NoError(t, in.Extend(ctx, &claimed, time.Minute))
		require.Equal(t, c.Now().Add(time.Minute), claimed.LeaseUntil)
	}, func() {})
	c.Add(59 * time.Second)
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask, "it was extended")

	in(func(in *tasks.Tx) {
		require.ErrorIs(t, in.Fail(ctx, lost, errors.New("why")), tasks.ErrLeaseLost)
		require.ErrorIs(t, in.Fail(ctx, claimed, nil), tasks.ErrInvalid)
		require.NoError(t, in.Fail(ctx, claimed, errors.New("torn page")))
		require.ErrorIs(t, in.Complete(ctx, claimed, 1), tasks.ErrLeaseLost, "it has ended")
		require.ErrorIs(t, in.Progress(ctx, "a", 1), tasks.ErrTransition)
	}, processing)
	require.Equal(t, tasks.Pending, status().Status)
	require.Equal(t, "torn page", status().Error)
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask, "it waits")
	c.Add(time.Minute)
	claimed, err = st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	in(func(in *tasks.Tx) {
		require.ErrorIs(t, in.GiveBack(ctx, claimed, nil), tasks.ErrInvalid)
		require.NoError(t, in.GiveBack(ctx, claimed, errors.New("not now")))
	}, processing)
	claimed, err = st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	in(func(in *tasks.Tx) {
		require.ErrorIs(t, in.Complete(ctx, lost, 1), tasks.ErrLeaseLost)
		require.ErrorIs(t, in.Complete(ctx, claimed, math.NaN()), tasks.ErrInvalid)
		require.NoError(t, in.Complete(ctx, claimed, "done"))
	}, processing)
	require.Equal(t, tasks.Completed, status().Status)
	require.Equal(t, `"done"`, string(status().Raw))
	list, err := st.Attempts(ctx, "a")
	require.NoError(t, err)
	require.Len(t, list, 3)
	for i, a := range list {
		require.False(t, a.EndedAt.IsZero())
		require.Equal(t, i == 1, a.Uncounted)
	}
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM invoice").Scan(&n))
	require.Equal(t, 5, n)
	require.NoError(t, st.Close())
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer tx.Rollback()
	closed, err := st.InTx(tx)
	require.NoError(t, err)
	require.ErrorIs(t, closed.Complete(ctx, claimed, 1), tasks.ErrClosed)
	require.ErrorIs(t, closed.Progress(ctx, "a", 1), tasks.ErrClosed)
}

// TestTxHandler: a handler completes its task in a transaction of its own. Run takes that for the outcome, and no lease is lost;
// if the transaction is rolled back, what the handler returns is.
func TestTxHandler(t *testing.T) {
	var lost, ended atomic.Int64
	st, _, path := open(t, tasks.WithHooks(tasks.Hooks{
		LeaseLost:    func(context.Context, tasks.LeaseLostInfo) { lost.Add(1) },
		AttemptEnded: func(context.Context, tasks.AttemptEndedInfo) { ended.Add(1) },
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	db := openSQL(t, path)
	for _, id := range []string{"commit", "rollback"} {
		require.NoError(t, st.Create(ctx, id, tasks.Form))
	}
	_, ok := tasks.HandlerTask(ctx)
	require.False(t, ok)
	handled := make(chan error, 2)
	done := make(chan error, 1)
	go func() {
		done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(ctx context.Context, task tasks.Info) (any, error) {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return nil, err
			}
			defer tx.Rollback()
			in, err := st.InTx(tx)
			c, ok := tasks.HandlerTask(ctx)
			if err != nil || !ok || c.ID != task.ID {
				return nil, fmt.Errorf("%w, %v, %v", err, ok, c)
			}
			err = in.Complete(ctx, c, "in the transaction")
			if task.ID == "commit" && err == nil {
				err = tx.Commit()
				// It is told before it returns, and its context isn't cancelled.
				_, e := st.Wait(ctx, task.ID)
				err = errors.Join(err, e, ctx.Err())
			}
			handled <- err
			return "returned", err
		}}, 1)
	}()
	for id, want := range map[string]string{"commit": `"in the transaction"`, "rollback": `"returned"`} {
		require.NoError(t, <-handled)
		r, err := st.Wait(ctx, id)
		require.NoError(t, err)
		require.Equal(t, tasks.Completed, r.Status)
		require.Equal(t, want, string(r.Raw))
	}
	cancel()
	require.NoError(t, <-done)
	require.Zero(t, lost.Load())
	require.EqualValues(t, 1, ended.Load(), "of what Run has reported")
}
