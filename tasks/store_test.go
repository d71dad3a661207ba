package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/testclock"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T, opts ...tasks.Option) (*tasks.Store, *testclock.Clock, string) {
	t.Helper()
	c := testclock.New()
	path := filepath.Join(t.TempDir(), "tasks.db")
	st, err := tasks.Open(t.Context(), path, append([]tasks.Option{tasks.Clock(c.Now)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st, c, path
}

func TestLifeOfATask(t *testing.T) {
	st, c, path := open(t)
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Document))
	require.ErrorIs(t, st.Create(ctx, "a", tasks.Form), tasks.ErrExists)
	created := c.Now()
	info, err := st.Status(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, tasks.Info{ID: "a", Type: tasks.Document, Status: tasks.Pending, CreatedAt: created}, info)
	res, err := st.Result(ctx, "a")
	require.NoError(t, err)
	require.Nil(t, res.Raw)
	require.ErrorIs(t, res.Decode(new(any)), tasks.ErrNoResult)

	c.Add(time.Minute)
	require.NoError(t, st.Update(ctx, "a", tasks.Processing, nil))
	c.Add(time.Minute)
	require.NoError(t, st.Update(ctx, "a", tasks.Completed, map[string]any{"Titel": "Größe <1> 文件"}))
	res, err = st.Result(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, tasks.Completed, res.Status)
	require.Equal(t, created.Add(2*time.Minute), res.UpdatedAt)
	require.Equal(t, `{"Titel":"Größe <1> 文件"}`, string(res.Raw))

	// It is all there when the store is opened anew, and -wal is gone.
	require.NoError(t, st.Close())
	require.ErrorIs(t, st.Close(), tasks.ErrClosed)
	require.ErrorIs(t, st.Create(ctx, "b", tasks.Form), tasks.ErrClosed)
	_, err = st.Status(ctx, "a")
	require.ErrorIs(t, err, tasks.ErrClosed)
	require.NoFileExists(t, path+"-wal")
	st, err = tasks.Open(ctx, path)
	require.NoError(t, err)
	defer st.Close()
	again, err := st.Result(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, res, again)
	require.NoError(t, st.Delete(ctx, "a"))
	require.ErrorIs(t, st.Delete(ctx, "a"), tasks.ErrNotFound)
	_, err = st.Status(ctx, "a")
	require.ErrorIs(t, err, tasks.ErrNotFound)
	require.ErrorContains(t, err, `"a"`)
}

// TestTransitions tries every status after every other.
func TestTransitions(t *testing.T) {
	st, _, _ := open(t)
	ctx := t.Context()
	all := []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed, tasks.Error}
	allowed := map[string]bool{
		"pending processing": true, "pending completed": true, "pending error": true,
		"processing completed": true, "processing error": true,
	}
	for _, from := range all {
		for _, to := range all {
			id := fmt.Sprint(from, " ", to)
			require.NoError(t, st.Create(ctx, id, tasks.Form))
			if from != tasks.Pending {
				require.NoError(t, st.Update(ctx, id, from, "before"))
			}
			err := st.Update(ctx, id, to, "after")
			info, _ := st.Result(ctx, id)
			if allowed[id] {
				require.NoError(t, err, id)
				require.Equal(t, to, info.Status)
				continue
			}
			var te *tasks.TransitionError
			require.ErrorAs(t, err, &te, id)
			require.ErrorIs(t, err, tasks.ErrTransition)
			require.Equal(t, tasks.TransitionError{ID: id, From: from, To: to}, *te)
			require.Equal(t, from, info.Status)
			require.NotEqual(t, `"after"`, string(info.Raw))
			require.NoError(t, st.Update(ctx, id, to, nil, tasks.Force()))
			info, _ = st.Result(ctx, id)
			require.Equal(t, to, info.Status)
		}
	}
	require.ErrorIs(t, st.Update(ctx, "nobody", tasks.Completed, nil), tasks.ErrNotFound)
	require.ErrorIs(t, st.Retry(ctx, "pending completed"), tasks.ErrTransition)
	require.NoError(t, st.Create(ctx, "r", tasks.Form))
	require.NoError(t, st.Update(ctx, "r", tasks.Error, nil, tasks.ErrorText("no pages")))
	info, err := st.Status(ctx, "r")
	require.NoError(t, err)
	require.Equal(t, "no pages", info.Error)
	require.ErrorIs(t, st.Cancel(ctx, "r"), tasks.ErrTransition)
	require.NoError(t, st.Retry(ctx, "r"))
	require.NoError(t, st.Cancel(ctx, "r"))
	info, err = st.Status(ctx, "r")
	require.NoError(t, err)
	require.Equal(t, tasks.Error, info.Status)
	require.Equal(t, tasks.CancelledText, info.Error)
	require.NoError(t, st.Retry(ctx, "r"))
	info, err = st.Status(ctx, "r")
	require.NoError(t, err)
	require.Equal(t, tasks.Pending, info.Status)
}

// TestOneWins: of those who report the same task at the same time, one is told that it was the one.
func TestOneWins(t *testing.T) {
	st, _, path := open(t)
	other, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	defer other.Close()
	ctx := t.Context()
	for round := range 20 {
		id := fmt.Sprint("task ", round)
		require.NoError(t, st.Create(ctx, id, tasks.Document, tasks.Relaxed()))
		var wg sync.WaitGroup
		won := make(chan int, 8)
		for i := range 8 {
			wg.Go(func() {
				s := st
				if i%2 == 0 {
					s = other
				}
				err := s.Update(ctx, id, tasks.Processing, i, tasks.Relaxed())
				if err == nil {
					won <- i
				} else if !errors.Is(err, tasks.ErrTransition) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Len(t, won, 1)
		res, err := st.Result(ctx, id)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(<-won), string(res.Raw))
	}
}

// TestInput: bad input is refused with what is allowed, and changes nothing.
func TestInput(t *testing.T) {
	st, _, _ := open(t, tasks.MaxResult(100), tasks.Types("scan"))
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "good", "scan"))
	for name, err := range map[string]error{
		"1 to 255 bytes":     st.Create(ctx, "", tasks.Document),
		"control characters": st.Create(ctx, "a\nb", tasks.Document),
		"of UTF-8":           st.Update(ctx, "a\xff", tasks.Completed, nil),
		"id":                 st.Delete(ctx, strings.Repeat("x", 256)),
		`"form_filling"`:     st.Create(ctx, "x", "letter"),
		"pending, processing, completed or error": st.Update(ctx, "good", "done", nil),
		"encoding/json":     st.Update(ctx, "good", tasks.Completed, math.Inf(1)),
		"func":              st.Update(ctx, "good", tasks.Completed, func() {}),
		"at most 100 bytes": st.Update(ctx, "good", tasks.Completed, strings.Repeat("x", 100)),
		"0 or more":         func() error { _, err := st.Cleanup(ctx, -1); return err }(),
		"1 to 1000":         func() error { _, err := st.List(ctx, tasks.Query{Limit: 1001}); return err }(),
	} {
		var e *tasks.InputError
		require.ErrorAs(t, err, &e, name)
		require.ErrorIs(t, err, tasks.ErrInvalid)
		require.ErrorContains(t, err, name)
	}
	counts, err := st.Count(ctx)
	require.NoError(t, err)
	require.Equal(t, map[tasks.Type]map[tasks.Status]int{"scan": {tasks.Pending: 1}}, counts)
	require.NoError(t, st.Create(ctx, strings.Repeat("ü", 127), tasks.Document))
	require.NoError(t, st.Update(ctx, "good", tasks.Completed, strings.Repeat("x", 98)))

	for _, o := range []tasks.Option{tasks.MaxResult(0), tasks.Types("a\tb"), tasks.VFS("nothing of the kind")} {
		_, err := tasks.Open(ctx, filepath.Join(t.TempDir(), "x.db"), o)
		require.Error(t, err)
	}
	for _, path := range []string{"", ":memory:", t.TempDir()} {
		_, err := tasks.Open(ctx, path)
		require.Error(t, err)
	}
}

func TestManyAndList(t *testing.T) {
	t.Parallel()
	st, c, _ := open(t)
	ctx := t.Context()
	var list []tasks.NewTask
	for i := range 1234 {
		typ := []tasks.Type{tasks.Document, tasks.Form}[i%2]
		list = append(list, tasks.NewTask{ID: fmt.Sprintf("%04d", i), Type: typ})
	}
	require.Nil(t, st.CreateMany(ctx, list))
	c.Add(time.Hour)
	errs := st.CreateMany(ctx, []tasks.NewTask{{ID: "new", Type: tasks.Form}, {ID: "0001", Type: tasks.Form}, {ID: "", Type: tasks.Form}, {ID: "newer", Type: tasks.Form}})
	require.Len(t, errs, 4)
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], tasks.ErrExists)
	require.ErrorIs(t, errs[2], tasks.ErrInvalid)
	require.NoError(t, errs[3])
	errs = st.UpdateMany(ctx, []tasks.NewStatus{
		{"0001", tasks.Completed, 1}, {"0001", tasks.Processing, 2}, {"nobody", tasks.Error, nil}, {"0003", tasks.Completed, 3},
	})
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], tasks.ErrTransition)
	require.ErrorIs(t, errs[2], tasks.ErrNotFound)
	require.NoError(t, errs[3])

	for _, newest := range []bool{false, true} {
		var ids []string
		q := tasks.Query{Newest: newest, Limit: 500}
		for {
			page, err := st.List(ctx, q)
			require.NoError(t, err)
			for _, info := range page {
				ids = append(ids, info.ID)
			}
			if len(page) < q.Limit {
				break
			}
			q.After = page[len(page)-1]
		}
		require.Len(t, ids, 1236)
		if newest {
			require.Equal(t, []string{"newer", "new", "1233"}, ids[:3])
		} else {
			require.Equal(t, []string{"0000", "0001", "0002"}, ids[:3])
			require.Equal(t, []string{"new", "newer"}, ids[1234:])
		}
	}
	done, err := st.List(ctx, tasks.Query{Types: []tasks.Type{tasks.Form, tasks.FormFilling}, Statuses: []tasks.Status{tasks.Completed}})
	require.NoError(t, err)
	require.Len(t, done, 2)

	// Only what is old enough goes, in several transactions.
	n, err := st.Cleanup(ctx, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 1234, n)
	counts, err := st.Count(ctx)
	require.NoError(t, err)
	require.Equal(t, map[tasks.Type]map[tasks.Status]int{tasks.Form: {tasks.Pending: 2}}, counts)
}

// TestCleanupGivesSpaceBack: the file is smaller after it.
func TestCleanupGivesSpaceBack(t *testing.T) {
	t.Parallel()
	st, c, path := open(t)
	ctx := t.Context()
	for i := range 200 {
		id := fmt.Sprint(i)
		require.NoError(t, st.Create(ctx, id, tasks.Form, tasks.Relaxed()))
		require.NoError(t, st.Update(ctx, id, tasks.Completed, strings.Repeat("x", 10000), tasks.Relaxed()))
	}
	c.Add(8 * 24 * time.Hour)
	n, err := st.Cleanup(ctx, 7*24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, 200, n)
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer conn.Close()
	s, _, err := conn.Prepare("PRAGMA page_count")
	require.NoError(t, err)
	defer s.Close()
	require.True(t, s.Step())
	require.Less(t, s.ColumnInt(0), 40) // of 540
}

// TestDurability: a call returns once a sync has covered it, unless it is relaxed.
func TestDurability(t *testing.T) {
	t.Parallel()
	st, _, path := open(t)
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	before, err := vfs.Stats(path)
	require.NoError(t, err)
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	after, err := vfs.Stats(path)
	require.NoError(t, err)
	require.Greater(t, after.Syncs, before.Syncs)
	require.Zero(t, after.PendingCommits)

	// Callers at the same time share transactions and syncs.
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 20 {
				if err := st.Create(ctx, fmt.Sprint(i, "-", j), tasks.Form); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	end, err := vfs.Stats(path)
	require.NoError(t, err)
	require.Less(t, end.Commits-after.Commits, uint64(64*20))
}

// TestCancelled: a cancelled call doesn't wait, and one that is cancelled before its turn changes nothing.
func TestCancelled(t *testing.T) {
	st, _, path := open(t)
	other, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.Exec("BEGIN IMMEDIATE"))
	first := make(chan error)
	go func() { first <- st.Create(context.Background(), "first", tasks.Form) }()
	// The writer waits for the lock with the first; this one, once that is taken, is still in the queue.
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() { second <- st.Create(ctx, "second", tasks.Form) }()
	cancel()
	err = <-second
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, other.Exec("ROLLBACK"))
	require.NoError(t, <-first)
	require.NoError(t, st.Create(t.Context(), "third", tasks.Form))
	_, found := st.Status(t.Context(), "second")
	if !errors.Is(err, tasks.ErrOutcomeUnknown) {
		require.ErrorIs(t, found, tasks.ErrNotFound)
	}
}
