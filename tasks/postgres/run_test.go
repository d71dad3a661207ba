package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// claimCounter counts the statements that claim two tasks or more. One without a task has a row, too.
type claimCounter struct {
	tracerBase
	n atomic.Int32
}

func (*claimCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (c *claimCounter) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	if strings.Contains(d.SQL, "FOR UPDATE OF t SKIP LOCKED") && d.CommandTag.RowsAffected() > 1 {
		c.n.Add(1)
	}
}

// anyClaim counts all statements that claim.
type anyClaim struct {
	claimCounter
}

func (c *anyClaim) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	if strings.Contains(d.SQL, "FOR UPDATE OF t SKIP LOCKED") {
		c.n.Add(1)
	}
}

// working has a store's worker handle forms until the test ends.
func working(t *testing.T, st *tasks.Store, handle tasks.Handler) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handle}, 2) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestClaimsInVain: a worker without a task claims when one may have become ready, and not because a task was claimed or has ended,
// be it by its own process or by another.
func TestClaimsInVain(t *testing.T) {
	c := postgres.Config{Schema: server.NewSchema(), Poll: time.Hour}
	var counts [2]anyClaim
	var stores [2]*tasks.Store
	for i := range stores {
		stores[i], _ = traced(t, c, &counts[i])
	}
	for _, st := range stores {
		working(t, st, func(context.Context, tasks.Info) (any, error) { return nil, nil })
	}
	const n = 20
	for i := range n {
		id := fmt.Sprint(i)
		require.NoError(t, stores[0].Create(t.Context(), id, tasks.Form))
		for _, st := range stores {
			_, err := st.Wait(t.Context(), id)
			require.NoError(t, err)
		}
	}
	// The one that gets it looks for another. Each begins with a claim, and both may be told of a task by the log of changes once more as they begin to listen.
	for i := range counts {
		t.Logf("store %d: %d claims", i, counts[i].n.Load())
		require.LessOrEqual(t, counts[i].n.Load(), int32(2*n+4))
	}
	require.LessOrEqual(t, counts[0].n.Load()+counts[1].n.Load(), int32(3*n+8))
}

// TestClaimsOfRun: a worker with free slots claims many tasks by one statement, where many wait: twice as many as the time before, up to 64.
func TestClaimsOfRun(t *testing.T) {
	count := &claimCounter{}
	st, _ := traced(t, postgres.Config{Schema: server.NewSchema()}, count)
	const waiting = 400
	var list []tasks.NewTask
	for i := range waiting {
		list = append(list, tasks.NewTask{ID: fmt.Sprint(i), Type: tasks.Form})
	}
	for _, err := range st.CreateMany(t.Context(), list) {
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var handled atomic.Int32
	done := make(chan error, 1)
	go func() {
		done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) {
			if handled.Add(1) == waiting {
				cancel()
			}
			return nil, nil
		}}, waiting)
	}()
	require.NoError(t, <-done)
	counts, err := st.Count(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[tasks.Status]int{tasks.Completed: waiting}, counts[tasks.Form])
	// After the first one: 2, 4, 8, 16, 32, five times 64, and the rest.
	require.LessOrEqual(t, count.n.Load(), int32(12))
	require.Greater(t, count.n.Load(), int32(5))
}
