// Package backendtest checks that a [tasks.Backend] does what a [tasks.Store] expects of it.
//
// It works on stores, not on backends, because [tasks.Open] and its like return stores;
// for another backend the caller returns what [tasks.New] makes of it. It knows nothing of tables or of wires,
// so every backend passes the same tests:
//
//	func TestConformance(t *testing.T) {
//		backendtest.Run(t, func(t testing.TB, now func() time.Time, opts ...tasks.Option) backendtest.Opened {
//			path := filepath.Join(t.TempDir(), "tasks.db")
//			open := func() backendtest.Store {
//				st, err := tasks.Open(t.Context(), path, opts...)
//				require.NoError(t, err)
//				return st
//			}
//			return backendtest.Opened{Store: open(), Second: open}
//		})
//	}
package backendtest

import (
	"context"
	"encoding/json"
	"iter"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/testclock"
	"github.com/stretchr/testify/require"
)

// Store is what the tests need of a [tasks.Store], which has all of it.
// It is an interface so that a test can put a faulty one in its place.
type Store interface {
	Create(ctx context.Context, id string, t tasks.Type, opts ...tasks.CallOption) error
	Update(ctx context.Context, id string, status tasks.Status, result any, opts ...tasks.CallOption) error
	Retry(ctx context.Context, id string, opts ...tasks.CallOption) error
	Delete(ctx context.Context, id string, opts ...tasks.CallOption) error
	CreateMany(ctx context.Context, list []tasks.NewTask, opts ...tasks.CallOption) []error
	UpdateMany(ctx context.Context, list []tasks.NewStatus, opts ...tasks.CallOption) []error
	Status(ctx context.Context, id string) (tasks.Info, error)
	Result(ctx context.Context, id string) (tasks.Result, error)
	List(ctx context.Context, q tasks.Query) ([]tasks.Info, error)
	Count(ctx context.Context) (map[tasks.Type]map[tasks.Status]int, error)
	Cleanup(ctx context.Context, maxAge time.Duration) (int, error)
	CreateOrGet(ctx context.Context, id string, t tasks.Type, opts ...tasks.CallOption) (tasks.Info, bool, error)
	Input(ctx context.Context, id string) (json.RawMessage, error)
	Cancel(ctx context.Context, id string, opts ...tasks.CallOption) error
	CountOwner(ctx context.Context, owner string) (map[tasks.Type]map[tasks.Status]int, error)
	CleanupOwner(ctx context.Context, owner string, maxAge time.Duration) (int, error)
	RetryMany(ctx context.Context, f tasks.Filter, opts ...tasks.CallOption) (int, error)
	SetLimits(ctx context.Context, t tasks.Type, l tasks.TypeLimits) error
	Limits(ctx context.Context) (map[tasks.Type]tasks.TypeLimits, error)
	Pause(ctx context.Context, t tasks.Type) error
	Resume(ctx context.Context, t tasks.Type) error
	Report(ctx context.Context, id string, a tasks.Advance, opts ...tasks.CallOption) error
	GiveBack(ctx context.Context, c tasks.Claimed, reason error, opts ...tasks.CallOption) error
	RunJanitor(ctx context.Context, j tasks.Janitor) error

	Claim(ctx context.Context, lease time.Duration, types ...tasks.Type) (tasks.Claimed, error)
	Extend(ctx context.Context, c *tasks.Claimed, lease time.Duration) error
	Complete(ctx context.Context, c tasks.Claimed, result any, opts ...tasks.CallOption) error
	Fail(ctx context.Context, c tasks.Claimed, cause error, opts ...tasks.CallOption) error
	Progress(ctx context.Context, id string, result any, opts ...tasks.CallOption) error
	Attempts(ctx context.Context, id string) ([]tasks.Attempt, error)
	Run(ctx context.Context, handlers map[tasks.Type]tasks.Handler, concurrency int, opts ...tasks.RunOption) error

	Do(ctx context.Context, t tasks.Type, input any, compute func(context.Context) (any, error), opts ...tasks.CacheOption) (tasks.Cached, error)
	Warm(ctx context.Context, t tasks.Type, input, result any, opts ...tasks.CacheOption) error
	Invalidate(ctx context.Context, t tasks.Type, input any, opts ...tasks.CacheOption) error
	InvalidateType(ctx context.Context, t tasks.Type, opts ...tasks.CacheOption) error
	CacheStats(ctx context.Context) (tasks.CacheStats, error)

	Sync(ctx context.Context) error
	Wait(ctx context.Context, id string) (tasks.Result, error)
	Watch(ctx context.Context, id string) iter.Seq2[tasks.Result, error]
	Close() error
}

var _ Store = (*tasks.Store)(nil)

// Opened is a store on a fresh and empty backend.
type Opened struct {
	Store Store
	// Second opens one more store on the same data, as another process would, with the same options.
	// Where that isn't possible it is nil, and the tests that need it are skipped.
	Second func() Store
}

// Open opens a store for one test. The options include [tasks.AsProcess], and [tasks.Clock] with now;
// a backend with a clock of its own has to take now instead, because the tests move the time.
// The stores are closed by the tests. What else there is to tidy up is left to the Cleanup of t.
type Open func(t testing.TB, now func() time.Time, opts ...tasks.Option) Opened

// Run runs all tests.
func Run(t *testing.T, open Open) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, open, time.Minute) })
	}
}

// testCase is one test. It takes no *testing.T, so that it may fail without its caller.
type testCase struct {
	name string
	two  bool // it needs a second store
	opts []tasks.Option
	test func(e *env)
}

var cases = []testCase{
	{name: "Create", test: create},
	{name: "Transitions", test: transitions},
	{name: "Update", test: update},
	{name: "ResultBytes", test: resultBytes},
	{name: "NotFound", test: notFound},
	{name: "Force", test: force},
	{name: "Retry", test: retry},
	{name: "Delete", test: remove},
	{name: "Batches", test: batches},
	{name: "LargeBatch", test: largeBatch},
	{name: "ListOrder", test: listOrder},
	{name: "ListFilters", test: listFilters},
	{name: "ListPages", test: listPages},
	{name: "Count", test: count},
	{name: "CleanupByAge", test: cleanupByAge},
	{name: "CleanupByStatus", test: cleanupByStatus},
	{name: "SameData", two: true, test: sameData},
	{name: "OneWins", two: true, test: oneWins},
	{name: "ClaimOnce", two: true, test: claimOnce},
	{name: "ClaimOldestFirst", test: claimOldestFirst},
	{name: "LeaseExpired", two: true, test: leaseExpired, opts: []tasks.Option{tasks.MaxAttempts(2)}},
	{name: "LeaseLost", two: true, test: leaseLost},
	{name: "AttemptsAndBackoff", test: attempts, opts: []tasks.Option{tasks.MaxAttempts(2), tasks.Backoff(minutes)}},
	{name: "Workers", two: true, test: workers},
	{name: "Input", two: true, test: input},
	{name: "CreateOrGet", two: true, test: createOrGet},
	{name: "FromCache", test: fromCache},
	{name: "Owner", test: owner},
	{name: "Labels", test: labels},
	{name: "Priority", test: priority},
	{name: "RunAt", test: runAt},
	{name: "TaskAttempts", test: taskAttempts, opts: []tasks.Option{tasks.MaxAttempts(2), tasks.Backoff(minutes)}},
	{name: "Snooze", test: snooze, opts: []tasks.Option{tasks.MaxAttempts(1)}},
	{name: "Permanent", test: permanent},
	{name: "GiveBack", test: giveBack, opts: []tasks.Option{tasks.MaxAttempts(1)}},
	{name: "Cancel", test: cancel},
	{name: "Times", test: times},
	{name: "Report", two: true, test: report},
	{name: "Pause", two: true, test: pause},
	{name: "PauseBesideLimits", two: true, test: pauseBesideLimits},
	{name: "LimitRunning", two: true, test: limitRunning},
	{name: "LimitPerSecond", two: true, test: limitPerSecond},
	{name: "Steps", test: steps, opts: []tasks.Option{tasks.Backoff(func(int) time.Duration { return 0 })}},
	{name: "RetryMany", test: retryMany},
	{name: "CleanupByUse", test: cleanupByUse, opts: []tasks.Option{tasks.TrackUse()}},
	{name: "CrashTogether", two: true, test: crashTogether, opts: []tasks.Option{tasks.MaxAttempts(2), tasks.Backoff(minutes)}},
	{name: "Progress", two: true, test: progress},
	{name: "ProgressWatch", two: true, test: progressWatch},
	{name: "HandlerTold", two: true, test: handlerTold},
	{name: "CacheOnce", two: true, test: cacheOnce},
	{name: "CacheKeys", test: cacheKeys},
	{name: "CacheInvalidate", two: true, test: cacheInvalidate},
	{name: "CacheExpiry", two: true, test: cacheExpiry},
	{name: "CacheErrors", two: true, test: cacheErrors},
	{name: "CacheLease", two: true, test: cacheLease},
	{name: "CacheLimit", test: cacheLimit, opts: []tasks.Option{tasks.CacheMaxEntries(16)}},
	{name: "Wait", two: true, test: wait},
	{name: "Watch", two: true, test: watch},
	{name: "Closed", test: closed},
	{name: "Cancelled", test: cancelled},
}

// env is what a test works with. A test that fails ends at once.
type env struct {
	*require.Assertions
	t     testing.TB
	ctx   context.Context // ends when a store doesn't answer
	clock *testclock.Clock
	st    Store
	other Store // the second one, or nil
}

func (c testCase) run(t testing.TB, open Open, patience time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e := &env{Assertions: require.New(t), t: t, ctx: ctx, clock: testclock.New()}
	o := open(t, e.clock.Now, append([]tasks.Option{tasks.Clock(e.clock.Now), tasks.AsProcess()}, c.opts...)...)
	e.st = o.Store
	defer func() {
		// First, so that nothing which a failed test has left running holds up the rest.
		cancel()
		e.st.Close()
		if e.other != nil {
			e.other.Close()
		}
	}()
	if c.two {
		if o.Second == nil {
			t.Skip("there is no second store on the same data")
		}
		e.other = o.Second()
	}
	c.test(e)
}

// create makes a task that has the status, by the shortest way.
func (e *env) create(id string, t tasks.Type, s tasks.Status) {
	e.t.Helper()
	e.NoError(e.st.Create(e.ctx, id, t))
	if s != tasks.Pending {
		e.NoError(e.st.Update(e.ctx, id, s, nil))
	}
}

// get returns a task that has to be there.
func (e *env) get(st Store, id string) tasks.Result {
	e.t.Helper()
	r, err := st.Result(e.ctx, id)
	e.NoError(err)
	return r
}
