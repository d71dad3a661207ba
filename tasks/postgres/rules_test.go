package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestRules: each safety rule of the backend is kept, and, as a control, what shows that breaks without it.
func TestRules(t *testing.T) {
	s := pgtest.StartTest(t, "fsync=off")
	for name, c := range map[string]struct {
		rule  switchedOff
		holds func(*testing.T, *pgtest.Server, Config) error // what is wrong
	}{
		"lease at the end":      {leaseAtEnd, leaseHolds},
		"skip locked":           {skipLocked, claimsOnce},
		"lock what has expired": {lockExpired, takesBackOnce},
		"lock what is due":      {lockDue, readiesOnce},
		"lock what is old":      {lockOld, deletesOnce},
		"unknown outcome":       {unknownOutcome, cutIsUnknown},
		"synchronous_commit":    {syncPerCall, durableAsAsked},
		"one process migrates":  {oneMigrates, startsBeside},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, c.holds(t, s, Config{Schema: s.NewSchema()}))
			err := c.holds(t, s, Config{Schema: s.NewSchema(), off: c.rule})
			require.Error(t, err, "nothing breaks without the rule")
			t.Log(err)
		})
	}
}

func openRules(t *testing.T, url string, c Config, opts ...tasks.Option) *tasks.Store {
	st, err := c.Open(t.Context(), url, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st
}

func connectRules(t *testing.T, s *pgtest.Server) *pgx.Conn {
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// leaseHolds: who has lost the lease doesn't end the attempt of another.
func leaseHolds(t *testing.T, s *pgtest.Server, c Config) error {
	var mu sync.Mutex
	now := time.Unix(1_700_000_000, 0)
	c.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	st := openRules(t, s.URL("postgres"), c, tasks.Backoff(func(int) time.Duration { return 0 }))
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	first, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	mu.Lock()
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	second, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, second.Attempts)
	if err := st.Complete(ctx, first, "first"); !errors.Is(err, tasks.ErrLeaseLost) {
		return fmt.Errorf("who has lost the lease is told %w", cmp.Or(err, errors.New("nothing")))
	}
	return st.Complete(ctx, second, "second")
}

// claimsOnce: a task that another one claims right now isn't handed out.
func claimsOnce(t *testing.T, s *pgtest.Server, c Config) error {
	st := openRules(t, s.URL("postgres"), c)
	require.NoError(t, st.Create(t.Context(), "a", tasks.Form))
	err := beside(t, s, c, "status='processing', attempts=1, lease='another', lease_until=9e15, leased_at=1", func() error {
		_, err := st.Claim(t.Context(), time.Minute)
		return err
	})
	if !errors.Is(err, tasks.ErrNoTask) {
		return fmt.Errorf("a task that another has: %w", cmp.Or(err, errors.New("handed out")))
	}
	return nil
}

// beside makes a call while another process changes the tasks: it has done so, and commits once the call waits for it, or has returned.
func beside(t *testing.T, s *pgtest.Server, c Config, change string, call func() error) error {
	t.Helper()
	conn, look := connectRules(t, s), connectRules(t, s)
	ctx := t.Context()
	_, err := conn.Exec(ctx, "BEGIN; UPDATE "+c.Schema+".tasks SET "+change)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- call() }()
	for !blocks(t, look, conn) && len(done) == 0 {
	}
	_, err = conn.Exec(ctx, "COMMIT")
	require.NoError(t, err)
	return <-done
}

// takesBackOnce: a lease that has run out, and that another process takes back right now, isn't taken from who gets it next.
func takesBackOnce(t *testing.T, s *pgtest.Server, c Config) error {
	return leftAlone(t, s, c, "lease='another', lease_until=9e15", "lease='another'", func(st *tasks.Store) {
		_, err := st.Claim(t.Context(), time.Minute)
		require.NoError(t, err)
	})
}

// readiesOnce: a task that has become due, and that another process has claimed and put off again, stays put off.
func readiesOnce(t *testing.T, s *pgtest.Server, c Config) error {
	return leftAlone(t, s, c, "run_at=9e15", "run_at=9e15", nil)
}

// leftAlone: what another process changes while a store claims, as the store finds it to be done, stays as that process leaves it.
// It is a task for a minute later, which is past.
func leftAlone(t *testing.T, s *pgtest.Server, c Config, change, want string, before func(*tasks.Store)) error {
	var mu sync.Mutex
	now := time.Unix(1_700_000_000, 0)
	c.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	later := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	st := openRules(t, s.URL("postgres"), c)
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form, tasks.RunAt(now.Add(time.Minute))))
	later(2 * time.Minute)
	if before != nil {
		before(st)
	}
	later(2 * time.Minute)
	err := beside(t, s, c, change, func() error {
		_, err := st.Claim(ctx, time.Minute)
		return err
	})
	var as bool
	require.NoError(t, connectRules(t, s).QueryRow(ctx, "SELECT coalesce("+want+", false) FROM "+c.Schema+".tasks").Scan(&as))
	if !as || !errors.Is(err, tasks.ErrNoTask) {
		return fmt.Errorf("%s isn't so any more, and the claim has %w", want, cmp.Or(err, errors.New("the task")))
	}
	return nil
}

// deletesOnce: a task that is old, and that another process retries right now, isn't deleted.
func deletesOnce(t *testing.T, s *pgtest.Server, c Config) error {
	st := openRules(t, s.URL("postgres"), c)
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	require.NoError(t, st.Update(ctx, "a", tasks.Error, nil))
	require.NoError(t, beside(t, s, c, "status='pending'", func() error {
		_, err := st.Cleanup(ctx, 0)
		return err
	}))
	_, err := st.Status(ctx, "a")
	return err
}

// cutIsUnknown: where the answer to a commit is lost, nothing is said of it that isn't so.
func cutIsUnknown(t *testing.T, s *pgtest.Server, c Config) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	var once atomic.Bool
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go dropAnswer(client, fmt.Sprintf("127.0.0.1:%d", s.Port), "cut", &once)
		}
	}()
	st := openRules(t, fmt.Sprintf("postgres://postgres@%s/postgres", l.Addr()), c)
	require.NoError(t, st.Create(t.Context(), "first", tasks.Form))
	if err := st.Create(t.Context(), "cut", tasks.Form); !errors.Is(err, tasks.ErrOutcomeUnknown) {
		return fmt.Errorf("a commit whose answer is lost: %w", cmp.Or(err, errors.New("answered as done")))
	}
	return nil
}

// dropAnswer passes a connection on, until a client's message has the text: the server gets that one, and the client no answer.
// That is done once.
func dropAnswer(client net.Conn, to, text string, once *atomic.Bool) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var mu sync.Mutex
	cut := false
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			mu.Lock()
			if cut || err != nil {
				mu.Unlock()
				client.Close() // the server has answered
				return
			}
			client.Write(buf[:n])
			mu.Unlock()
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		mu.Lock()
		cut = cut || strings.Contains(string(buf[:n]), text) && once.CompareAndSwap(false, true)
		mu.Unlock()
		server.Write(buf[:n])
	}
}

// durableAsAsked: a change waits for the disk if its caller says so, whatever the session is set to.
func durableAsAsked(t *testing.T, s *pgtest.Server, c Config) error {
	conn := connectRules(t, s)
	// First what could be lost: the rest costs time only.
	for _, session := range []string{"off", "on"} {
		st := openRules(t, s.URL("postgres")+"&synchronous_commit="+session, c)
		for _, id := range []string{"durable", "relaxed"} {
			var opts []tasks.CallOption
			if id == "relaxed" {
				opts = append(opts, tasks.Relaxed())
			}
			id += session
			require.NoError(t, st.Create(t.Context(), id, tasks.Form, opts...))
			// The log has the setting of the transaction.
			var durable bool
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT durable FROM "+c.Schema+".task_changes WHERE ids=ARRAY[$1]", id).Scan(&durable))
			if durable != (opts == nil) {
				return fmt.Errorf("session with %s: a change %s is durable: %v", session, id, durable)
			}
		}
	}
	return nil
}

// startsBeside: a process that starts while another one migrates waits for it, and finds all ready.
func startsBeside(t *testing.T, s *pgtest.Server, c Config) error {
	conn, look := connectRules(t, s), connectRules(t, s)
	ctx := t.Context()
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, (&backend{schema: c.Schema}).migrate(ctx, tx))
	opened := make(chan error, 1)
	go func() {
		st, err := c.Open(ctx, s.URL("postgres"))
		if err == nil {
			err = st.Close()
		}
		opened <- err
	}()
	for !blocks(t, look, conn) && len(opened) == 0 {
	}
	require.NoError(t, tx.Commit(ctx))
	return <-opened
}

// blocks reports whether somebody waits for a lock that a connection has.
func blocks(t *testing.T, look, conn *pgx.Conn) (waits bool) {
	require.NoError(t, look.QueryRow(t.Context(), "SELECT EXISTS(SELECT 1 FROM pg_stat_activity WHERE $1=ANY(pg_blocking_pids(pid)))",
		int32(conn.PgConn().PID())).Scan(&waits))
	return waits
}
