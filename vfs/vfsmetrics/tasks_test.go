package vfsmetrics_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
)

// useTasks makes tasks end in each way, and every instrument of theirs have a value. It returns the tasks' ids.
func useTasks(t *testing.T, p *metric.MeterProvider) (ids []string) {
	m, err := vfsmetrics.NewTasks(p)
	require.NoError(t, err)
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), tasks.WithHooks(m.Hooks()),
		tasks.Backoff(func(int) time.Duration { return time.Millisecond }), tasks.MaxAttempts(2))
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	stop, err := m.Observe(st)
	require.NoError(t, err)
	t.Cleanup(stop)

	create := func(id string, typ tasks.Type, opts ...tasks.CallOption) {
		ids = append(ids, id)
		require.NoError(t, st.Create(t.Context(), id, typ, opts...))
	}
	create("id-completed", tasks.Document)
	create("id-fails-once", tasks.Form)
	create("id-fails", tasks.FormFilling)
	failed := false
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- st.Run(ctx, map[tasks.Type]tasks.Handler{
			tasks.Document: func(context.Context, tasks.Info) (any, error) { return 1, nil },
			tasks.Form: func(context.Context, tasks.Info) (any, error) {
				if !failed {
					failed = true
					return nil, errors.New("try again")
				}
				return 1, nil
			},
			tasks.FormFilling: func(context.Context, tasks.Info) (any, error) { return nil, tasks.Permanent(errors.New("never")) },
		}, 1)
	}()
	for _, id := range ids {
		_, err := st.Wait(t.Context(), id)
		require.NoError(t, err)
	}
	cancel()
	<-done
	create("id-cancelled", tasks.Document)
	require.NoError(t, st.Cancel(t.Context(), "id-cancelled"))
	create("id-snoozed", tasks.Document)
	c, err := st.Claim(t.Context(), time.Minute, tasks.Document)
	require.NoError(t, err)
	require.NoError(t, st.GiveBack(t.Context(), c, errors.New("not now")))
	create("id-pending", tasks.Form)
	create("id-later", tasks.Form, tasks.RunAt(time.Now().Add(time.Hour)))
	for range 2 {
		_, err := st.Do(t.Context(), tasks.Form, "input", func(context.Context) (any, error) { return 1, nil })
		require.NoError(t, err)
	}
	// What needs hours, or a broken disk, to happen.
	h := m.Hooks()
	h.LeaseLost(ctx, tasks.LeaseLostInfo{Task: c.Info})
	h.Stuck(ctx, tasks.StuckInfo{Task: c.Info})
	h.Stuck(ctx, tasks.StuckInfo{Task: c.Info, Returned: true})
	h.Trouble(ctx, tasks.TroubleInfo{})
	h.Trouble(ctx, tasks.TroubleInfo{Task: &c.Info})
	return ids
}

// TestTasks: each thing that happens to tasks is counted once, by type, and with no task's id.
func TestTasks(t *testing.T) {
	p, reader := meters(t)
	ids := useTasks(t, p)
	got := collect(t, reader)
	for name, want := range map[string]float64{
		"tasks.created{tasks.type=document}":                                               3,
		"tasks.created{tasks.type=form}":                                                   3,
		"tasks.claimed{tasks.type=document}":                                               2,
		"tasks.claimed{tasks.type=form}":                                                   2,
		"tasks.queue.duration{tasks.type=form}":                                            2,
		"tasks.attempts{tasks.outcome=completed,tasks.type=document}":                      1,
		"tasks.attempts{tasks.outcome=retry,tasks.type=form}":                              1,
		"tasks.attempts{tasks.outcome=completed,tasks.type=form}":                          1,
		"tasks.attempts{tasks.outcome=snoozed,tasks.type=document}":                        1,
		"tasks.attempt.duration{tasks.outcome=retry,tasks.type=form}":                      1,
		"tasks.duration{tasks.outcome=completed,tasks.type=form}":                          1,
		"tasks.finished{tasks.cancelled=false,tasks.status=completed,tasks.type=document}": 1,
		"tasks.finished{tasks.cancelled=true,tasks.status=error,tasks.type=unknown}":       1,
		"tasks.leases.lost{tasks.type=document}":                                           1,
		"tasks.handlers.stuck{tasks.type=document}":                                        1,
		"tasks.trouble{tasks.operation=claim}":                                             1,
		"tasks.trouble{tasks.operation=report}":                                            1,
		"tasks.cache.hits{tasks.type=form}":                                                1,
		"tasks.cache.misses{}":                                                             1,
		"tasks.cache.computed{}":                                                           1,
		"tasks.cache.shared{}":                                                             0,
		"tasks.cache.evicted{}":                                                            0,
		"tasks.cache.entries{}":                                                            1,
		"tasks.stored{tasks.status=pending,tasks.type=form}":                               2,
		"tasks.stored{tasks.status=processing,tasks.type=form}":                            0,
		"tasks.stored{tasks.status=completed,tasks.type=document}":                         1,
		"tasks.stored{tasks.status=error,tasks.type=document}":                             1,
	} {
		require.Contains(t, got.values, name)
		require.Equal(t, want, got.values[name], name)
	}
	require.Positive(t, got.values["tasks.pending.age{}"])
	require.Less(t, got.values["tasks.pending.age{}"], 600.0)
	for _, set := range got.sets {
		for _, kv := range set.ToSlice() {
			for _, id := range ids {
				require.False(t, strings.Contains(kv.Value.String(), id), "%s has the id of a task", kv.Key)
			}
		}
	}
}
