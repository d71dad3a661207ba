package tasks_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// child is another process that runs one of roles.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// startChild starts a process and returns once it is ready to go.
func startChild(t *testing.T, role, path string) *child {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "TASKS_CHILD="+role, "TASKS_PATH="+path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	c := &child{t, cmd, in, bufio.NewScanner(out)}
	require.Equal(t, "ready", c.line())
	return c
}

// startChildren starts processes that go at the same time.
func startChildren(t *testing.T, n int, role, path string) (list []*child) {
	t.Helper()
	for range n {
		list = append(list, startChild(t, role, path))
	}
	for _, c := range list {
		c.goOn()
	}
	return list
}

// goOn lets the process go on beyond its next call of barrier.
func (c *child) goOn() {
	_, err := io.WriteString(c.in, "go\n")
	require.NoError(c.t, err)
}

// line returns the next line that the process says, or "" at its end.
func (c *child) line() string {
	for c.out.Scan() {
		if s, ok := strings.CutPrefix(c.out.Text(), "> "); ok {
			return s
		}
	}
	return ""
}

// rest returns all that the process says until it ends, which has to be well.
func (c *child) rest() (lines []string) {
	c.t.Helper()
	for s := c.line(); s != ""; s = c.line() {
		lines = append(lines, s)
	}
	require.NoError(c.t, c.cmd.Wait())
	return lines
}

func say(format string, args ...any) { fmt.Printf("> "+format+"\n", args...) }

var stdin = bufio.NewReader(os.Stdin)

// barrier waits until the parent says so. If that is gone, so is the child.
func barrier() {
	if _, err := stdin.ReadString('\n'); err != nil {
		os.Exit(1)
	}
}

// TestChild is what the other processes run.
func TestChild(t *testing.T) {
	role := roles[os.Getenv("TASKS_CHILD")]
	if role == nil {
		t.Skip("it is for the other processes of tests")
	}
	path := os.Getenv("TASKS_PATH")
	if c := os.Getenv("TASKS_CHILD"); c == "open" || c == "serve" {
		role(t, nil, path)
		return
	}
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	defer st.Close()
	say("ready")
	barrier()
	role(t, st, path)
}

var roles = map[string]func(t *testing.T, st *tasks.Store, path string){
	// do asks for the results of ten inputs.
	"do": func(t *testing.T, st *tasks.Store, _ string) {
		for i := range 10 {
			res, err := st.Do(t.Context(), tasks.Form, i, func(context.Context) (any, error) {
				say("computed %d", i)
				return fmt.Sprint("by ", os.Getpid()), nil
			})
			require.NoError(t, err)
			say("got %d %s", i, res.Raw)
		}
	},
	// work processes tasks until there are none.
	"work": func(t *testing.T, st *tasks.Store, _ string) {
		for {
			c, err := st.Claim(t.Context(), time.Minute)
			if errors.Is(err, tasks.ErrNoTask) {
				return
			}
			require.NoError(t, err)
			require.NoError(t, st.Complete(t.Context(), c, os.Getpid(), tasks.Relaxed()))
			say("%s", c.ID)
		}
	},
	// wait waits for a task, and completes another one.
	"wait": func(t *testing.T, st *tasks.Store, _ string) {
		say("waiting")
		res, err := st.Wait(t.Context(), "theirs")
		require.NoError(t, err)
		require.Equal(t, `"done"`, string(res.Raw))
		require.NoError(t, st.Update(t.Context(), "ours", tasks.Completed, "done"))
		say("done")
	},
	// hold works on a task and on a computation, and never ends.
	"hold": func(t *testing.T, st *tasks.Store, _ string) {
		go func() {
			_, _ = st.Do(t.Context(), tasks.Form, "input", func(ctx context.Context) (any, error) {
				say("computing")
				<-ctx.Done()
				return nil, ctx.Err()
			})
		}()
		_ = st.Run(t.Context(), map[tasks.Type]tasks.Handler{tasks.Form: func(ctx context.Context, _ tasks.Info) (any, error) {
			say("holding")
			<-ctx.Done()
			return nil, ctx.Err()
		}}, 1, tasks.LeaseTime(time.Hour))
	},
	// open opens new files at the same time as others.
	"open": func(t *testing.T, _ *tasks.Store, path string) {
		say("ready")
		barrier()
		for i := range newFiles {
			st, err := tasks.Open(t.Context(), fmt.Sprint(path, i))
			require.NoError(t, err)
			require.NoError(t, st.Create(t.Context(), fmt.Sprint(os.Getpid()), tasks.Form))
			require.NoError(t, st.Close())
			say("%d", i)
			barrier()
		}
	},
}

// newFiles is how many new files are opened by processes at the same time.
const newFiles = 5

// TestProcessesDo: of three processes that ask for the same, one computes.
func TestProcessesDo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.db")
	computed, got := map[string]int{}, map[string]int{}
	for _, c := range startChildren(t, 3, "do", path) {
		for _, s := range c.rest() {
			if i, ok := strings.CutPrefix(s, "computed "); ok {
				computed[i]++
			} else {
				got[s]++
			}
		}
	}
	require.Len(t, computed, 10)
	for i, n := range computed {
		require.Equal(t, 1, n, "computed %s", i)
	}
	require.Len(t, got, 10, "they have got different results")
}

// TestProcessesClaim: three processes complete each task once.
func TestProcessesClaim(t *testing.T) {
	t.Parallel()
	n := sized(300, 60)
	path := filepath.Join(t.TempDir(), "tasks.db")
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	defer st.Close()
	var list []tasks.NewTask
	for i := range n {
		list = append(list, tasks.NewTask{ID: fmt.Sprint(i), Type: tasks.Document})
	}
	require.Nil(t, st.CreateMany(t.Context(), list))
	done := map[string]int{}
	for _, c := range startChildren(t, 3, "work", path) {
		for _, id := range c.rest() {
			done[id]++
		}
	}
	require.Len(t, done, n)
	for id, times := range done {
		require.Equal(t, 1, times, id)
		info, err := st.Status(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, tasks.Completed, info.Status)
		require.Equal(t, 1, info.Attempts)
	}
}

// TestProcessesWait: each of two processes sees what the other has changed.
func TestProcessesWait(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.db")
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	defer st.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, st.Create(ctx, "theirs", tasks.Form))
	require.NoError(t, st.Create(ctx, "ours", tasks.Form))
	c := startChildren(t, 1, "wait", path)[0]
	require.Equal(t, "waiting", c.line())
	require.NoError(t, st.Update(ctx, "theirs", tasks.Completed, "done"))
	res, err := st.Wait(ctx, "ours")
	require.NoError(t, err)
	require.Equal(t, `"done"`, string(res.Raw))
	require.Equal(t, []string{"done"}, c.rest())
}

// TestProcessKilled: others go on with the task and the computation of a process that was killed.
func TestProcessKilled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.db")
	var ahead atomic.Int64
	st, err := tasks.Open(t.Context(), path, tasks.Backoff(func(int) time.Duration { return 0 }),
		tasks.Clock(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }))
	require.NoError(t, err)
	defer st.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	c := startChildren(t, 1, "hold", path)[0]
	require.ElementsMatch(t, []string{"holding", "computing"}, []string{c.line(), c.line()})
	_, err = st.Claim(ctx, time.Minute)
	require.ErrorIs(t, err, tasks.ErrNoTask)
	require.NoError(t, c.cmd.Process.Kill())
	require.Error(t, c.cmd.Wait())
	ahead.Store(int64(time.Hour)) // the lease ends

	working, stop := context.WithCancel(ctx)
	ran := make(chan error)
	go func() {
		ran <- st.Run(working, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) { return "taken over", nil }}, 1)
	}()
	res, err := st.Wait(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, `"taken over"`, string(res.Raw))
	attempts, err := st.Attempts(ctx, "a")
	require.NoError(t, err)
	require.Len(t, attempts, 2)
	require.Equal(t, "lease expired", attempts[0].Error)
	stop()
	require.NoError(t, <-ran)

	// The computation's lease lasts for longer: this store's clock is ahead.
	later, err := tasks.Open(ctx, path, tasks.Clock(func() time.Time { return time.Now().Add(time.Minute) }))
	require.NoError(t, err)
	defer later.Close()
	cached, err := later.Do(ctx, tasks.Form, "input", func(context.Context) (any, error) { return 7, nil })
	require.NoError(t, err)
	require.Equal(t, "7", string(cached.Raw))
}

// TestProcessesOpen: processes open the same new file at the same time.
func TestProcessesOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.db")
	children := startChildren(t, 3, "open", path)
	for i := range newFiles {
		for _, c := range children {
			require.Equal(t, fmt.Sprint(i), c.line())
		}
		for _, c := range children {
			c.goOn()
		}
	}
	for _, c := range children {
		require.Empty(t, c.rest())
	}
	for i := range newFiles {
		st, err := tasks.Open(t.Context(), fmt.Sprint(path, i))
		require.NoError(t, err)
		counts, err := st.Count(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, counts[tasks.Form][tasks.Pending])
		require.NoError(t, st.Close())
	}
}
