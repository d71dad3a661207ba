package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/stretchr/testify/require"
)

// TestWorkerProcess isn't a test: it is a process of TestProcesses.
func TestWorkerProcess(t *testing.T) {
	url, schema, name := os.Getenv("WORKER_URL"), os.Getenv("WORKER_SCHEMA"), os.Getenv("WORKER_NAME")
	if url == "" {
		t.Skip("it is run by TestProcesses")
	}
	st, err := postgres.Config{Schema: schema}.Open(t.Context(), url)
	require.NoError(t, err)
	st.Run(t.Context(), map[tasks.Type]tasks.Handler{
		tasks.Form: func(ctx context.Context, t tasks.Info) (any, error) {
			time.Sleep(20 * time.Millisecond)
			return name, nil
		},
		tasks.Document: func(ctx context.Context, t tasks.Info) (any, error) { // hangs in the first process that gets it
			if t.Attempts == 1 {
				<-ctx.Done()
			}
			return name, nil
		},
	}, 3, tasks.LeaseTime(tasks.MinLease))
}

// TestProcesses: workers of several processes share the tasks, a limit holds for all of them together,
// and what a killed one has had comes back.
func TestProcesses(t *testing.T) {
	schema := server.NewSchema()
	ctx := t.Context()
	st := open(t, postgres.Config{Schema: schema}, tasks.Backoff(func(int) time.Duration { return 0 }))
	require.NoError(t, st.SetLimits(ctx, tasks.Form, tasks.TypeLimits{Running: 2}))
	require.NoError(t, st.Create(ctx, "hangs", tasks.Document))
	var mu sync.Mutex
	procs := map[string]*exec.Cmd{}
	start := func(name string) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestWorkerProcess$")
		cmd.Env = append(os.Environ(), "WORKER_URL="+server.URL("postgres"), "WORKER_SCHEMA="+schema, "WORKER_NAME="+name)
		require.NoError(t, cmd.Start())
		mu.Lock()
		procs[name] = cmd
		mu.Unlock()
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	}
	start("a")
	for r, err := range st.Watch(ctx, "hangs") {
		require.NoError(t, err)
		if r.Status == tasks.Processing {
			break
		}
	}
	procs["a"].Process.Kill()
	for _, name := range []string{"b", "c", "d"} {
		start(name)
	}
	const n = 60
	for i := range n {
		require.NoError(t, st.Create(ctx, fmt.Sprint(i), tasks.Form))
	}
	by := map[string]int{}
	for i := range n {
		r, err := st.Wait(ctx, fmt.Sprint(i))
		require.NoError(t, err)
		by[string(r.Raw)]++
		running, err := st.List(ctx, tasks.Query{Types: []tasks.Type{tasks.Form}, Statuses: []tasks.Status{tasks.Processing}})
		require.NoError(t, err)
		require.LessOrEqual(t, len(running), 2, "the limit is that of all processes")
	}
	require.GreaterOrEqual(t, len(by), 2, "%v", by)
	require.Zero(t, by[`"a"`])
	r, err := st.Wait(ctx, "hangs")
	require.NoError(t, err)
	require.Equal(t, 2, r.Attempts, "it has come back when its lease had expired")
	require.NotEqual(t, `"a"`, string(r.Raw))
}

// TestStartTogether: many processes that start on an empty database at the same time all find it ready.
func TestStartTogether(t *testing.T) {
	schema := server.NewSchema()
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			st, err := postgres.Config{Schema: schema}.Open(t.Context(), server.URL("postgres"))
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			if _, err := st.Count(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
