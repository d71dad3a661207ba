package main

import (
	"context"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/internal/demo/files"
	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

const (
	// goroutines is how many there are in each run, so that they are compared alike.
	goroutines = 8
	// againPrefix makes the ids of the second run over the same files.
	// A file's name has no two slashes in a row, so they can't be those of other files.
	againPrefix = "again//"

	stockVFS = "stock-counted"
	asyncVFS = "async-counted"
)

// setup is a way to do the work that is measured.
type setup struct {
	name   string // as in the tables
	about  string
	file   string // of its database
	prefix string // of its ids
	run    func(ctx context.Context, path string, src *files.Source, counting *countingVFS, r *result, m *meter) error
}

// setups in the order in which they are run: each is compared with the first.
var setups = []setup{
	{"stock FULL", "as DocuSnap's Python module does it, but in Go: insert as pending, update to processing,\n" +
		"update to completed with the result; each call opens a connection, makes one transaction\n" +
		"and closes it, at synchronous=FULL in WAL mode. One more connection stays open, so that the WAL\n" +
		"isn't made anew each time. No cache.", "module.db", "", runModule},
	{"task API", "each task by Store.Create, durably; then Store.Run with a handler that gets the analysis\n" +
		"through Store.Do. It stores in the cache too, and each result durably.", "tasks.db", "", runTasks},
	{"task API again", "the same files as new tasks, in the same database after it was closed and opened.", "tasks.db", againPrefix, runTasks},
}

// registerVFS registers what the setups run on.
func registerVFS() (*countingVFS, error) {
	counting := &countingVFS{VFS: sqlitevfs.Find("")}
	sqlitevfs.Register(stockVFS, counting)
	return counting, vfs.Register(asyncVFS, counting)
}

// dsn returns the name of a database.
func dsn(path, parameters string) string {
	// A path may have characters that mean something in a URI.
	u := url.URL{Path: filepath.ToSlash(path)}
	return "file:" + u.EscapedPath() + "?" + parameters
}

// stage is how far a task was reported stored.
type stage byte

const (
	notStored stage = iota
	created
	completed
)

// result is what a run came to.
type result struct {
	setup
	reported []stage // of each file of the source
	calls    []*calls
	elapsed  time.Duration // until all is durable
	commits  uint64
	syncs    int64
	syncTime time.Duration
	window   time.Duration     // longest from COMMIT to durable; 0 if a commit is durable at once
	cache    *tasks.CacheStats // nil if there is none
}

// calls are the latencies of the successful calls of one kind.
type calls struct {
	name string

	mu        sync.Mutex
	latencies []time.Duration // sorted once the run is over; guarded by mu
}

func (r *result) addCalls(name string) *calls {
	c := &calls{name: name}
	r.calls = append(r.calls, c)
	return c
}

func (c *calls) add(d time.Duration) {
	c.mu.Lock()
	c.latencies = append(c.latencies, d)
	c.mu.Unlock()
}

// timed makes a call and notes how long it took.
func (c *calls) timed(f func() error) error {
	start := time.Now()
	if err := f(); err != nil {
		return err
	}
	c.add(time.Since(start))
	return nil
}

func (c *calls) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.latencies)
}

// do does a setup's run.
// Where it returns an error too, the result says what was reported stored by then.
// If it was only interrupted, the error is the context's cause.
func (s setup) do(ctx context.Context, path string, src *files.Source, counting *countingVFS, m *meter) (*result, error) {
	r := &result{setup: s, reported: make([]stage, len(src.Files))}
	err := s.run(ctx, path, src, counting, r, m)
	for _, c := range r.calls {
		slices.Sort(c.latencies)
	}
	return r, err
}

// parallel calls f for 0 to n-1 from the goroutines, until the context is done or one call fails.
// It returns the context's cause if that was done first, else the first error.
func parallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	for range goroutines {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				if err := f(ctx, i); err != nil {
					stop(err) // the first error is the cause of the others
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
