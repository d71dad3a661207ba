package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/simdisk"
)

// Counts says how much was checked.
type Counts struct {
	Workloads int
	Events    int
	States    int // crash states
	Images    int // those of them that differ: each was opened and read
	Nested    int // those of them that are states of the recovery from another
}

// Add adds what another count says.
func (c *Counts) Add(d Counts) {
	c.Workloads += d.Workloads
	c.Events += d.Events
	c.States += d.States
	c.Images += d.Images
	c.Nested += d.Nested
}

func (c Counts) String() string {
	return fmt.Sprintf("%d crash states, %d of them different, %d of them of a recovery from another; %d workloads, %d events",
		c.States, c.Images, c.Nested, c.Workloads, c.Events)
}

// Violation is a crash state that must not be.
type Violation struct {
	Plan     Plan
	Disabled rules.Set
	At       int // events before the power cut, or -1 if the workload itself saw it
	Choice   simdisk.Choice
	DB       string
	Err      error
}

func (v *Violation) Error() string {
	s := fmt.Sprintf("%s: %v", v.Plan, v.Err)
	if v.At >= 0 {
		s = fmt.Sprintf("%s: power cut after event %d, choice %s: %s: %v", v.Plan, v.At, v.Choice, v.DB, v.Err)
	}
	s += fmt.Sprintf("\nreplay: go test ./internal/powercut -run TestReplay -v -plan %s -at %d -choice %d", v.Plan, v.At, uint64(v.Choice))
	if v.Disabled != 0 {
		s += " -without " + v.Disabled.String()
	}
	return s
}

func (v *Violation) Unwrap() error { return v.Err }

// Depth says how thoroughly a workload is checked.
type Depth struct {
	Points  int // power cuts, spread over the trace; 0 is one after every event
	Choices int // random states for each, beside none and all
	Follow  int // one of so many images is recovered, written to and crashed again; 0 is none
}

// Machine runs workloads and checks the states that power cuts leave.
type Machine struct {
	Disabled rules.Set
	Depth    Depth
	ShmDir   string
	Counts   Counts
}

// Run runs a workload and checks it. The error is nil or a [*Violation], or something that went wrong.
func (m *Machine) Run(t *testing.T, p Plan) error {
	x, err := runPlan(t, p, m.Disabled, m.ShmDir)
	if err != nil {
		return err
	}
	return m.check(x)
}

func (m *Machine) check(x *run) error {
	m.Counts.Workloads++
	m.Counts.Events += len(x.trace)
	violation := func(at int, choice simdisk.Choice, db string, err error) error {
		return &Violation{x.w.plan, m.Disabled, at, choice, db, err}
	}
	if len(x.violations) > 0 {
		return violation(-1, simdisk.None, "", errors.New(x.violations[0]))
	}
	r := rand.New(rand.NewPCG(x.w.plan.Seed, 5))
	points := PointsOf(len(x.trace), m.Depth.Points, r)
	crash := simdisk.NewCrash(x.image, x.cfg, x.trace)
	oracles := newOracles(x)
	for k := 0; k <= len(x.trace); k++ {
		crash.Advance(k)
		for _, o := range oracles {
			if err := o.advance(k); err != nil {
				return violation(k, simdisk.None, o.h.db, err)
			}
		}
		if points != nil && !points[k] {
			continue
		}
		for n := range 2 + m.Depth.Choices {
			choice := simdisk.Choice(n)
			if choice >= simdisk.Random {
				choice = simdisk.Random + simdisk.Choice(r.Uint32())
			}
			img := crash.Image(choice)
			for _, o := range oracles {
				if err := m.state(x, o, img, r); err != nil {
					return violation(k, choice, o.h.db, err)
				}
			}
		}
	}
	return nil
}

// PointsOf returns n of the events after which the power may be cut, or nil for all of them.
func PointsOf(events, n int, r *rand.Rand) map[int]bool {
	if n == 0 || events <= n {
		return nil
	}
	points := map[int]bool{}
	for range n {
		points[r.IntN(events+1)] = true
	}
	return points
}

// Replay checks one state of a workload.
func (m *Machine) Replay(t *testing.T, p Plan, at int, choice simdisk.Choice) error {
	x, err := runPlan(t, p, m.Disabled, m.ShmDir)
	if err != nil {
		return err
	}
	if len(x.violations) > 0 || at < 0 || at > len(x.trace) {
		return m.check(x)
	}
	for i, e := range x.trace[:at] {
		t.Logf("%5d %v", i, &e)
	}
	crash := simdisk.NewCrash(x.image, x.cfg, x.trace)
	crash.Advance(at)
	img := crash.Image(choice)
	for _, o := range newOracles(x) {
		err := o.advance(at)
		if err == nil {
			// Twenty recoveries, since each takes a way of its own.
			for seed := uint64(0); seed < 20 && err == nil; seed++ {
				o.seen = nil
				err = m.state(x, o, img, rand.New(rand.NewPCG(seed, 6)))
			}
		}
		if err != nil {
			return &Violation{p, m.Disabled, at, choice, o.h.db, err}
		}
	}
	return nil
}

// Shrink leaves out steps of a workload as long as it stays in violation, and returns what is left.
func (m *Machine) Shrink(t *testing.T, v *Violation) *Violation {
	small := *m
	before := v.Plan.Drop
	Shrink(v.Plan.steps(), func(drop []int) bool {
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

// state checks a crash state.
func (m *Machine) state(x *run, o *oracle, img simdisk.Image, r *rand.Rand) error {
	m.Counts.States++
	hash := img.Hash(o.h.db)
	f, ok := o.seen[hash]
	if !ok {
		m.Counts.Images++
		d := simdisk.NewDisk(img, simdisk.Config{ShmDir: m.ShmDir, Powersafe: true, Quiet: true})
		f = inspect(d, o.h.db)
		d.Remove()
		if o.seen == nil {
			o.seen = map[uint64]finding{}
		}
		o.seen[hash] = f
	}
	if err := o.check(f); err != nil {
		return err
	}
	if !ok && m.Depth.Follow > 0 && r.IntN(m.Depth.Follow) == 0 && f.err == nil && f.txn >= 0 {
		n, err := follow(img, o.h.db, f, x.cfg, r, func(g finding) bool {
			return o.check(g) == nil && o.h.txns[g.txn].isAfter(o.h.txns[f.txn])
		})
		m.Counts.Nested += n
		m.Counts.States += n
		m.Counts.Images += n
		return err
	}
	return nil
}
