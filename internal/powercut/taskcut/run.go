package taskcut

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	oldrand "math/rand"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/docusnap/asyncvfs/internal/powercut"
	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver" // for the application's transactions
)

// bubbleClock is the bubble's time alone: the clock that all processes of a host share knows nothing of it.
var bubbleClock = tasks.Clock(time.Now)

// processes is how many processes a workload has at most.
const processes = 2

// run is a workload that runs, or has run.
type run struct {
	w        *workload
	disabled rules.Set
	image    simdisk.Image // that the disk held before
	cfg      simdisk.Config
	disk     *simdisk.Disk
	lock     *simdisk.Lockstep
	fault    *simdisk.Injector
	trace    []simdisk.Event

	healthy    bool // the fault is gone: nothing may go wrong any more
	ended      int  // processes
	calls      []*call
	violations []string

	mu       sync.Mutex
	computed map[tasks.CacheKey]map[string]bool // results as JSON
	steps    map[stepRow]bool                   // that handlers have gone through
	ending   map[attemptKey]*call               // how handlers end their attempts
}

// images are what disks hold before a workload.
var images sync.Map // of simdisk.Image, by imageKey

type imageKey struct {
	pageSize, old int
}

// epoch is when the time of a synctest bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// before returns what the workload's disk holds before it.
func (w *workload) before(shmDir string) (simdisk.Image, error) {
	if w.fresh {
		return simdisk.Image{}, nil
	}
	key := imageKey{w.pageSize, w.old}
	if img, ok := images.Load(key); ok {
		return img.(simdisk.Image), nil
	}
	d := simdisk.NewDisk(nil, simdisk.Config{ShmDir: shmDir, Powersafe: true, Quiet: true})
	defer d.Remove()
	c, err := sqlite3.Open("file:" + d.Path(dbName) + "?vfs=" + simdisk.Stock)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	err = c.Exec(fmt.Sprintf("PRAGMA page_size=%d; PRAGMA auto_vacuum=incremental; PRAGMA journal_mode=wal; CREATE TABLE docs(id TEXT PRIMARY KEY, status TEXT, note TEXT)", w.pageSize))
	if err != nil {
		return nil, err
	}
	st, err := tasks.Open(context.Background(), d.Path(dbName), tasks.VFS(simdisk.Stock), bubbleClock)
	if err != nil {
		return nil, err
	}
	var old strings.Builder
	for i := range w.old {
		fmt.Fprintf(&old, "INSERT INTO tasks(id, type, status, result, created_at) VALUES('old-%d', 'document', 'completed', '\"%s\"', %d);",
			i, strings.Repeat("old ", i%9), epoch.Unix()-2*3600)
	}
	if err := errors.Join(c.Exec("BEGIN;"+old.String()+"COMMIT"), st.Close(), c.Close()); err != nil {
		return nil, err
	}
	img := d.Image()
	images.Store(key, img)
	return img, nil
}

// runPlan runs a plan, with some of the rules switched off.
func runPlan(t *testing.T, p Plan, disabled rules.Set, shmDir string) (*run, error) {
	disabled |= powercut.SyncsBeside(p.Seed)
	x := &run{w: p.spell(), disabled: disabled, computed: map[tasks.CacheKey]map[string]bool{}, steps: map[stepRow]bool{}, ending: map[attemptKey]*call{}}
	for process := range processes {
		simdisk.Async(disabled, process) // registers it
	}
	var err error
	if x.fault, err = simdisk.NewInjector(p.Fault); err != nil {
		return nil, err
	}
	if x.image, err = x.w.before(shmDir); err != nil {
		return nil, err
	}
	// How long a busy connection waits, and what leases and WALs are called.
	//lint:ignore SA1019 go-sqlite3 draws from the global source
	oldrand.Seed(int64(p.Seed))
	cryptotest.SetGlobalRandom(t, p.Seed)
	synctest.Test(t, func(*testing.T) {
		w := x.w
		r := rand.New(rand.NewPCG(p.Seed, 3))
		x.lock = simdisk.NewLockstep(p.Seed, w.pace)
		x.cfg = simdisk.Config{
			ShmDir: shmDir, Powersafe: w.powersafe, SectorSize: w.sector, Ordered: w.ordered,
			Gate: x.lock.Gate,
			Fault: func(op simdisk.Op) simdisk.Fault {
				f := x.fault.Next(op)
				if op.Kind == simdisk.SyncStart || op.Kind == simdisk.DirSyncStart {
					took := w.syncTime
					if strings.HasSuffix(op.Name, ".db") {
						took = w.dbSyncTime
					}
					f.Hang += took/2 + time.Duration(r.Int64N(int64(took)))
					if r.IntN(50) == 0 {
						f.Hang += time.Duration(r.IntN(100)) * time.Millisecond
					}
				}
				return f
			},
		}
		x.disk = simdisk.NewDisk(x.image, x.cfg)
		defer x.disk.Remove()
		for i := range w.procs {
			x.lock.Go((&process{processPlan: w.procs[i], run: x, number: i}).work)
		}
		x.lock.Drive()
		x.trace = x.disk.Trace()
	})
	return x, nil
}

// violation takes note of something that must not happen, seen while the workload ran.
func (x *run) violation(format string, args ...any) {
	x.violations = append(x.violations, fmt.Sprintf(format, args...))
}

// ok reports whether there was no error. One that nothing explains is a violation.
func (x *run) ok(what string, err error, expected ...error) bool {
	if err == nil {
		return true
	}
	for _, e := range expected {
		if errors.Is(err, e) {
			return false
		}
	}
	if x.healthy || !x.fault.Happened() || x.w.plan.Fault == "" {
		x.violation("%s: %v", what, err)
	}
	return false
}

// process opens its stores, and lets its callers run.
type process struct {
	processPlan
	run    *run
	number int
	stores []*tasks.Store
}

// The numbers of processes and callers in the lockstep.
const (
	processTurn = 1000
	callerTurn  = 100 // for each process
)

func (p *process) turn() { p.run.lock.Step(processTurn + p.number) }

func (p *process) vfsName() string {
	if p.stock {
		return simdisk.Stock
	}
	return simdisk.Async(p.run.disabled, p.number)
}

func (p *process) work() {
	p.turn()
	for i, callers := range p.phases {
		last := i == len(p.phases)-1
		if last && p.run.w.plan.Fault != "" {
			p.run.fault.End()
			p.run.healthy = true
		}
		p.phase(callers, last)
	}
	p.run.ended++
}

// phase opens the stores, lets callers run, and closes the stores.
func (p *process) phase(callers []callerPlan, last bool) {
	x := p.run
	defer func() {
		for _, st := range p.stores {
			err := st.Close()
			p.turn()
			x.ok("close", err)
		}
		p.stores = nil
	}()
	for range p.processPlan.stores {
		st, err := tasks.Open(context.Background(), x.disk.PathIn(p.number, dbName), tasks.VFS(p.vfsName()),
			tasks.Backoff(func(attempt int) time.Duration { return time.Duration(attempt) * 300 * time.Millisecond }),
			tasks.MaxAttempts(3), tasks.CacheMaxEntries(20), bubbleClock, tasks.WithHooks(tasks.Hooks{AttemptEnded: x.attemptEnded}))
		p.turn()
		if !x.ok("open", err) {
			return
		}
		p.stores = append(p.stores, st)
	}
	var wg sync.WaitGroup
	for i, cp := range callers {
		k := &caller{process: p, number: callerTurn*p.number + i, store: p.stores[cp.store]}
		wg.Go(func() { k.work(cp.steps) })
	}
	wg.Wait()
	p.turn()
	// A connection on the stock VFS must not be the last where the order of directory entries isn't kept:
	// it doesn't make the removal of the WAL durable.
	for last && x.w.ourLast && p.number == 0 && x.ended < len(x.w.procs)-1 {
		time.Sleep(100 * time.Microsecond)
		p.turn()
	}
}

// app opens a connection of the application.
func (p *process) app(level string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", fmt.Sprintf("file:%s?vfs=%s&_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(%s)&_pragma=wal_autocheckpoint(%d)",
		p.run.disk.PathIn(p.number, dbName), p.vfsName(), level, p.run.w.autockpt))
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}
