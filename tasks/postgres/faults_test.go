package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// kills is how often a server is killed.
func kills() int {
	if testing.Short() || raceEnabled {
		return 4
	}
	return 24
}

// TestServerKilled: whatever was answered as durable is there after kill -9 and a restart.
func TestServerKilled(t *testing.T) {
	s := pgtest.StartTest(t)
	st, err := postgres.Open(t.Context(), s.URL("postgres"), tasks.Backoff(func(int) time.Duration { return 0 }), tasks.MaxAttempts(1000))
	require.NoError(t, err)
	defer st.Close()
	l := startLoad(t, st, 4, 4)
	for range kills() {
		l.progress(20+rand.IntN(60), 1+rand.IntN(20))
		time.Sleep(rand.N(5 * time.Millisecond))
		l.deaths.Add(1)
		s.Kill()
		l.deaths.Add(1)
		require.NoError(t, s.Restart())
	}
	l.progress(50, 50)
	l.check()
	require.NotZero(t, l.unknown, "no kill has hit a change")
}

// TestBackendsTerminated: connections that an administrator ends at random.
func TestBackendsTerminated(t *testing.T) {
	s := pgtest.StartTest(t, "fsync=off")
	st, err := postgres.Open(t.Context(), s.URL("postgres"), tasks.Backoff(func(int) time.Duration { return 0 }), tasks.MaxAttempts(1000))
	require.NoError(t, err)
	defer st.Close()
	admin, err := pgx.Connect(t.Context(), s.URL("postgres"))
	require.NoError(t, err)
	defer admin.Close(t.Context())
	l := startLoad(t, st, 4, 4)
	l.others("watched")
	waited := make(chan error, 1)
	require.NoError(t, st.Create(t.Context(), "watched", tasks.Document))
	go func() {
		_, err := st.Wait(t.Context(), "watched")
		waited <- err
	}()
	for range 2 * kills() {
		l.progress(5+rand.IntN(40), 1+rand.IntN(10))
		_, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid<>pg_backend_pid() AND application_name='tasks'")
		require.NoError(t, err)
	}
	l.progress(20, 20)
	l.check()
	// Who waits is told by another process although the connection that listens has gone many times.
	other, err := postgres.Open(t.Context(), s.URL("postgres"))
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.Update(t.Context(), "watched", tasks.Completed, 1))
	require.NoError(t, <-waited)
}

// TestCutInCommit: a connection that is lost in the middle of a change is never a success, and its outcome isn't claimed to be known.
func TestCutInCommit(t *testing.T) {
	s := pgtest.StartTest(t, "fsync=off")
	for name, v := range map[string]verdict{"before": cutBefore, "after": cutAfter, "no answer": swallow} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, fmt.Sprintf("127.0.0.1:%d", s.Port))
			c := postgres.Config{Schema: s.NewSchema(), Timeout: time.Second}
			st, err := c.Open(t.Context(), fmt.Sprintf("postgres://postgres@%s/postgres", p.Addr()))
			require.NoError(t, err)
			defer st.Close()
			direct, err := c.Open(t.Context(), s.URL("postgres"))
			require.NoError(t, err)
			defer direct.Close()
			require.NoError(t, st.Create(t.Context(), "first", tasks.Form))
			for i := range 3 {
				id := fmt.Sprint("cut ", i)
				hit := make(chan struct{})
				var once sync.Once
				p.set(func(data []byte) verdict {
					if !strings.Contains(string(data), id) {
						return pass
					}
					did := pass
					once.Do(func() { did = v; close(hit) })
					return did
				})
				err := st.Create(t.Context(), id, tasks.Form)
				select {
				case <-hit:
				default:
					t.Fatal("the change has gone another way")
				}
				require.ErrorIs(t, err, tasks.ErrOutcomeUnknown)
				_, found := direct.Status(t.Context(), id)
				if v == cutBefore {
					require.ErrorIs(t, found, tasks.ErrNotFound)
				} else {
					require.NoError(t, found, "the server has made it")
				}
				p.set(nil)
				// The same call again finds out.
				task, created, err := st.CreateOrGet(t.Context(), id, tasks.Form)
				require.NoError(t, err)
				require.Equal(t, v == cutBefore, created)
				require.Equal(t, id, task.ID)
			}
		})
	}
}

// TestStatementTimeout: a statement that the server ends has changed nothing, and the others that shared its transaction go on.
func TestStatementTimeout(t *testing.T) {
	schema := server.NewSchema()
	st := open(t, postgres.Config{Schema: schema})
	require.NoError(t, st.Create(t.Context(), "locked", tasks.Form))
	url := server.URL("postgres") + "&statement_timeout=1000"
	short, err := postgres.Config{Schema: schema}.Open(t.Context(), url)
	require.NoError(t, err)
	defer short.Close()
	tx, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	defer tx.Close(t.Context())
	_, err = tx.Exec(t.Context(), "BEGIN; SELECT 1 FROM "+schema+".tasks FOR UPDATE")
	require.NoError(t, err)
	done := make(chan error, 2)
	go func() { done <- short.Update(t.Context(), "locked", tasks.Completed, 1) }()
	go func() { done <- short.Create(t.Context(), "other", tasks.Form) }()
	var pg *pgconn.PgError
	errs := []error{<-done, <-done}
	if errs[0] == nil {
		errs[0], errs[1] = errs[1], errs[0]
	}
	require.ErrorAs(t, errs[0], &pg)
	require.Equal(t, "57014", pg.Code)
	require.NotErrorIs(t, errs[0], tasks.ErrOutcomeUnknown)
	require.NoError(t, errs[1])
	_, err = tx.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	info, err := st.Status(t.Context(), "locked")
	require.NoError(t, err)
	require.Equal(t, tasks.Pending, info.Status)
	require.NoError(t, short.Update(t.Context(), "locked", tasks.Completed, 1))
}

// TestFullPool: with one connection all goes on, and a caller who can't wait gets its context's error.
func TestFullPool(t *testing.T) {
	schema := server.NewSchema()
	st, err := postgres.Config{Schema: schema}.Open(t.Context(), server.URL("postgres")+"&pool_max_conns=1")
	require.NoError(t, err)
	defer st.Close()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			id := fmt.Sprint(i)
			require.NoError(t, st.Create(t.Context(), id, tasks.Form))
			c, err := st.Claim(t.Context(), time.Minute)
			require.NoError(t, err)
			require.NoError(t, st.Complete(t.Context(), c, "done"))
			r, err := st.Wait(t.Context(), c.ID)
			require.NoError(t, err)
			require.Equal(t, `"done"`, string(r.Raw))
		})
	}
	all.Wait()
	// Something that takes the only connection: a lock that doesn't come.
	tx, err := pgx.Connect(t.Context(), server.URL("postgres"))
	require.NoError(t, err)
	defer tx.Close(t.Context())
	_, err = tx.Exec(t.Context(), "BEGIN; SELECT 1 FROM "+schema+".tasks FOR UPDATE")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, st.Delete(ctx, "1"), tasks.ErrOutcomeUnknown, "it was sent")
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = st.Status(ctx, "1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = tx.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
}

// TestStandby: a standby says that it is one. Once it is promoted, the store goes on there, and with remote_apply nothing is lost.
func TestStandby(t *testing.T) {
	primary := pgtest.StartTest(t, "synchronous_commit=remote_apply", "wal_level=replica", "hot_standby=on")
	standby, err := primary.Standby("second")
	require.NoError(t, err)
	defer standby.Remove()
	admin, err := pgx.Connect(t.Context(), primary.URL("postgres"))
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "ALTER SYSTEM SET synchronous_standby_names='second'")
	require.NoError(t, err)
	_, err = admin.Exec(t.Context(), "SELECT pg_reload_conf()")
	require.NoError(t, err)
	admin.Close(t.Context())

	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/postgres?target_session_attrs=read-write&connect_timeout=2", primary.Port, standby.Port)
	st, err := postgres.Open(t.Context(), url, tasks.Backoff(func(int) time.Duration { return 0 }), tasks.MaxAttempts(1000))
	require.NoError(t, err)
	defer st.Close()

	require.NoError(t, st.Create(t.Context(), "seen", tasks.Document))
	reader, err := postgres.Config{Patience: 100 * time.Millisecond}.Open(t.Context(), standby.TCP("postgres"))
	require.NoError(t, err)
	_, err = reader.Status(t.Context(), "seen")
	require.NoError(t, err, "remote_apply: it is there already")
	require.ErrorIs(t, reader.Create(t.Context(), "no", tasks.Form), tasks.ErrReadOnly)
	_, err = reader.Claim(t.Context(), time.Minute)
	require.ErrorIs(t, err, tasks.ErrReadOnly)
	require.ErrorIs(t, err, tasks.ErrBusy, "it may be promoted")
	require.NoError(t, reader.Settle(t.Context()), "what a standby shows is durable")
	changes, err := reader.Changes(t.Context(), 1, 100)
	require.NoError(t, err)
	require.True(t, changes.Lost, "the log is younger than the server")
	require.ErrorIs(t, reader.Close(), nil)

	l := startLoad(t, st, 4, 2)
	l.others("seen")
	l.progress(100, 50)
	l.deaths.Add(1)
	primary.Kill()
	require.NoError(t, standby.Promote())
	l.deaths.Add(1)
	l.progress(100, 50)
	l.check()
}
