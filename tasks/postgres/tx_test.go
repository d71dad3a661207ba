package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// open opens a store in a schema of its own.
func open(t testing.TB, c postgres.Config, opts ...tasks.Option) *tasks.Store {
	t.Helper()
	if c.Schema == "" {
		c.Schema = server.NewSchema()
	}
	st, err := c.Open(t.Context(), server.URL("postgres"), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st
}

// TestTx: what is changed in the application's transaction is there with its commit, or not at all, and is told then.
func TestTx(t *testing.T) {
	ctx := t.Context()
	schema := server.NewSchema()
	pool, err := pgxpool.New(ctx, server.URL("postgres"))
	require.NoError(t, err)
	defer pool.Close()
	st, err := postgres.Config{Schema: schema}.New(ctx, pool)
	require.NoError(t, err)
	defer st.Close()
	other := open(t, postgres.Config{Schema: schema})
	require.NoError(t, st.Create(ctx, "watched", tasks.Form))
	require.NoError(t, st.Create(ctx, "taken", tasks.Form, tasks.UniqueKey("k")))
	waited := make(chan error, 2)
	for _, st := range []*tasks.Store{st, other} {
		go func() {
			r, err := st.Wait(ctx, "watched")
			if err == nil && string(r.Raw) != `"in a transaction"` {
				err = errors.New(string(r.Raw))
			}
			waited <- err
		}()
	}
	run := func(commit bool) {
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		defer tx.Rollback(ctx)
		in, err := postgres.InTx(st, tx)
		require.NoError(t, err)
		require.NoError(t, in.Create(ctx, "a", tasks.Form, tasks.Input("scan"), tasks.WithLabels(map[string]string{"a": "b"})))
		require.ErrorIs(t, in.Create(ctx, "a", tasks.Form), tasks.ErrExists)
		var exists *tasks.ExistsError
		require.ErrorAs(t, in.Create(ctx, "b", tasks.Form, tasks.UniqueKey("k")), &exists)
		require.Equal(t, "taken", exists.ID)
		require.ErrorIs(t, in.Update(ctx, "none", tasks.Completed, 1), tasks.ErrNotFound)
		require.NoError(t, in.Update(ctx, "watched", tasks.Completed, "in a transaction"))
		require.ErrorIs(t, in.Retry(ctx, "watched"), tasks.ErrTransition)
		require.NoError(t, in.Delete(ctx, "taken"))
		_, err = st.Status(ctx, "a")
		require.ErrorIs(t, err, tasks.ErrNotFound, "it isn't committed")
		if commit {
			require.NoError(t, tx.Commit(ctx))
		}
	}
	run(false)
	_, err = st.Status(ctx, "a")
	require.ErrorIs(t, err, tasks.ErrNotFound)
	require.Empty(t, waited)
	run(true)
	require.NoError(t, <-waited)
	require.NoError(t, <-waited)

	// A worker's report.
	c, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "a", c.ID)
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	in, err := st.InTx(tx)
	require.NoError(t, err)
	require.NoError(t, in.Extend(ctx, &c, time.Hour))
	require.NoError(t, in.Progress(ctx, "a", "half"))
	require.NoError(t, in.Report(ctx, "a", tasks.Advance{Done: 1}))
	require.NoError(t, in.Complete(ctx, c, "done"))
	require.ErrorIs(t, in.Complete(ctx, c, "again"), tasks.ErrLeaseLost)
	require.NoError(t, tx.Commit(ctx))
	r, err := other.Result(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, `"done"`, string(r.Raw))

	in, err = st.InTx("no transaction")
	require.NoError(t, err)
	require.ErrorIs(t, in.Delete(ctx, "a"), tasks.ErrNoTx)
	// A pool of the caller's isn't closed.
	require.NoError(t, st.Close())
	require.NoError(t, pool.Ping(context.WithoutCancel(ctx)))
}
