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
	// deaths grows by one when a server begins to die, and by one when it has: what it hadn't on its disk may be gone then, claims too.
	deaths atomic.Int64

	mu        sync.Mutex
	created   map[string]bool      // answered as created, durably; guarded by mu
	tried     map[string]bool      // asked to be created; guarded by mu
	completed map[string]int       // attempts by the answers to Complete; guarded by mu
	handed    map[string][]handout // what claims have answered; guarded by mu
	lost      int                  // claims whose outcome isn't known: each may have begun one attempt; guarded by mu
	unknown   int                  // changes besides; guarded by mu
	wrong     []error              // guarded by mu
	stop      atomic.Bool
	all       sync.WaitGroup
}

// handout is a claim that has got a task, with the deaths before it was asked for and after it was answered.
type handout struct {
	attempt       int
	before, after int64
}

// survives reports whether the attempt is there as long as no more than so many deaths have come: claims aren't durable until a durable change is.
func (h handout) survives(deaths int64) bool { return h.before == deaths && deaths%2 == 0 }

func startLoad(t *testing.T, st *tasks.Store, creators, workers int) *load {
	l := &load{t: t, st: st, created: map[string]bool{}, tried: map[string]bool{}, completed: map[string]int{}, handed: map[string][]handout{}}
	for c := range creators {
		l.all.Go(func() {
			for n := 0; !l.stop.Load(); n++ {
				l.create(fmt.Sprintf("%d-%d", c, n))
			}
		})
	}
	for range workers {
		l.all.Go(func() {
			for !l.stop.Load() {
				l.work()
			}
		})
	}
	return l
}

func (l *load) create(id string) {
	l.mu.Lock()
	l.tried[id] = true
	l.mu.Unlock()
	err := l.st.Create(context.Background(), id, tasks.Form)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.created[id] = true
	case errors.Is(err, tasks.ErrOutcomeUnknown):
		l.unknown++
	default:
		l.wrong = append(l.wrong, err)
	}
}

// work claims a task and completes it.
func (l *load) work() {
	h := handout{before: l.deaths.Load()}
	c, err := l.st.Claim(context.Background(), tasks.MinLease, tasks.Form)
	h.attempt, h.after = c.Attempts, l.deaths.Load()
	l.mu.Lock()
	switch {
	case err == nil:
		l.handed[c.ID] = append(l.handed[c.ID], h)
	case errors.Is(err, tasks.ErrNoTask):
	case errors.Is(err, tasks.ErrOutcomeUnknown):
		l.lost++
	default:
		l.wrong = append(l.wrong, err)
	}
	l.mu.Unlock()
	if err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	err = l.st.Complete(context.Background(), c, c.Attempts)
	l.mu.Lock()
	defer l.mu.Unlock()
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
}

// others says that there is a task which isn't the load's.
func (l *load) others(id string) {
	l.mu.Lock()
	l.tried[id] = true
	l.mu.Unlock()
}

// done is how many tasks were answered as created, and how many as completed.
func (l *load) done() (created, completed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.created), len(l.completed)
}

// progress waits until that many more were answered as created, and that many as completed: each kind of work goes on.
func (l *load) progress(creates, completions int) {
	l.t.Helper()
	created, completed := l.done()
	for start := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		c, d := l.done()
		if c >= created+creates && d >= completed+completions {
			return
		}
		require.Less(l.t, time.Since(start), time.Minute, "nothing goes on: %d more created, %d more completed", c-created, d-completed)
	}
}

// check ends the load, and looks whether what was answered is there, and whether every attempt is accounted for.
func (l *load) check() {
	l.stop.Store(true)
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(l.t, l.wrong)
	deaths, unasked := l.deaths.Load(), 0
	for id := range l.tried {
		unasked += l.account(id, deaths)
	}
	require.LessOrEqual(l.t, unasked, l.lost, "attempts that no claim can have begun")
	n := 0
	for q := (tasks.Query{Limit: 1000}); ; {
		list, err := l.st.List(l.t.Context(), q)
		require.NoError(l.t, err)
		for _, t := range list {
			require.True(l.t, l.tried[t.ID], "%s was never asked for", t.ID)
		}
		if n += len(list); len(list) < q.Limit {
			break
		}
		q.After = list[len(list)-1]
	}
	require.GreaterOrEqual(l.t, n, len(l.created))
	l.t.Logf("%d created, %d completed, %d claims and %d changes with an unknown outcome, %d attempts begun by those claims",
		len(l.created), len(l.completed), l.lost, l.unknown, unasked)
}

// account checks a task against what was answered, and returns how many of its attempts no claim has answered with.
// l.mu is held.
func (l *load) account(id string, deaths int64) (unasked int) {
	t, ctx := l.t, l.t.Context()
	r, err := l.st.Result(ctx, id)
	if !l.created[id] && errors.Is(err, tasks.ErrNotFound) {
		require.Empty(t, l.handed[id], "%s was handed out, and isn't there", id)
		return 0
	}
	require.NoError(t, err, "%s was answered as created", id)
	if attempt := l.completed[id]; attempt != 0 {
		require.Equal(t, tasks.Completed, r.Status, "%s was answered as completed", id)
		require.Equal(t, attempt, r.Attempts, "%s: there is no attempt after the one that completed it", id)
		require.Equal(t, fmt.Sprint(attempt), string(r.Raw), id)
	}
	attempts, err := l.st.Attempts(ctx, id)
	require.NoError(t, err)
	require.Len(t, attempts, r.Attempts, "%s: each attempt is listed", id)
	for i, a := range attempts {
		require.Equal(t, i+1, a.Number, id)
	}
	answered := map[int]handout{}
	for _, h := range l.handed[id] {
		if h.attempt > r.Attempts {
			require.False(t, h.survives(deaths), "%s: attempt %d was handed out, and has gone", id, h.attempt)
			continue
		}
		if other, ok := answered[h.attempt]; ok {
			first := min(h.before, other.before)
			require.False(t, handout{before: first}.survives(max(h.after, other.after)), "%s: attempt %d was handed out twice", id, h.attempt)
		}
		answered[h.attempt] = h
	}
	return r.Attempts - len(answered)
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

// proxy passes connections on to a server, until it is told to cut them.
type proxy struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu
	// seen is called with what a client has sent, before it is passed on. What it returns says what becomes of the connection.
	seen func(data []byte) verdict // guarded by mu
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
	l.others("seen")
	l.progress(100, 50)
	l.deaths.Add(1)
	primary.Kill()
	require.NoError(t, standby.Promote())
	l.deaths.Add(1)
	l.progress(100, 50)
	l.check()
}
