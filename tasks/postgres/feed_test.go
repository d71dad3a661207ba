package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/taskhttp/taskhttptest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestHTTP: what the service over HTTP is held to over a file.
func TestHTTP(t *testing.T) {
	taskhttptest.Run(t, func(t testing.TB, opts ...tasks.Option) *tasks.Store {
		st, err := postgres.Config{Schema: server.NewSchema()}.Open(t.Context(), server.URL("postgres"), opts...)
		require.NoError(t, err)
		return st
	})
}

// begin begins a transaction that has a number.
func begin(t *testing.T, at string) pgx.Tx {
	conn, err := pgx.Connect(t.Context(), at)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(t.Context()) })
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT pg_current_xact_id()")
	require.NoError(t, err)
	return tx
}

// TestChanges: changes are told in an order that every process has, and none is missed whose transaction ends late.
func TestChanges(t *testing.T) {
	c := postgres.Config{Schema: server.NewSchema()}
	st, other := open(t, c), open(t, c)
	ctx := t.Context()
	after := func(st *tasks.Store, n int64, limit int) tasks.Changes {
		t.Helper()
		got, err := st.Changes(ctx, n, limit)
		require.NoError(t, err)
		return got
	}
	start := after(st, -1, 1)
	require.False(t, start.Lost)
	require.NoError(t, other.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	require.NoError(t, st.Sync(ctx)) // names no task
	first := after(other, start.Last, 1)
	require.Equal(t, []string{"a"}, first.IDs)
	require.True(t, first.More)
	second := after(st, first.Last, 10)
	require.Equal(t, []string{"b"}, second.IDs)
	require.False(t, second.More)
	require.Empty(t, after(st, second.Last, 10).IDs)

	// One that has begun before another, and is committed after it.
	early := begin(t, server.URL("postgres"))
	in, err := postgres.InTx(st, early)
	require.NoError(t, err)
	for i := range 3 {
		require.NoError(t, in.Create(ctx, fmt.Sprint("early", i), tasks.Form))
	}
	require.NoError(t, st.Create(ctx, "late", tasks.Form))
	changed, stop := st.Notify("")
	require.Empty(t, after(st, second.Last, 10).IDs, "else who goes on after it would miss the early one")
	require.NoError(t, early.Commit(ctx))
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody is told")
	}
	stop()
	third := after(other, second.Last, 1)
	require.Equal(t, []string{"early0", "early1", "early2"}, third.IDs, "a transaction is told as one")
	require.True(t, third.More)
	require.Equal(t, []string{"late"}, after(st, third.Last, 10).IDs)

	// A transaction of somebody else's, in another database, of whose end nobody is told.
	last := after(st, -1, 1).Last
	foreign := begin(t, server.NewURL(t))
	require.NoError(t, st.Create(ctx, "held", tasks.Form))
	changed, stop = st.Notify("")
	require.Empty(t, after(st, last, 10).IDs)
	require.NoError(t, foreign.Rollback(ctx))
	for ended := false; !ended; {
		select {
		case <-changed: // as time has passed
		case <-time.After(10 * time.Second):
			t.Fatal("nobody is told to look again")
		}
		stop()
		changed, stop = st.Notify("")
		ended = len(after(st, last, 10).IDs) > 0
	}
	stop()

	// What isn't kept, and what isn't there yet.
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "DELETE FROM "+c.Schema+".task_changes WHERE xid<$1", third.Last)
	require.NoError(t, err)
	lost := after(st, second.Last, 10)
	require.True(t, lost.Lost)
	require.Empty(t, lost.IDs)
	require.False(t, after(st, lost.Last, 10).Lost)
	require.False(t, after(st, third.Last, 10).Lost)
	require.True(t, after(st, 1<<60, 10).Lost)
}
