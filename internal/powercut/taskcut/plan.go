package taskcut

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/internal/powercut"
	"github.com/docusnap/asyncvfs/internal/simdisk"
)

// Plan names a workload: everything else comes from its kind and seed.
type Plan powercut.Plan

// String returns the plan as [ParsePlan] reads it.
func (p Plan) String() string { return powercut.Plan(p).String() }

// ParsePlan is the inverse of [Plan.String].
func ParsePlan(s string) (Plan, error) {
	p, err := powercut.ParsePlanOf(Kinds(), s)
	return Plan(p), err
}

// stepKind is what a caller does in a step.
type stepKind string

const (
	stepCreate     stepKind = "create"  // a task of its own
	stepAdvance    stepKind = "advance" // one of its own tasks, to the next status
	stepMany       stepKind = "many"    // creates and updates several
	stepOffer      stepKind = "offer"   // creates a task for workers
	stepWork       stepKind = "work"    // claims one, and completes or fails it
	stepRun        stepKind = "run"     // has a handler go through its steps
	stepReport     stepKind = "report"  // how far one of its own tasks is
	stepLimits     stepKind = "limits"  // of what workers claim
	stepRetryMany  stepKind = "retrymany"
	stepShared     stepKind = "shared" // changes a task that all callers change
	stepDo         stepKind = "do"
	stepWarm       stepKind = "warm"
	stepInvalidate stepKind = "invalidate"
	stepCleanup    stepKind = "cleanup"
	stepTx         stepKind = "tx" // a transaction of the application
	stepCheckpoint stepKind = "checkpoint"
	stepPassive    stepKind = "passive" // a checkpoint that lets others write
	stepPause      stepKind = "pause"
	stepRest       stepKind = "rest" // a short pause
)

type step struct {
	n    int // number in the plan
	kind stepKind
	seed uint64 // for what it does in particular
}

// callerPlan is what one caller does.
type callerPlan struct {
	store int // that it uses, of those of its process
	steps []step
}

// processPlan is what one process does. In each phase it opens its stores, lets its callers run, and closes them.
type processPlan struct {
	stock  bool // the stores are on the stock VFS
	stores int
	phases [][]callerPlan
}

// workload is a plan spelt out.
type workload struct {
	plan       Plan
	pageSize   int
	fresh      bool // the database doesn't exist before
	old        int  // tasks that are there before, to be cleaned up
	relaxed    int  // so many calls of 10 are relaxed
	size       int  // of a result, at most
	autockpt   int  // of the application's connections
	powersafe  bool
	sector     int
	ordered    bool
	syncTime   time.Duration // of the WAL and the directory, give or take a half
	dbSyncTime time.Duration // of the database file
	pace       simdisk.Pace
	// checkpointer is set if the first caller does nothing but checkpoints, of the kind that lets others write.
	checkpointer bool
	ourLast      bool // the first process closes last
	procs        []processPlan
}

// shape is what a kind says of its processes.
type shape struct {
	callers int
	steps   int
	phases  int
	of      map[stepKind]int // how often a step comes
}

// kinds are the workloads. Each sets what is particular to it.
var kinds = map[string]func(*workload, *rand.Rand, *shape){
	// Callers with tasks of their own, and some that all of them change.
	"callers": func(w *workload, r *rand.Rand, s *shape) {
		s.of = map[stepKind]int{stepCreate: 4, stepAdvance: 10, stepMany: 2, stepShared: 4}
		s.callers, s.steps = 2+r.IntN(6), 8
	},
	"workers": func(w *workload, r *rand.Rand, s *shape) {
		s.of = map[stepKind]int{stepOffer: 8, stepWork: 10, stepPause: 1, stepShared: 1}
		s.callers = 2 + r.IntN(4)
	},
	// Tasks are handed out to handlers, within limits, and are tried again, one by one and many at once.
	"handlers": func(w *workload, r *rand.Rand, s *shape) {
		s.of = map[stepKind]int{stepOffer: 6, stepRun: 10, stepWork: 2, stepPause: 1, stepLimits: 2, stepRetryMany: 3, stepShared: 6, stepReport: 2}
		s.callers = 2 + r.IntN(4)
	},
	"cache": func(w *workload, r *rand.Rand, s *shape) {
		s.of = map[stepKind]int{stepDo: 10, stepWarm: 3, stepInvalidate: 4, stepCreate: 1, stepAdvance: 1}
		s.callers = 2 + r.IntN(4)
	},
	// Everything at once.
	"mixed": func(w *workload, r *rand.Rand, s *shape) { w.old = r.IntN(2) * 10 },
	// A hundred and more old tasks are deleted.
	"cleanup": func(w *workload, r *rand.Rand, s *shape) {
		w.old = 90 + r.IntN(30)
		s.of[stepCleanup] = 4
		s.callers, s.steps = 1+r.IntN(3), 5
	},
	// Two stores of one process on the same file.
	"stores": func(w *workload, r *rand.Rand, s *shape) {
		w.procs[0].stores = 2
		s.callers = 2 + r.IntN(4)
	},
	// Two processes with a store each, which bring over what the other one has written.
	"processes": func(w *workload, r *rand.Rand, s *shape) {
		w.procs = make([]processPlan, 2)
		w.relaxed = []int{3, 9}[r.IntN(2)]
		s.of[stepCheckpoint] = 10
		s.callers, s.steps = 1+r.IntN(3), 6
		s.phases = 1 + r.IntN(2)
	},
	// The other process is on the stock VFS, and checkpoints.
	"stock": func(w *workload, r *rand.Rand, s *shape) {
		w.procs = make([]processPlan, 2)
		w.procs[1].stock = true
		w.ourLast = true
		s.callers, s.steps = 1+r.IntN(3), 6
		s.of[stepCheckpoint] = 5
		w.autockpt = []int{2, 8}[r.IntN(2)]
	},
	// A single process on the stock VFS, whose writes may spoil the rest of a sector.
	"psow": func(w *workload, r *rand.Rand, s *shape) {
		w.procs[0].stock = true
		w.powersafe = false
		w.sector = 512 << r.IntN(4)
	},
	// The application checkpoints all the time, so that the WAL restarts.
	"checkpoint": func(w *workload, r *rand.Rand, s *shape) {
		w.autockpt = 1 + r.IntN(6)
		s.of[stepCheckpoint] = 8
		s.of[stepTx] = 5
		s.callers = 2 + r.IntN(3)
		w.dbSyncTime = []time.Duration{w.syncTime / 10, 5 * w.syncTime}[r.IntN(2)]
	},
	// One caller does nothing but checkpoints, which take long, while others commit.
	"passive": func(w *workload, r *rand.Rand, s *shape) {
		w.procs[0].stores = 2
		w.checkpointer = true
		w.relaxed, w.size, w.autockpt = 0, 50, 0
		w.pace.Slow = simdisk.Truncate
		s.of = map[stepKind]int{stepCreate: 4, stepAdvance: 4, stepTx: 6}
		s.callers, s.steps = 4+r.IntN(3), 12
		w.pageSize = 4096
		w.syncTime = 5 * time.Millisecond
		w.dbSyncTime = w.syncTime / 10
		w.pace.Stall = 4 * w.syncTime
	},
	"fresh": func(w *workload, r *rand.Rand, s *shape) {
		w.fresh = true
		s.of[stepTx] = 0
		s.callers, s.steps = 1+r.IntN(3), 5
		s.phases = 1 + r.IntN(2)
	},
	"reopen": func(w *workload, r *rand.Rand, s *shape) {
		s.phases = 2 + r.IntN(3)
		s.callers, s.steps = 1+r.IntN(3), 4
	},
	// Results of many pages, after which the store's own connection checkpoints.
	"large": func(w *workload, r *rand.Rand, s *shape) {
		w.pageSize = 512
		w.size = 120_000
		s.callers, s.steps = 1+r.IntN(3), 6
	},
}

// Kinds returns the kinds of workloads.
func Kinds() []string {
	var all []string
	for k := range kinds {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// steps returns the numbers of the steps that aren't left out.
func (p Plan) steps() (all []int) {
	for _, proc := range p.spell().procs {
		for _, callers := range proc.phases {
			for _, c := range callers {
				for _, s := range c.steps {
					all = append(all, s.n)
				}
			}
		}
	}
	return all
}

// spell spells out the plan.
func (p Plan) spell() *workload {
	r := rand.New(rand.NewPCG(p.Seed, 1))
	times := []time.Duration{100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond}
	w := &workload{
		plan:       p,
		pageSize:   []int{512, 1024, 4096, 4096}[r.IntN(4)],
		relaxed:    []int{0, 3, 3, 7}[r.IntN(4)],
		size:       []int{100, 300, 3000, 12_000}[r.IntN(4)],
		autockpt:   []int{1000, 20, 4}[r.IntN(3)],
		powersafe:  true,
		sector:     4096,
		ordered:    r.IntN(3) == 0,
		syncTime:   times[r.IntN(3)],
		dbSyncTime: times[r.IntN(3)],
		procs:      make([]processPlan, 1),
	}
	w.pace = simdisk.Pace{
		Stay:  []float64{0, 0.5, 0.9}[r.IntN(3)],
		Slow:  []simdisk.EventKind{simdisk.Mark, simdisk.Truncate, simdisk.SyncStart, simdisk.SyncEnd, simdisk.Unlink}[r.IntN(5)],
		Stall: 4 * w.syncTime,
	}
	s := &shape{callers: 1 + r.IntN(5), steps: 7, phases: 1, of: map[stepKind]int{
		stepCreate: 4, stepAdvance: 8, stepMany: 1, stepOffer: 3, stepWork: 4, stepShared: 2, stepDo: 3,
		stepWarm: 1, stepInvalidate: 1, stepCleanup: 1, stepTx: 2, stepRun: 2, stepReport: 2, stepLimits: 1, stepRetryMany: 1, stepCheckpoint: 1, stepPause: 1,
	}}
	kinds[p.Kind](w, r, s)
	if p.Fault != "" {
		s.phases = max(s.phases, 2) // the last one is without it
	}
	n := 0
	for i := range w.procs {
		proc := &w.procs[i]
		proc.stores = max(proc.stores, 1)
		for range s.phases {
			var callers []callerPlan
			for c := range s.callers {
				cp := callerPlan{store: c % proc.stores}
				for range s.steps {
					st := step{n: n, kind: s.draw(r), seed: r.Uint64()}
					if c == 0 && w.checkpointer {
						st.kind = stepPassive
					}
					n++
					if !slices.Contains(p.Drop, st.n) {
						cp.steps = append(cp.steps, st)
					}
				}
				callers = append(callers, cp)
			}
			proc.phases = append(proc.phases, callers)
		}
	}
	return w
}

func (s *shape) draw(r *rand.Rand) stepKind {
	order := make([]stepKind, 0, len(s.of))
	total := 0
	for k, n := range s.of {
		order = append(order, k)
		total += n
	}
	slices.Sort(order)
	x := r.IntN(total)
	for _, k := range order {
		if x -= s.of[k]; x < 0 {
			return k
		}
	}
	panic("unreachable")
}
