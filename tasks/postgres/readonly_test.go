package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestReadOnly: a server that takes no changes says so with the error that a file has, and workers outlast it.
func TestReadOnly(t *testing.T) {
	at := server.NewURL(t)
	c, err := pgx.ParseConfig(at)
	require.NoError(t, err)
	st, err := postgres.Config{Patience: 50 * time.Millisecond}.Open(t.Context(), at)
	require.NoError(t, err)
	defer st.Close()
	admin, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	defer admin.Close(t.Context())
	database := pgx.Identifier{c.Database}.Sanitize()
	set := func(value string) {
		_, err := admin.Exec(t.Context(), "ALTER DATABASE "+database+" SET default_transaction_read_only="+value)
		require.NoError(t, err)
		_, err = admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname=$1", c.Database)
		require.NoError(t, err)
	}
	set("on")
	// A connection that has ended just now is another error, once.
	require.Eventually(t, func() bool {
		err = st.Create(t.Context(), "a", tasks.Form)
		require.Error(t, err)
		return errors.Is(err, tasks.ErrReadOnly)
	}, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, err, tasks.ErrBusy)
	require.ErrorIs(t, st.Sync(t.Context()), tasks.ErrReadOnly)
	_, err = st.Claim(t.Context(), time.Minute)
	require.ErrorIs(t, err, tasks.ErrReadOnly)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(context.Context, tasks.Info) (any, error) { return 1, nil }}, 1)
	}()
	select {
	case err := <-ended:
		t.Fatalf("a worker has ended: %v", err)
	case <-time.After(300 * time.Millisecond): // some claims have failed by then
	}
	set("off")
	require.Eventually(t, func() bool { return st.Create(t.Context(), "a", tasks.Form) == nil }, 10*time.Second, 10*time.Millisecond)
	_, err = st.Wait(t.Context(), "a")
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-ended)
}
