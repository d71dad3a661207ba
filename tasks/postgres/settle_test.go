package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// lateServer is a server that brings what isn't waited for to the disk late.
func lateServer(t *testing.T) *pgtest.Server {
	return pgtest.StartTest(t, "wal_writer_delay=10s", "wal_writer_flush_after=1GB", "autovacuum=off")
}

// openAt opens a store of a server.
func openAt(t *testing.T, s *pgtest.Server) *tasks.Store {
	st, err := postgres.Open(t.Context(), s.TCP("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st
}

// connectAt connects to a server, beside its stores. Nothing that it does waits for the disk.
func connectAt(t *testing.T, s *pgtest.Server) *pgx.Conn {
	conn, err := pgx.Connect(t.Context(), s.TCP("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	_, err = conn.Exec(t.Context(), "SET synchronous_commit=off")
	require.NoError(t, err)
	return conn
}

// syncsOf counts the commits that were made for nothing but durability.
func syncsOf(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM tasks.task_changes WHERE ids='{}' AND writer<>'-'").Scan(&n))
	return n
}

// TestSettle: what was read survives the server's death after Settle, whoever has changed it, and Settle costs a commit only where it has to.
func TestSettle(t *testing.T) {
	ctx := t.Context()
	s := lateServer(t)
	st, other := openAt(t, s), openAt(t, s)
	admin := connectAt(t, s)
	_, err := admin.Exec(ctx, "CREATE TABLE unrelated(x int)")
	require.NoError(t, err)
	// behind has the WAL be not all on the disk, by what is none of ours.
	behind := func() {
		t.Helper()
		_, err := admin.Exec(ctx, "INSERT INTO unrelated VALUES(1)")
		require.NoError(t, err)
		var flushed bool
		require.NoError(t, admin.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()>=pg_current_wal_insert_lsn()").Scan(&flushed))
		require.False(t, flushed)
	}
	syncs := func() int { t.Helper(); return syncsOf(t, admin) }
	costs := func(want int, what string) {
		t.Helper()
		behind()
		before := syncs()
		for range 3 {
			require.NoError(t, st.Settle(ctx))
			if want == 0 {
				behind()
			}
		}
		require.Equal(t, want, syncs()-before, what)
	}
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Settle(ctx))
	costs(0, "nothing has changed")
	require.NoError(t, st.Update(ctx, "a", tasks.Processing, nil))
	costs(0, "its own durable change")
	require.NoError(t, other.Update(ctx, "a", tasks.Completed, 1))
	costs(0, "another's durable change")
	require.NoError(t, st.Create(ctx, "own", tasks.Form, tasks.Relaxed()))
	costs(1, "its own relaxed change")
	require.NoError(t, other.Create(ctx, "relaxed", tasks.Form, tasks.Relaxed()))
	costs(1, "another's relaxed change")
	_, err = other.Claim(ctx, 1e9)
	require.NoError(t, err)
	costs(1, "a claim")
	tx := begin(t, s.TCP("postgres"))
	in, err := postgres.InTx(st, tx)
	require.NoError(t, err)
	require.NoError(t, in.Create(ctx, "app", tasks.Form))
	_, err = tx.Exec(ctx, "SET LOCAL synchronous_commit=off") // after the log was written
	require.NoError(t, err)
	require.NoError(t, tx.Commit(ctx))
	costs(1, "a change in the application's transaction")

	// Where the WAL is on the disk, nothing needs to be known of who wrote it.
	// A read may write to the WAL, too, as it tidies a page: but not each time.
	require.Eventually(t, func() bool {
		require.NoError(t, other.Create(ctx, rand.Text(), tasks.Form, tasks.Relaxed()))
		require.NoError(t, other.Sync(ctx))
		before := syncs()
		require.NoError(t, st.Settle(ctx))
		return before == syncs()
	}, 10*time.Second, time.Millisecond)

	// What Settle is for, and, as a control, what comes of it without.
	require.NoError(t, other.Create(ctx, "kept", tasks.Form, tasks.Relaxed()))
	require.NoError(t, st.Settle(ctx))
	losesRelaxed(t, s, other, st.Status, "kept")
	admin = connectAt(t, s)
	require.NoError(t, other.Create(ctx, "again", tasks.Form, tasks.Relaxed()))
	costs(1, "a relaxed change, after the restart")
}

// losesRelaxed kills the server right after a relaxed change that was seen, until that is gone then, and one task isn't.
// The server's WAL writer may have come by, as it does every ten seconds.
func losesRelaxed(t *testing.T, s *pgtest.Server, st *tasks.Store, look func(context.Context, string) (tasks.Info, error), kept string) {
	t.Helper()
	ctx := t.Context()
	for i, gone := 0, false; !gone; i++ {
		require.Less(t, i, 5, "each was durable")
		id := fmt.Sprint("gone", i)
		require.NoError(t, st.Create(ctx, id, tasks.Form, tasks.Relaxed()))
		_, err := st.Status(ctx, id)
		require.NoError(t, err)
		s.Kill()
		require.NoError(t, s.Restart())
		_, err = look(ctx, kept)
		require.NoError(t, err)
		_, err = look(ctx, id)
		gone = errors.Is(err, tasks.ErrNotFound)
		require.True(t, gone || err == nil, err)
	}
}

// TestSettledReader: what is read and whether it is durable is one statement, for any number of tasks, and one waits only for its own changes.
func TestSettledReader(t *testing.T) {
	ctx := t.Context()
	st, _, r := recorded(t, postgres.Config{Schema: server.NewSchema()})
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Create(ctx, "b", tasks.Form))
	require.NoError(t, st.Update(ctx, "b", tasks.Completed, "text"))
	require.NoError(t, st.Settle(ctx))
	one := func(f func()) {
		t.Helper()
		r.start()
		f()
		_, n := r.stop()
		require.Equal(t, 1, n)
	}
	one(func() {
		info, err := st.StatusSettled(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, tasks.Pending, info.Status)
	})
	one(func() {
		_, err := st.StatusSettled(ctx, "none")
		require.ErrorIs(t, err, tasks.ErrNotFound)
	})
	one(func() {
		res, err := st.ResultSettled(ctx, "b")
		require.NoError(t, err)
		require.Equal(t, `"text"`, string(res.Raw))
		require.Equal(t, tasks.Completed, res.Status)
	})
	one(func() {
		_, err := st.ResultSettled(ctx, "none")
		require.ErrorIs(t, err, tasks.ErrNotFound)
	})
	one(func() {
		infos, errs := st.StatusesSettled(ctx, []string{"b", "none", "a", "b"})
		require.ErrorIs(t, errs[1], tasks.ErrNotFound)
		require.Equal(t, []string{"b", "", "a", "b"}, []string{infos[0].ID, infos[1].ID, infos[2].ID, infos[3].ID})
		require.Equal(t, []error{nil, nil}, []error{errs[0], errs[2]})
	})
}

// TestSettledOfOthers: who asks for a task doesn't wait for what has become of another, and waits for what has become of it.
func TestSettledOfOthers(t *testing.T) {
	ctx := t.Context()
	s := lateServer(t)
	st, other := openAt(t, s), openAt(t, s)
	admin := connectAt(t, s)
	require.NoError(t, st.Create(ctx, "rests", tasks.Form))
	require.NoError(t, st.Settle(ctx))
	require.NoError(t, other.Create(ctx, "changes", tasks.Form, tasks.Relaxed()))
	before := syncsOf(t, admin)
	for range 3 {
		_, err := st.StatusSettled(ctx, "rests")
		require.NoError(t, err)
		_, err = st.ResultSettled(ctx, "rests")
		require.NoError(t, err)
	}
	require.Equal(t, before, syncsOf(t, admin), "nothing has become of it")
	_, err := st.StatusSettled(ctx, "changes")
	require.NoError(t, err)
	require.Equal(t, before+1, syncsOf(t, admin))

	losesRelaxed(t, s, other, st.StatusSettled, "changes")
}
