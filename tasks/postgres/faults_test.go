package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// load creates, claims and completes tasks from several goroutines, and remembers what it was told.
type load struct {
	t  *testing.T
	st *tasks.Store

	mu        sync.Mutex
	created   map[string]bool // answered as created, durably; +checklocks:mu
	tried     map[string]bool // asked to be created; +checklocks:mu
	completed map[string]int  // attempts by the answers to Complete; +checklocks:mu
	claimed   map[string]int  // how often each was handed out; +checklocks:mu
	unknown   int             // +checklocks:mu
	wrong     []error         // +checklocks:mu
	stop      atomic.Bool
	all       sync.WaitGroup
}

func startLoad(t *testing.T, st *tasks.Store, creators, workers int) *load {
	l := &load{t: t, st: st, created: map[string]bool{}, tried: map[string]bool{}, completed: map[string]int{}, claimed: map[string]int{}}
	for c := range creators {
		l.all.Go(func() {
			for n := 0; !l.stop.Load(); n++ {
				id := fmt.Sprintf("%d-%d", c, n)
				l.mu.Lock()
				l.tried[id] = true
				l.mu.Unlock()
				err := st.Create(context.Background(), id, tasks.Form)
				l.mu.Lock()
				switch {
				case err == nil:
					l.created[id] = true
				case errors.Is(err, tasks.ErrOutcomeUnknown):
					l.unknown++
				default:
					l.wrong = append(l.wrong, err)
				}
				l.mu.Unlock()
			}
		})
	}
	for range workers {
		l.all.Go(func() {
			for !l.stop.Load() {
				c, err := st.Claim(context.Background(), tasks.MinLease, tasks.Form)
				switch {
				case errors.Is(err, tasks.ErrNoTask):
					time.Sleep(time.Millisecond)
					continue
				case errors.Is(err, tasks.ErrOutcomeUnknown):
					continue
				case err != nil:
					l.mu.Lock()
					l.wrong = append(l.wrong, err)
					l.mu.Unlock()
					continue
				}
				l.mu.Lock()
				l.claimed[c.ID]++
				l.mu.Unlock()
				err = st.Complete(context.Background(), c, c.Attempts)
				l.mu.Lock()
				switch {
				case err == nil:
					if l.completed[c.ID] != 0 {
						l.wrong = append(l.wrong, fmt.Errorf("%s was completed twice", c.ID))
					}
					l.completed[c.ID] = c.Attempts
				case errors.Is(err, tasks.ErrOutcomeUnknown):
					l.unknown++
				case !errors.Is(err, tasks.ErrLeaseLost):
					l.wrong = append(l.wrong, err)
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

// done is how much was answered as done.
func (l *load) done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.created) + len(l.completed)
}

// progress waits until more was answered as done.
func (l *load) progress(more int) {
	for from, start := l.done(), time.Now(); l.done() < from+more; {
		require.Less(l.t, time.Since(start), time.Minute, "nothing goes on")
		time.Sleep(2 * time.Millisecond)
	}
}

// check ends the load, and looks whether what was answered is there.
func (l *load) check() {
	l.stop.Store(true)
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(l.t, l.wrong)
	ctx := l.t.Context()
	for id := range l.created {
		r, err := l.st.Result(ctx, id)
		require.NoError(l.t, err, "%s was answered as created", id)
		if attempt := l.completed[id]; attempt != 0 {
			require.Equal(l.t, tasks.Completed, r.Status, "%s was answered as completed", id)
			require.Equal(l.t, fmt.Sprint(attempt), string(r.Raw), id)
		}
		// Each time that it was handed out is an attempt, unless its claim was lost with the server, which ends the worker's attempt, too.
		if l.claimed[id] > 1 {
			require.Greater(l.t, r.Attempts, 0, id)
		}
	}
	list, err := l.st.List(ctx, tasks.Query{Limit: 1000})
	require.NoError(l.t, err)
	for _, t := range list {
		require.True(l.t, l.tried[t.ID], "%s was never asked for", t.ID)
	}
	l.t.Logf("%d created, %d completed, %d with an unknown outcome", len(l.created), len(l.completed), l.unknown)
}

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
		l.progress(20 + rand.IntN(100))
		time.Sleep(rand.N(5 * time.Millisecond))
		s.Kill()
		require.NoError(t, s.Restart())
	}
	l.progress(50)
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
	waited := make(chan error, 1)
	require.NoError(t, st.Create(t.Context(), "watched", tasks.Document))
	go func() {
		_, err := st.Wait(t.Context(), "watched")
		waited <- err
	}()
	for range 2 * kills() {
		l.progress(5 + rand.IntN(40))
		_, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid<>pg_backend_pid() AND application_name='tasks'")
		require.NoError(t, err)
	}
	l.check0("watched")
	// Who waits is told by another process although the connection that listens has gone many times.
	other, err := postgres.Open(t.Context(), s.URL("postgres"))
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.Update(t.Context(), "watched", tasks.Completed, 1))
	require.NoError(t, <-waited)
}

func (l *load) check0(also string) {
	l.mu.Lock()
	l.tried[also] = true
	l.mu.Unlock()
	l.check()
}

// proxy passes connections on to a server, until it is told to cut them.
type proxy struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns map[net.Conn]bool // +checklocks:mu
	// seen is called with what a client has sent, before it is passed on. What it returns says what becomes of the connection.
	seen func(data []byte) verdict // +checklocks:mu
}

type verdict int

const (
	pass      verdict = iota
	cutBefore         // the server doesn't get it
	cutAfter          // the server gets it, the client no answer
	swallow           // the server gets it, and the client waits
)

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: l, to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) set(seen func([]byte) verdict) {
	p.mu.Lock()
	p.seen = seen
	p.mu.Unlock()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	var mute atomic.Bool
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if n > 0 && !mute.Load() {
				client.Write(buf[:n])
			}
			if err != nil {
				client.Close()
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			server.Close()
			return
		}
		p.mu.Lock()
		seen := p.seen
		p.mu.Unlock()
		v := pass
		if seen != nil {
			v = seen(buf[:n])
		}
		switch v {
		case cutBefore:
			client.Close()
			server.Close()
			return
		case cutAfter:
			mute.Store(true)
			server.Write(buf[:n])
			time.Sleep(20 * time.Millisecond) // the server gets to it
			client.Close()
			// The server may go on: it isn't told.
			continue
		case swallow:
			mute.Store(true)
			time.AfterFunc(time.Second, func() { client.Close() }) // the driver waits long for what it gives up
		}
		server.Write(buf[:n])
	}
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
	l.progress(200)
	primary.Kill()
	require.NoError(t, standby.Promote())
	l.progress(100)
	l.check0("seen")
}
