package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
)

// Counts says how much was checked.
type Counts struct {
	Workloads int
	States    int // crash states
	Images    int // those that differ, and were opened
	Nested    int // crash states of the recovery from another; they count as states too
	Events    int
}

// Add adds what another count says.
func (c *Counts) Add(d Counts) {
	c.Workloads += d.Workloads
	c.States += d.States
	c.Images += d.Images
	c.Nested += d.Nested
	c.Events += d.Events
}

func (c Counts) String() string {
	return fmt.Sprintf("%d crash states of %d workloads, %d events (%d different images; %d states of recoveries)",
		c.States, c.Workloads, c.Events, c.Images, c.Nested)
}

// Violation is a crash state that must not be.
type Violation struct {
	Plan   Plan
	At     int // events before the power cut, or -1 if the workload itself saw it
	Choice Choice
	DB     string
	Err    error
}

func (v *Violation) Error() string {
	s := fmt.Sprintf("%s: %v", v.Plan, v.Err)
	if v.At >= 0 {
		s = fmt.Sprintf("%s: power cut after event %d, choice %s: %s: %v", v.Plan, v.At, v.Choice, v.DB, v.Err)
	}
	return s + fmt.Sprintf("\nreplay: go test ./internal/powercut -run TestReplay -v -plan %s -at %d -choice %d", v.Plan, v.At, uint64(v.Choice))
}

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
	p := x.w.plan
	if len(x.violations) > 0 {
		return &Violation{Plan: p, At: -1, Err: errors.New(x.violations[0])}
	}
	r := rand.New(rand.NewPCG(p.Seed, 5))
	points := map[int]bool{}
	if n := m.Depth.Points; n > 0 && n < len(x.trace) {
		for range n {
			points[r.IntN(len(x.trace)+1)] = true
		}
	}
	crash := NewCrash(x.image, x.cfg, x.trace)
	var oracles []*oracle
	for _, h := range x.hist {
		oracles = append(oracles, newOracle(h, x.trace))
	}
	seen := make([]map[uint64]finding, len(oracles))
	for i := range seen {
		seen[i] = map[uint64]finding{}
	}
	for k := 0; k <= len(x.trace); k++ {
		crash.Advance(k)
		for _, o := range oracles {
			if err := o.advance(k); err != nil {
				return &Violation{p, k, None, o.h.db, err}
			}
		}
		if len(points) > 0 && !points[k] {
			continue
		}
		for n := range 2 + m.Depth.Choices {
			choice := Choice(n)
			if choice >= Random {
				choice = Random + Choice(r.Uint32())
			}
			img := crash.Image(choice)
			for i, o := range oracles {
				if err := m.state(x, o, seen[i], img, r); err != nil {
					return &Violation{p, k, choice, o.h.db, err}
				}
			}
		}
	}
	return nil
}

// state checks a crash state.
func (m *Machine) state(x *run, o *oracle, seen map[uint64]finding, img Image, r *rand.Rand) error {
	m.Counts.States++
	hash := img.hash(o.h.db)
	f, ok := seen[hash]
	if !ok {
		m.Counts.Images++
		d := NewDisk(img, Config{ShmDir: m.ShmDir, Powersafe: true, Quiet: true})
		f = inspect(d, o.h.db)
		d.Remove()
		seen[hash] = f
	}
	if err := o.check(f); err != nil {
		return err
	}
	if !ok && m.Depth.Follow > 0 && r.IntN(m.Depth.Follow) == 0 && f.err == nil && f.txn >= 0 {
		n, err := follow(img, o.h.db, f, x.cfg, r)
		m.Counts.Nested += n
		m.Counts.States += n
		m.Counts.Images += n
		return err
	}
	return nil
}
