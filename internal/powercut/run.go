package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/ncruces/go-sqlite3"
)

// run is a workload that runs, or has run.
type run struct {
	w        *workload
	disabled rules.Set
	image    simdisk.Image // that the disk held before
	cfg      simdisk.Config
	disk     *simdisk.Disk
	lock     *simdisk.Lockstep
	hist     []*history
	fault    *simdisk.Injector

	healthy    bool // the fault is gone: nothing may go wrong any more
	lastTxn    int64
	waiting    int  // workers that have come to the end of their steps
	ended      int  // and those that have closed their connection, but for those that stay
	here       int  // workers that stay and have opened the database
	staying    int  // workers that stay and haven't closed their connection
	repaired   bool // after a fault, the database is as good as new
	stock      int  // connections on the stock VFS
	violations []string
	trace      []simdisk.Event
}

// images are what disks hold before a workload.
var images sync.Map // of Image, by imageKey

type imageKey struct {
	pageSize   int
	autoVacuum bool
	second     bool
}

// before returns what the workload's disk holds before it.
func (w *workload) before(shmDir string) (simdisk.Image, error) {
	if w.fresh {
		return simdisk.Image{}, nil
	}
	key := imageKey{w.pageSize, w.autoVacuum, w.second}
	if img, ok := images.Load(key); ok {
		return img.(simdisk.Image), nil
	}
	d := simdisk.NewDisk(nil, simdisk.Config{ShmDir: shmDir, Powersafe: true, Quiet: true})
	defer d.Remove()
	for _, name := range []string{"a.db", "b.db"} {
		if name == "b.db" && !w.second {
			continue
		}
		c, err := sqlite3.Open("file:" + d.Path(name) + "?vfs=" + simdisk.Stock)
		if err != nil {
			return nil, err
		}
		vacuum := "none"
		if w.autoVacuum {
			vacuum = "incremental"
		}
		err = c.Exec(fmt.Sprintf("PRAGMA page_size=%d; PRAGMA auto_vacuum=%s; PRAGMA journal_mode=wal; ", w.pageSize, vacuum) + tables)
		if err := errors.Join(err, c.Close()); err != nil {
			return nil, err
		}
	}
	img := d.Image()
	images.Store(key, img)
	return img, nil
}

// SyncsBeside returns what has to be switched off for syncs of a WAL to run beside each other whenever they can.
// They do in every other workload: time is too short there for one to learn where that pays.
func SyncsBeside(seed uint64) rules.Set {
	if rand.New(rand.NewPCG(seed, 7)).IntN(2) == 0 {
		return 0
	}
	return rules.Frugal
}

// runPlan runs a plan, with some of the rules switched off.
func runPlan(t *testing.T, p Plan, disabled rules.Set, shmDir string) (*run, error) {
	disabled |= SyncsBeside(p.Seed)
	w := p.spell()
	img, err := w.before(shmDir)
	if err != nil {
		return nil, err
	}
	for process := range processes {
		simdisk.Async(disabled, process) // registers it
	}
	x := &run{w: w, disabled: disabled, image: img}
	if x.fault, err = simdisk.NewInjector(p.Fault); err != nil {
		return nil, err
	}
	x.hist = append(x.hist, newHistory("a.db"))
	if w.fresh {
		x.hist[0].startWith(x.hist[0].txns[-1])
	}
	if w.second {
		x.hist = append(x.hist, newHistory("b.db"))
	}
	synctest.Test(t, func(*testing.T) {
		r := rand.New(rand.NewPCG(p.Seed, 3))
		x.lock = simdisk.NewLockstep(p.Seed, simdisk.Pace{Stay: w.stay, Slow: w.slow, Stall: 4 * w.syncTime})
		x.cfg = simdisk.Config{
			ShmDir: shmDir, Powersafe: w.powersafe, SectorSize: w.sector, Linear: w.linear, Ordered: w.ordered,
			Gate: x.lock.Gate, SpaceLimit: x.fault.SpaceLimit(img),
			Fault: func(op simdisk.Op) simdisk.Fault {
				f := x.fault.Next(op)
				if op.Kind == simdisk.SyncStart || op.Kind == simdisk.DirSyncStart {
					took := w.syncTime
					if strings.HasSuffix(op.Name, ".db") {
						took = w.dbSyncTime
					}
					f.Hang += took/2 + time.Duration(r.Int64N(int64(took)))
				}
				return f
			},
		}
		x.disk = simdisk.NewDisk(img, x.cfg)
		defer x.disk.Remove()
		for i, wp := range w.workers {
			k := &worker{workerPlan: wp, id: i, run: x, now: Full}
			if wp.stays {
				x.staying++
				x.lock.Go(k.stay)
			} else {
				x.lock.Go(k.work)
			}
		}
		x.repaired = p.Fault == ""
		if p.Fault != "" {
			k := &worker{workerPlan: survivor(r), id: len(w.workers), run: x, now: Full}
			if w.successor {
				k.process = 1
			}
			x.lock.Go(k.survive)
		}
		x.lock.Drive()
		x.trace = x.disk.Trace()
	})
	x.count()
	return x, nil
}

func (x *run) attached() []*history { return x.hist }

func (x *run) of(db string) *history {
	i := slices.IndexFunc(x.hist, func(h *history) bool { return h.db == db })
	return x.hist[i]
}

// opened counts the connections through this project's VFS.
func (x *run) opened(k *worker, n int) {
	if k.stock {
		x.stock += n
		return
	}
	for _, h := range x.hist {
		here := k.here(h)
		if here.open += n; here.open == 0 {
			here.sync = false
		}
	}
}

// arrive waits, at the end of its steps, until it may close its connection:
// where the order of directory entries isn't kept, a connection on the stock VFS must not be the last,
// since that doesn't make the removal of the WAL durable.
func (x *run) arrive(k *worker) {
	x.lock.Step(k.id)
	x.waiting++
	if !x.w.lastIsOurs || !x.repaired {
		return // then somebody else is the last
	}
	if k.stock {
		for x.waiting < len(x.w.workers) {
			x.lock.Step(k.id)
		}
		return
	}
	for x.waiting < len(x.w.workers) || x.stock > 0 {
		x.lock.Step(k.id)
	}
}

// failed takes note of an error that a worker got.
func (x *run) failed(what string, err error) {
	if x.healthy || !x.fault.Explains(err) {
		x.violation(what)
	}
}

// violation takes note of something that must not happen, seen while the workload ran.
func (x *run) violation(what string) { x.violations = append(x.violations, what) }

// count counts the bytes of WAL that each transaction holds. What it wrote twice counts once.
func (x *run) count() {
	for _, h := range x.hist {
		for _, t := range h.bounded {
			held := map[int64]int{} // size of what is at that place
			for _, e := range x.trace[t.begun:t.acked] {
				if e.Kind != simdisk.Write || e.Name != h.db+"-wal" || e.Conn != t.writer {
					continue
				}
				if e.Off == 0 {
					clear(held) // all before was rolled back
				}
				held[e.Off] = len(e.Data)
			}
			for _, n := range held {
				t.walBytes += n
			}
		}
	}
}
