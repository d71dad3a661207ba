package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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

// TestClaimsOfRun: a worker with free slots claims many tasks by one statement, where many wait: twice as many as the time before, up to 64.
func TestClaimsOfRun(t *testing.T) {
	pc, err := pgxpool.ParseConfig(server.URL("postgres"))
	require.NoError(t, err)
	count := &claimCounter{}
	pc.ConnConfig.Tracer = count
	postgres.Prepare(pc)
	pool, err := pgxpool.NewWithConfig(t.Context(), pc)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	st, err := postgres.Config{Schema: server.NewSchema()}.New(t.Context(), pool)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
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
