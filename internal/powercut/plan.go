package powercut

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/docusnap/asyncvfs/vfs"
)

// Plan names a workload: everything else comes from its kind and seed.
type Plan struct {
	Kind string
	Seed uint64
	// Drop are the numbers of steps that are left out, to make a failing workload smaller.
	Drop []int
	// Fault is the fault to inject, as "kind@n".
	Fault string
}

// String returns the plan as [ParsePlan] reads it.
func (p Plan) String() string {
	s := fmt.Sprintf("%s/%d", p.Kind, p.Seed)
	if p.Fault != "" {
		s += "/" + p.Fault
	}
	if len(p.Drop) > 0 {
		s += "/drop"
		for _, n := range p.Drop {
			s += fmt.Sprintf(".%d", n)
		}
	}
	return s
}

// ParsePlan is the inverse of [Plan.String].
func ParsePlan(s string) (Plan, error) { return ParsePlanOf(Kinds(), s) }

// ParsePlanOf is ParsePlan for other kinds of workloads.
func ParsePlanOf(kinds []string, s string) (p Plan, err error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || !slices.Contains(kinds, parts[0]) {
		return p, fmt.Errorf("powercut: plan %q: want kind/seed, with a kind of %v", s, kinds)
	}
	p.Kind = parts[0]
	if p.Seed, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return p, fmt.Errorf("powercut: plan %q: %w", s, err)
	}
	for _, part := range parts[2:] {
		if drop, ok := strings.CutPrefix(part, "drop."); ok {
			for _, n := range strings.Split(drop, ".") {
				i, err := strconv.Atoi(n)
				if err != nil {
					return p, fmt.Errorf("powercut: plan %q: %w", s, err)
				}
				p.Drop = append(p.Drop, i)
			}
			continue
		}
		p.Fault = part
		if _, err := simdisk.NewInjector(part); err != nil {
			return p, fmt.Errorf("powercut: plan %q: %w", s, err)
		}
	}
	return p, nil
}

// stepKind is what a worker does in a step.
type stepKind string

const (
	stepTxn         stepKind = "txn"
	stepCheckpoint  stepKind = "checkpoint"
	stepRead        stepKind = "read"
	stepVacuum      stepKind = "vacuum"
	stepIncremental stepKind = "incremental_vacuum"
	stepJournalMode stepKind = "journal_mode"
	stepReopen      stepKind = "reopen"
	stepWait        stepKind = "async_wait"
	stepLevel       stepKind = "synchronous"
	stepMode        stepKind = "async_mode"
	stepPause       stepKind = "pause"
)

// step is one thing that a worker does.
type step struct {
	n    int // number in the plan
	kind stepKind
	arg  string
	seed uint64 // for what it does in particular
	txn  txnStep
}

// txnStep describes a transaction.
type txnStep struct {
	changes  int  // rows that it changes
	size     int  // of a row, at most
	nested   int  // savepoints
	rollback bool // all of it, at the end
}

// workerPlan is what one connection does.
type workerPlan struct {
	stock      bool             // through the stock VFS, as another process would
	stays      bool             // before and after all others, and while the database is opened anew after a fault
	process    int              // that the connection belongs to, of those that use this project's VFS
	of         map[stepKind]int // how often steps come in it, if not as in the others
	modes      []string         // of its checkpoints, if not as in the others
	noAuto     bool             // no checkpoint comes with a commit
	levels     []Level          // and its levels
	level      Level
	maxDelay   time.Duration
	maxPending int
	checkpoint vfs.CheckpointMode
	steps      []step
}

// workload is a plan spelt out.
type workload struct {
	plan       Plan
	pageSize   int
	autoVacuum bool
	autockpt   int
	cache      int  // pages
	sizeLimit  int  // PRAGMA journal_size_limit, or -1
	exclusive  bool // PRAGMA locking_mode
	fresh      bool
	second     bool // a second database is attached
	powersafe  bool
	sector     int
	linear     bool
	ordered    bool
	syncTime   time.Duration // of the WAL and the directory, give or take a half
	dbSyncTime time.Duration // of the database file
	stay       float64
	slow       simdisk.EventKind
	workers    []workerPlan
	// checkpointer is set if the first worker does nothing but checkpoints.
	checkpointer bool
	inline       bool // no checkpoints in the background
	lastIsOurs   bool // a stock connection never closes last
	successor    bool // after a fault, another process opens the database anew
	steps        int
}

// staying returns how many workers stay, and leaving how many don't.
func (w *workload) staying() (n int) {
	for _, k := range w.workers {
		if k.stays {
			n++
		}
	}
	return n
}

func (w *workload) leaving() int { return len(w.workers) - w.staying() }

// steps returns the numbers of the steps that aren't left out.
func (p Plan) steps() (all []int) {
	for _, w := range p.spell().workers {
		for _, s := range w.steps {
			all = append(all, s.n)
		}
	}
	return all
}

// spell spells out the plan.
func (p Plan) spell() *workload {
	r := rand.New(rand.NewPCG(p.Seed, 1))
	w := &workload{
		plan:       p,
		pageSize:   512 << r.IntN(5),
		autockpt:   []int{1000, 1000, 20, 4, 0}[r.IntN(5)],
		cache:      200,
		sizeLimit:  -1,
		powersafe:  true,
		sector:     4096,
		ordered:    r.IntN(3) == 0,
		syncTime:   []time.Duration{100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond}[r.IntN(3)],
		dbSyncTime: []time.Duration{100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond}[r.IntN(3)],
		stay:       []float64{0, 0.5, 0.9}[r.IntN(3)],
		slow:       []simdisk.EventKind{simdisk.Mark, simdisk.Truncate, simdisk.SyncStart, simdisk.SyncEnd, simdisk.Link, simdisk.Unlink}[r.IntN(6)],
	}
	if r.IntN(40) == 0 {
		w.pageSize = 16384 << r.IntN(3)
	}
	ws := &weights{
		of: map[stepKind]int{
			stepTxn: 30, stepCheckpoint: 3, stepRead: 2, stepReopen: 1,
			stepWait: 2, stepLevel: 3, stepMode: 1, stepPause: 1,
		},
		modes:   []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"},
		levels:  []Level{Off, Normal, Normal, Full, Full, Extra},
		changes: 4,
		size:    300,
		pause:   time.Millisecond,
	}
	kinds[p.Kind](w, r, ws)
	if p.Fault != "" {
		w.stay = 0.5
		// A WAL that an earlier fault has left is written once more as a whole, also what was durable before it was opened.
		w.linear = w.linear || strings.Contains(p.Fault, ",")
	}

	n := 0
	for i := range w.workers {
		wp := &w.workers[i]
		of := ws.of
		if wp.of != nil {
			of = wp.of
		}
		order := slices.Sorted(maps.Keys(of))
		total := 0
		for _, n := range of {
			total += n
		}
		levels := ws.levels
		if wp.levels != nil {
			levels = wp.levels
		}
		wp.level = levels[r.IntN(len(levels))]
		wp.maxDelay = []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, time.Minute}[r.IntN(4)]
		wp.maxPending = []int{4 << 10, 16 << 10, 8 << 20}[r.IntN(3)]
		if r.IntN(4) == 0 || w.inline {
			wp.checkpoint = vfs.CheckpointInline
		}
		for range w.steps {
			x := r.IntN(total)
			kind := stepTxn
			for _, k := range order {
				if x -= of[k]; x < 0 {
					kind = k
					break
				}
			}
			if i == 0 && w.checkpointer && kind == stepTxn {
				kind = stepCheckpoint
			}
			s := step{n: n, kind: kind, seed: r.Uint64()}
			its := *ws
			if wp.modes != nil {
				its.modes = wp.modes
			}
			s.fill(r, &its)
			if s.kind == stepCheckpoint && w.checkpointer {
				s.arg = "PASSIVE" // others can write meanwhile
			}
			n++
			if !slices.Contains(p.Drop, s.n) {
				wp.steps = append(wp.steps, s)
			}
		}
	}
	return w
}

func (s *step) fill(r *rand.Rand, ws *weights) {
	switch s.kind {
	case stepTxn:
		s.txn = txnStep{
			changes:  1 + r.IntN(ws.changes),
			size:     1 + r.IntN(ws.size),
			nested:   max(0, r.IntN(5)-2),
			rollback: r.IntN(8) == 0,
		}
		if r.IntN(10) == 0 {
			s.txn.size *= 8
		}
	case stepCheckpoint:
		s.arg = ws.modes[r.IntN(len(ws.modes))]
	case stepJournalMode:
		s.arg = []string{"wal", "wal", "delete", "truncate", "persist", "memory"}[r.IntN(6)]
		if s.arg == "memory" && !ws.memory {
			s.arg = "wal"
		}
	case stepLevel:
		s.arg = string(ws.levels[r.IntN(len(ws.levels))])
	case stepMode:
		s.arg = []string{"async", "sync", "async"}[r.IntN(3)]
	case stepRead:
		s.arg = strconv.Itoa(1 + r.IntN(30))
	case stepPause:
		s.arg = (time.Duration(1+r.IntN(80)) * ws.pause).String()
	}
}
