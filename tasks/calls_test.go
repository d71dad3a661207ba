package tasks_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// methodCall is a call of a method that changes something. Its error has to name what it was about.
type methodCall struct {
	name  string
	names []string
	call  func(ctx context.Context) error
}

// writes returns calls of all methods that change something. c is claimed.
func writes(st *tasks.Store, c tasks.Claimed) []methodCall {
	compute := func(context.Context) (any, error) { return 1, nil }
	return []methodCall{
		{"Create", []string{"create", `"new"`}, func(ctx context.Context) error { return st.Create(ctx, "new", tasks.Form) }},
		{"CreateMany", []string{"create", `"n1"`}, func(ctx context.Context) error {
			return errors.Join(st.CreateMany(ctx, []tasks.NewTask{{ID: "n1", Type: tasks.Form}, {ID: "n2", Type: tasks.Form}})...)
		}},
		{"Update", []string{"update", `"a"`}, func(ctx context.Context) error { return st.Update(ctx, "a", tasks.Processing, 1) }},
		{"UpdateMany", []string{"update", `"a"`}, func(ctx context.Context) error {
			return errors.Join(st.UpdateMany(ctx, []tasks.NewStatus{{"a", tasks.Processing, 1}})...)
		}},
		{"Retry", []string{"retry", `"a"`}, func(ctx context.Context) error { return st.Retry(ctx, "a", tasks.Force()) }},
		{"Cancel", []string{"update", `"a"`}, func(ctx context.Context) error { return st.Cancel(ctx, "a") }},
		{"Delete", []string{"delete", `"a"`}, func(ctx context.Context) error { return st.Delete(ctx, "a") }},
		{"Cleanup", []string{"clean up tasks"}, func(ctx context.Context) error { _, err := st.Cleanup(ctx, 0); return err }},
		{"Claim", []string{"claim task"}, func(ctx context.Context) error { _, err := st.Claim(ctx, time.Minute); return err }},
		{"Extend", []string{"extend lease", `"claimed"`}, func(ctx context.Context) error { c := c; return st.Extend(ctx, &c, time.Minute) }},
		{"Progress", []string{"report progress", `"claimed"`}, func(ctx context.Context) error { return st.Progress(ctx, "claimed", 1) }},
		{"Complete", []string{"complete", `"claimed"`}, func(ctx context.Context) error { return st.Complete(ctx, c, 1) }},
		{"Fail", []string{"fail", `"claimed"`}, func(ctx context.Context) error { return st.Fail(ctx, c, errors.New("why")) }},
		{"Do", []string{"cache form", `"k"`}, func(ctx context.Context) error {
			_, err := st.Do(ctx, tasks.Form, nil, compute, tasks.Key("k"))
			return err
		}},
		{"Warm", []string{"cache form", `"k"`}, func(ctx context.Context) error { return st.Warm(ctx, tasks.Form, nil, 1, tasks.Key("k")) }},
		{"Invalidate", []string{"cache form", `"k"`}, func(ctx context.Context) error { return st.Invalidate(ctx, tasks.Form, nil, tasks.Key("k")) }},
		{"InvalidateType", []string{"cache form"}, func(ctx context.Context) error { return st.InvalidateType(ctx, tasks.Form) }},
	}
}

// reads returns calls of all methods that only look.
func reads(st *tasks.Store) []methodCall {
	return []methodCall{
		{"Status", []string{"get", `"a"`}, func(ctx context.Context) error { _, err := st.Status(ctx, "a"); return err }},
		{"Result", []string{"get", `"a"`}, func(ctx context.Context) error { _, err := st.Result(ctx, "a"); return err }},
		{"Attempts", []string{"get attempts", `"a"`}, func(ctx context.Context) error { _, err := st.Attempts(ctx, "a"); return err }},
		{"List", []string{"list tasks"}, func(ctx context.Context) error { _, err := st.List(ctx, tasks.Query{}); return err }},
		{"Count", []string{"count tasks"}, func(ctx context.Context) error { _, err := st.Count(ctx); return err }},
		{"CacheStats", []string{"size of the cache"}, func(ctx context.Context) error { _, err := st.CacheStats(ctx); return err }},
	}
}

// callable opens a store that the calls would succeed with.
func callable(t *testing.T) (*tasks.Store, tasks.Claimed, string) {
	t.Helper()
	st, _, path := open(t)
	require.NoError(t, st.Create(t.Context(), "claimed", tasks.Form))
	c, err := st.Claim(t.Context(), time.Minute)
	require.NoError(t, err)
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	require.NoError(t, st.Warm(t.Context(), tasks.Form, nil, 1, tasks.Key("other")))
	return st, c, path
}

// TestCancelledWhileLocked: a call that waits for the write lock ends with its context, and says what it was about.
// Looking doesn't wait for the lock.
func TestCancelledWhileLocked(t *testing.T) {
	st, c, path := callable(t)
	other, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.Exec("BEGIN IMMEDIATE"))
	for _, call := range writes(st, c) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- call.call(ctx) }()
		runtime.Gosched()
		cancel()
		err := <-ended
		require.ErrorIs(t, err, context.Canceled, call.name)
		for _, name := range call.names {
			require.ErrorContains(t, err, name, call.name)
		}
	}
	for _, call := range reads(st) {
		require.NoError(t, call.call(t.Context()), call.name)
	}
	// The handlers of a Run that shall end at once aren't waited for beyond their own end, and a new one doesn't begin.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) { return 1, nil }}, 1))
	require.NoError(t, st.RunJanitor(ctx, tasks.Janitor{}))
	require.NoError(t, other.Exec("ROLLBACK"))
	_, err = st.Status(t.Context(), "new")
	if err == nil {
		require.NoError(t, st.Delete(t.Context(), "new")) // it was the one that the writer had begun with
	}
}

// TestErrorsNameTheTask: whatever fails says which operation it was and on what, and wraps the cause.
func TestErrorsNameTheTask(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, calls []methodCall, cause error) {
		for _, call := range calls {
			err := call.call(t.Context())
			require.ErrorIs(t, err, cause, call.name)
			for _, name := range call.names {
				require.ErrorContains(t, err, name, call.name)
			}
		}
	}
	t.Run("closed", func(t *testing.T) {
		st, c, path := callable(t)
		tx, err := openSQL(t, path).BeginTx(t.Context(), &sql.TxOptions{})
		require.NoError(t, err)
		defer tx.Rollback()
		in, err := st.InTx(tx)
		require.NoError(t, err)
		require.NoError(t, st.Close())
		check(t, append(writes(st, c), reads(st)...), tasks.ErrClosed)
		require.ErrorIs(t, in.Create(t.Context(), "new", tasks.Form), tasks.ErrClosed)
		_, err = st.Wait(t.Context(), "a")
		require.ErrorIs(t, err, tasks.ErrClosed)
		require.ErrorContains(t, err, `"a"`)
		require.ErrorIs(t, st.Close(), tasks.ErrClosed)
	})
	t.Run("broken", func(t *testing.T) {
		st, c, path := callable(t)
		sqlFile(t, path, "ALTER TABLE tasks RENAME TO gone; ALTER TABLE task_cache RENAME TO gone_cache; ALTER TABLE task_attempts RENAME TO gone_attempts;"+
			"ALTER TABLE task_leases RENAME TO gone_leases; ALTER TABLE task_counts RENAME TO gone_counts")
		check(t, append(writes(st, c), reads(st)...), sqlite3.ERROR)
	})
	t.Run("input", func(t *testing.T) {
		st, c, _ := callable(t)
		ctx, bad := t.Context(), func() {}
		check(t, []methodCall{
			{"Create", []string{"create", `"new"`}, func(context.Context) error { return st.Create(ctx, "new", "letter") }},
			{"Update", []string{"update", `"a"`}, func(context.Context) error { return st.Update(ctx, "a", "done", nil) }},
			{"Result", []string{"update", `"a"`}, func(context.Context) error { return st.Update(ctx, "a", tasks.Completed, bad) }},
			{"Complete", []string{"complete", `"claimed"`}, func(context.Context) error { return st.Complete(ctx, c, bad) }},
			{"Progress", []string{"progress", `"claimed"`}, func(context.Context) error { return st.Progress(ctx, "claimed", bad) }},
			{"UTF-8", []string{"update", `"a"`, "UTF-8"}, func(context.Context) error {
				return st.Update(ctx, "a", tasks.Completed, rawJSON("\"\xff\""))
			}},
		}, tasks.ErrInvalid)
	})
}

// rawJSON is a result that encodes itself.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// TestErrorText: what is kept of an error's text is text.
func TestErrorText(t *testing.T) {
	st, _, _ := open(t)
	for text, want := range map[string]string{
		"bad \xff text":                                 "bad ? text",
		strings.Repeat("x", 5000):                       strings.Repeat("x", tasks.MaxErrorText),
		strings.Repeat("x", tasks.MaxErrorText-1) + "ü": strings.Repeat("x", tasks.MaxErrorText-1),
	} {
		require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
		require.NoError(t, st.Update(t.Context(), "a", tasks.Error, nil, tasks.ErrorText(text)))
		info, err := st.Status(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, want, info.Error)
		require.NoError(t, st.Delete(t.Context(), "a"))
	}
}

// TestCloseWhileBusy: calls that run while the store is closed succeed or say so, and nothing of the store stays behind.
func TestCloseWhileBusy(t *testing.T) {
	for round := range sized(3, 1) {
		st, _, path := open(t)
		ctx := context.Background()
		require.NoError(t, st.Create(ctx, "waited for", tasks.Form))
		var wg sync.WaitGroup
		expect := func(err error) bool {
			if err != nil && !errors.Is(err, tasks.ErrClosed) && !errors.Is(err, tasks.ErrNoTask) && !errors.Is(err, tasks.ErrExists) &&
				!errors.Is(err, tasks.ErrNotFound) && !errors.Is(err, tasks.ErrTransition) && !errors.Is(err, tasks.ErrLeaseLost) {
				t.Error(err)
			}
			return !errors.Is(err, tasks.ErrClosed)
		}
		begun := make(chan struct{}, 100)
		calls := append(writes(st, tasks.Claimed{Info: tasks.Info{ID: "claimed"}}), reads(st)...)
		for _, call := range calls {
			wg.Go(func() {
				for first := true; expect(call.call(ctx)); first = false {
					if first {
						begun <- struct{}{}
					}
				}
			})
		}
		handlers := map[tasks.Type]tasks.Handler{tasks.Document: func(context.Context, tasks.Info) (any, error) { return 1, nil }}
		wg.Go(func() { expect(st.Run(ctx, handlers, 3)) })
		wg.Go(func() { expect(st.RunJanitor(ctx, tasks.Janitor{Every: time.Millisecond})) })
		wg.Go(func() { _, err := st.Wait(ctx, "waited for"); expect(err) })
		for range calls {
			<-begun
		}
		require.NoError(t, st.Close(), round)
		wg.Wait()
		require.NoFileExists(t, path+"-wal")
	}
	// Computations that nobody waits for any more may take a moment to notice.
	buf := make([]byte, 1<<20)
	stacks := func() string { return string(buf[:runtime.Stack(buf, true)]) }
	require.Eventually(t, func() bool {
		return strings.Count(stacks(), "asyncvfs/tasks.(") == 0
	}, 30*time.Second, 10*time.Millisecond, "goroutines that are left: %s", stacks())
}
