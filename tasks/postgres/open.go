package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config says how a store uses its database. The zero Config is what [Open] takes.
type Config struct {
	// Schema is where the tables are, which are created where needed. Default "tasks".
	Schema string
	// Writers is how many connections make changes at the same time, for durable calls and for relaxed ones each. Default 2.
	// The calls that come while all of them are busy share the next transaction.
	Writers int
	// Patience is how long a call waits for a server that can't be reached, unless its context is done before. Default 30s.
	Patience time.Duration
	// Timeout is how long the server may take for an answer. A change that takes longer is [tasks.ErrOutcomeUnknown]. Default 30s.
	Timeout time.Duration
	// Poll is how often a process that waits looks at the log of changes if it can't LISTEN, as through a pooler in transaction mode.
	// Default 1.5s. If it can, it looks every 4 times that, for what a process has changed that died before it could tell.
	// Workers without a task look for one every 10 times that besides.
	Poll time.Duration
	// NoListen makes it poll only.
	NoListen bool
	// Logger is told what a person should know of the connection. Default: nothing.
	Logger *slog.Logger
	// Clock, for tests, replaces the server's clock.
	Clock func() time.Time

	off       switchedOff                            // for controls
	trimEvery time.Duration                          // for tests
	after     func(d time.Duration) <-chan time.Time // for tests, replaces time.After where a process waits
}

// Open opens the tables in the database at a URL or a connection string, as [pgxpool.ParseConfig] takes it,
// and creates or migrates them where needed. Close the store after use.
func Open(ctx context.Context, url string, opts ...tasks.Option) (*tasks.Store, error) {
	return Config{}.Open(ctx, url, opts...)
}

// New is [Open] over a pool of the caller's, which is the caller's to close, after the store.
func New(ctx context.Context, pool *pgxpool.Pool, opts ...tasks.Option) (*tasks.Store, error) {
	return Config{}.New(ctx, pool, opts...)
}

// Open is [Open] with this Config.
func (c Config) Open(ctx context.Context, url string, opts ...tasks.Option) (*tasks.Store, error) {
	pc, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open tasks: %w", err)
	}
	if !strings.Contains(url, "pool_max_conns") {
		pc.MaxConns = max(pc.MaxConns, defaultConns)
	}
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "tasks"
	}
	Prepare(pc)
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open tasks: %w", err)
	}
	st, err := c.open(ctx, pool, pool.Close, opts)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return st, nil
}

const defaultConns = 16

// New is [New] with this Config.
func (c Config) New(ctx context.Context, pool *pgxpool.Pool, opts ...tasks.Option) (*tasks.Store, error) {
	return c.open(ctx, pool, func() {}, opts)
}

// Prepare sets what a pool needs that is given to [New]: plans that use the indexes also while the tables are small, since they are kept
// while the tables grow, no planning for each call, no ping before a look that nobody waits for, and an error for a commit that a synchronous standby may not have. [Open] does it by itself.
func Prepare(c *pgxpool.Config) {
	after, notice := c.AfterConnect, c.ConnConfig.OnNotice
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if after != nil {
			if err := after(ctx, conn); err != nil {
				return err
			}
		}
		_, err := conn.Exec(ctx, planner)
		return err
	}
	ping := c.ShouldPing
	if ping == nil {
		ping = func(_ context.Context, p pgxpool.ShouldPingParams) bool { return p.IdleDuration > time.Second } // pgx's own
	}
	c.ShouldPing = func(ctx context.Context, p pgxpool.ShouldPingParams) bool {
		return ctx.Value(unpinged{}) == nil && ping(ctx, p)
	}
	c.ConnConfig.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		noticed(conn, n)
		if notice != nil {
			notice(conn, n)
		}
	}
}

// unpinged marks the context of a query that can as well fail on a connection that has ended: a ping before it would be a second one.
type unpinged struct{}

// planner keeps the plans that the queries are written for.
const planner = `SELECT set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
	set_config('enable_mergejoin', 'off', false), set_config('enable_bitmapscan', 'off', false),
	set_config('plan_cache_mode', 'force_generic_plan', false), set_config('jit', 'off', false)`

func (c Config) open(ctx context.Context, pool *pgxpool.Pool, closePool func(), opts []tasks.Option) (*tasks.Store, error) {
	b := &backend{
		pool: pool, closePool: closePool, schema: cmp.Or(c.Schema, "tasks"), clock: c.Clock,
		patience: cmp.Or(c.Patience, 30*time.Second), timeout: cmp.Or(c.Timeout, 30*time.Second), log: c.Logger,
		writer: rand.Text(), stmts: map[string]string{}, off: c.off, trimEvery: cmp.Or(c.trimEvery, trimEvery),
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	writers := cmp.Or(c.Writers, 2)
	b.durable.init(b, writers, true)
	b.relaxed.init(b, writers, false)
	b.notifier.init(b, cmp.Or(c.Poll, defaultPoll), c.NoListen)
	if b.notifier.after = c.after; c.after == nil {
		b.notifier.after = time.After
	}
	if err := b.setUp(ctx); err != nil {
		b.stop()
		return nil, fmt.Errorf("open tasks in schema %s: %w", b.schema, err)
	}
	if err := b.notifier.begin(ctx); err != nil {
		b.stop()
		return nil, fmt.Errorf("open tasks in schema %s: %w", b.schema, err)
	}
	st, err := tasks.New(b, opts...)
	if err != nil {
		b.stop()
		return nil, err
	}
	return st, nil
}

// backend keeps tasks in PostgreSQL.
type backend struct {
	pool      *pgxpool.Pool
	closePool func()
	schema    string
	commit    string // the session's synchronous_commit
	clock     func() time.Time
	patience  time.Duration
	timeout   time.Duration
	log       *slog.Logger
	off       switchedOff
	trimEvery time.Duration

	ctx  context.Context // is done once the backend is closed
	stop context.CancelFunc

	durable, relaxed lane
	claims           claimer
	notifier         notifier
	steps            stepWatch
	settled          settled

	mu     sync.Mutex
	closed bool              // guarded by mu
	stmts  map[string]string // by what they are made of; guarded by mu
	writer string            // names this backend in the log of changes; another one after a change whose outcome isn't known; guarded by mu
	calls  sync.WaitGroup    // that Close waits for
}

var _ tasks.Backend = (*backend)(nil)

// stmt is sql, kept.
func (b *backend) stmt(s string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	full, ok := b.stmts[s]
	if !ok {
		full = b.sql(s)
		b.stmts[s] = full
	}
	return full
}

// now is the first argument of statements that need the time: NULL is the server's.
func (b *backend) now() *int64 {
	if b.clock == nil {
		return nil
	}
	ms := b.clock().UnixMilli()
	return &ms
}

// enter begins a call, which leave ends.
func (b *backend) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return tasks.ErrClosed
	}
	b.calls.Add(1)
	return nil
}

func (b *backend) leave() { b.calls.Done() }

// Close waits for the calls that run, and makes durable what they have changed.
func (b *backend) Close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if closed {
		return tasks.ErrClosed
	}
	b.notifier.close()
	b.calls.Wait()
	var err error
	if b.relaxed.changed.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), b.patience)
		err = errors.Join(b.durable.do(ctx, &request{sync: true})...)
		cancel()
	}
	b.durable.close()
	b.relaxed.close()
	b.stop()
	b.notifier.done.Wait()
	b.closePool()
	return err
}
