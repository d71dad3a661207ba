package taskhttp_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

// statsOf returns the statistics of the store's database, the only one that is open.
func statsOf(t *testing.T) vfs.Statistics {
	t.Helper()
	all := vfs.AllStats()
	require.Len(t, all, 1)
	return all[0]
}

// TestAnswersAreDurable: whatever an answer or an event tells is durable when it comes, and without that rule it isn't.
func TestAnswersAreDurable(t *testing.T) {
	asks := []struct {
		name string
		path string
		sse  bool
		// change makes something that isn't durable, and that the answer tells of.
		change func(t *testing.T, st *tasks.Store) error
	}{
		{"task", "/tasks/a", false, relaxedUpdate},
		{"result", "/tasks/a/result", false, relaxedUpdate},
		{"input", "/tasks/new/input", false, relaxedCreate},
		{"attempts", "/tasks/a/attempts", false, func(t *testing.T, st *tasks.Store) error {
			_, err := st.Claim(t.Context(), time.Minute)
			return err
		}},
		{"list", "/tasks", false, relaxedUpdate},
		{"statistics", "/stats", false, relaxedCreate},
		{"gone", "/tasks/a", false, func(t *testing.T, st *tasks.Store) error {
			return st.Delete(t.Context(), "a", tasks.Relaxed())
		}},
		{"event", "/tasks/a/events", true, relaxedUpdate},
		{"events", "/events", true, relaxedUpdate},
	}
	for _, settling := range []bool{true, false} {
		for _, ask := range asks {
			t.Run(fmt.Sprintf("%s settling=%v", ask.name, settling), func(t *testing.T) {
				var opts []taskhttp.Option
				if !settling {
					opts = append(opts, taskhttp.WithoutSettling())
				}
				st, disk := onDisk(t)
				s := serveStore(t, st, opts...)
				require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form))
				var e *sse
				if ask.sse {
					e = s.stream(adminToken, ask.path)
					if ask.path == "/tasks/a/events" {
						require.Equal(t, "task", e.next().name)
					}
				}
				goOn := disk.stop()
				defer goOn()
				require.NoError(t, ask.change(t, s.Store))
				answered := make(chan struct{})
				go func() {
					defer close(answered)
					if e != nil {
						e.next()
						return
					}
					s.call(adminToken, "GET", ask.path, "")
				}()
				if !settling {
					<-answered // the control tells what a power cut can take back
					return
				}
				<-disk.waits
				select {
				case <-answered:
					t.Error("it was told before it was durable")
				case <-time.After(30 * time.Millisecond):
				}
				goOn()
				<-answered
				require.Zero(t, statsOf(t).PendingCommits)
			})
		}
	}
}

func relaxedUpdate(t *testing.T, st *tasks.Store) error {
	return st.Update(t.Context(), "a", tasks.Completed, 1, tasks.Relaxed())
}

func relaxedCreate(t *testing.T, st *tasks.Store) error {
	return st.Create(t.Context(), "new", tasks.Form, tasks.Input(1), tasks.Relaxed())
}

// TestPollsCostNoSync: who asks for what hasn't changed, in whatever way, has nothing synced.
func TestPollsCostNoSync(t *testing.T) {
	s := serve(t)
	require.NoError(t, s.Store.Create(t.Context(), "first", tasks.Form))
	require.NoError(t, s.Store.Create(t.Context(), "a", tasks.Form, tasks.Input(1)))
	before := statsOf(t)
	for range 20 {
		for _, path := range []string{"/tasks/a", "/tasks/a/result", "/tasks/a/input", "/tasks/a/attempts", "/tasks", "/stats", "/readyz", "/tasks/none"} {
			resp, _ := s.call(adminToken, "GET", path, "")
			require.Less(t, resp.StatusCode, 500)
		}
	}
	after := statsOf(t)
	require.Equal(t, before.Syncs, after.Syncs)
	require.Equal(t, before.Commits, after.Commits)
	// What a client does costs what it costs without a handler.
	require.NoError(t, s.Store.Create(t.Context(), "direct", tasks.Form))
	direct := statsOf(t).SyncRequests - after.SyncRequests
	after = statsOf(t)
	resp, _ := s.call(adminToken, "POST", "/tasks", `{"id":"b","type":"form"}`)
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	require.Equal(t, after.SyncRequests+direct, statsOf(t).SyncRequests)
}
