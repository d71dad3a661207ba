package taskcut

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/docusnap/asyncvfs/internal/powercut"
	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/simdisk"
)

// Violation is a crash state that must not be.
type Violation struct {
	Plan     Plan
	Disabled rules.Set
	Control  Control
	At       int // events before the power cut, or -1 if it needs none
	Choice   simdisk.Choice
	Order    uint64 // of events: see [Machine.Replay]
	Err      error
}

func (v *Violation) Error() string {
	s := fmt.Sprintf("%s: %v", v.Plan, v.Err)
	if v.At >= 0 {
		s = fmt.Sprintf("%s: power cut after event %d, choice %s: %v", v.Plan, v.At, v.Choice, v.Err)
	}
	s += fmt.Sprintf("\nreplay: go test ./internal/powercut/taskcut -run TestReplay -v -plan %s -order %x -at %d -choice %d", v.Plan, v.Order, v.At, uint64(v.Choice))
	if v.Disabled != 0 {
		s += " -without " + v.Disabled.String()
	}
	if v.Control != "" {
		s += " -control " + string(v.Control)
	}
	return s
}

func (v *Violation) Unwrap() error { return v.Err }

// Control is a fault of the store or the disk that the oracle must find. The empty one is none.
type Control string

// The controls.
const (
	// Early lets durable calls return as soon as their change is made.
	Early Control = "early"
	// Late lets relaxed calls have returned an hour earlier than they have.
	Late Control = "late"
	// LostSync is a disk that now and then says it has synced a WAL, and hasn't.
	LostSync Control = "lost-sync"
)

// Depth says how thoroughly a workload is checked.
type Depth struct {
	Points  int // power cuts, spread over the trace; 0 is one after every event
	Choices int // random states for each, beside none and all
	Follow  int // one of so many images is opened by a store, written to and crashed again; 0 is none
}

// Machine runs workloads and checks the states that power cuts leave.
type Machine struct {
	Disabled rules.Set
	Control  Control
	Only     string // the control is for calls whose text begins so alone
	Depth    Depth
	ShmDir   string
	Counts   powercut.Counts
}

// Run runs a workload and checks it. The error is nil or a [*Violation], or something that went wrong.
func (m *Machine) Run(t *testing.T, p Plan) error {
	x, err := runPlan(t, p, m.Disabled, m.ShmDir)
	if err != nil {
		return err
	}
	return m.check(x)
}

// begin prepares the check of a run.
func (m *Machine) begin(x *run) (*oracle, *simdisk.Crash, error) {
	violation := func(err error) error {
		return &Violation{x.w.plan, m.Disabled, m.Control, -1, simdisk.None, order(x.trace), err}
	}
	if len(x.violations) > 0 {
		return nil, nil, violation(errors.New(x.violations[0]))
	}
	o, err := newOracle(x, m.Control, m.Only)
	if err != nil {
		return nil, nil, violation(err)
	}
	trace := x.trace
	if m.Control == LostSync {
		trace = loseSyncs(trace, x.w.plan.Seed)
	}
	return o, simdisk.NewCrash(x.image, x.cfg, trace), nil
}

// loseSyncs takes a third of the syncs of WALs out of a trace.
func loseSyncs(trace []simdisk.Event, seed uint64) []simdisk.Event {
	r := rand.New(rand.NewPCG(seed, 8))
	trace = slices.Clone(trace)
	for i := range trace {
		if e := &trace[i]; e.Kind == simdisk.SyncEnd && e.Name == dbName+"-wal" && r.IntN(3) == 0 {
			e.Err = errors.New("lost")
		}
	}
	return trace
}

func (m *Machine) check(x *run) error {
	m.Counts.Workloads++
	m.Counts.Events += len(x.trace)
	o, crash, err := m.begin(x)
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(x.w.plan.Seed, 5))
	points := powercut.PointsOf(len(x.trace), m.Depth.Points, r)
	seen := map[uint64]finding{}
	for k := 0; k <= len(x.trace); k++ {
		if points != nil && !points[k] {
			continue
		}
		crash.Advance(k)
		o.advance(k)
		for n := range 2 + m.Depth.Choices {
			choice := simdisk.Choice(n)
			if choice >= simdisk.Random {
				choice = simdisk.Random + simdisk.Choice(r.Uint32())
			}
			if err := m.state(o, crash.Image(choice), r, seen); err != nil {
				return &Violation{x.w.plan, m.Disabled, m.Control, k, choice, order(x.trace), err}
			}
		}
	}
	return nil
}

// state checks a crash state.
func (m *Machine) state(o *oracle, img simdisk.Image, r *rand.Rand, seen map[uint64]finding) error {
	m.Counts.States++
	hash := img.Hash(dbName)
	f, ok := seen[hash]
	if !ok {
		m.Counts.Images++
		f = inspect(img, m.ShmDir, false)
		seen[hash] = f
	}
	n, err := o.check(f)
	if err != nil {
		return err
	}
	if !ok && m.Depth.Follow > 0 && r.IntN(m.Depth.Follow) == 0 && f.digest != 0 {
		nested, err := o.follow(img, n, r)
		m.Counts.Nested += nested
		m.Counts.States += nested
		m.Counts.Images += nested
		return err
	}
	return nil
}

// order returns a hash of the order of events, the same in each process.
func order(trace []simdisk.Event) uint64 {
	h := fnv.New64a()
	for i := range trace {
		fmt.Fprintln(h, &trace[i])
	}
	return h.Sum64()
}

// replayRuns is how often a replay tries to come to the order of events that it was told.
const replayRuns = 300

// Replay checks one state of a workload. An order of 0 is any.
//
// Nearly always a seed gives the same order of events. But the store lets other goroutines go first at two places
// ([runtime.Gosched]), and now and then Go's scheduler chooses another one there.
func (m *Machine) Replay(t *testing.T, v Violation) error {
	p, at, choice := v.Plan, v.At, v.Choice
	var x *run
	for n := range replayRuns {
		var err error
		if x, err = runPlan(t, p, m.Disabled, m.ShmDir); err != nil {
			return err
		}
		if v.Order == 0 || order(x.trace) == v.Order {
			break
		}
		if n == replayRuns-1 {
			t.Logf("%d runs had another order of events", replayRuns)
		}
	}
	if len(x.violations) > 0 || at < 0 || at > len(x.trace) {
		for i := range x.trace {
			t.Logf("%5d %v", i, &x.trace[i])
		}
		return m.check(x)
	}
	for i := range x.trace[:at] {
		t.Logf("%5d %v", i, &x.trace[i])
	}
	o, crash, err := m.begin(x)
	if err != nil {
		return err
	}
	crash.Advance(at)
	o.advance(at)
	img := crash.Image(choice)
	// Twenty recoveries, since each takes a way of its own.
	for seed := range uint64(20) {
		if err := m.state(o, img, rand.New(rand.NewPCG(seed, 6)), map[uint64]finding{}); err != nil {
			return &Violation{p, m.Disabled, m.Control, at, choice, order(x.trace), err}
		}
	}
	return nil
}

// Shrink leaves out steps of a workload as long as it stays in violation, and returns what is left.
func (m *Machine) Shrink(t *testing.T, v *Violation) *Violation {
	small := *m
	before := v.Plan.Drop
	powercut.Shrink(v.Plan.steps(), func(drop []int) bool {
		p := v.Plan
		p.Drop = slices.Sorted(slices.Values(slices.Concat(before, drop)))
		var smaller *Violation
		if !errors.As(small.Run(t, p), &smaller) {
			return false
		}
		v = smaller
		return true
	})
	return v
}
