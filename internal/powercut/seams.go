package powercut

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Lockstep runs the goroutines of a workload of another package one at a time, in a synctest bubble:
// each stops before every operation of the disk, and a seed says which of them goes on.
type Lockstep struct{ l *lockstep }

// Pace is how a lockstep goes.
type Pace struct {
	Stay  float64       // how likely it is that who went on last goes on again
	Slow  EventKind     // what is likely to stall
	Stall time.Duration // for how long at most
}

// NewLockstep returns the lockstep of a seed.
func NewLockstep(seed uint64, p Pace) *Lockstep {
	return &Lockstep{&lockstep{
		r: rand.New(rand.NewPCG(seed, 4)), stay: p.Stay, slow: p.Slow, stall: p.Stall, came: make(chan struct{}, 1),
	}}
}

// Gate lets an operation of the disk pass when it is its turn. It is for [Config].
func (s *Lockstep) Gate(op Op) { s.l.gate(op) }

// Step lets a worker pass when it is its turn. No two may have the same number.
func (s *Lockstep) Step(worker int) { s.l.step(worker) }

// Go starts a goroutine. It is called before Drive.
func (s *Lockstep) Go(f func()) { s.l.run(f) }

// Drive lets the goroutines pass until all that Go has started have ended.
func (s *Lockstep) Drive() { s.l.drive() }

// Injector injects a fault into the operations of a disk.
type Injector struct{ f *injector }

// NewInjector returns the injector of a fault, "kind@n" or "kind@n+", or several joined by commas; "" is none.
func NewInjector(fault string) (*Injector, error) {
	if fault == "" {
		return &Injector{&injector{}}, nil
	}
	f, err := parseFault(fault)
	return &Injector{f}, err
}

// Next returns the fault of an operation.
func (i *Injector) Next(op Op) Fault { return i.f.next(op) }

// Happened reports whether the fault has happened.
func (i *Injector) Happened() bool { return i.f.happened() }

// End ends a fault that stays.
func (i *Injector) End() { i.f.endAll() }

// PathIn returns the path to open a file by in a process: see [Async].
// It differs from process to process, for what a process finds by its name.
func (d *Disk) PathIn(process int, name string) string {
	return fmt.Sprintf("/%s@%d/%s", d.id, process, name)
}

// Hash returns a hash of the files that belong to a database. It differs from process to process.
func (img Image) Hash(db string) uint64 { return img.hash(db) }

// Shrink leaves out steps as long as something stays as it is, and returns which.
// Left out says whether it does without these steps.
func Shrink(steps []int, leftOut func(drop []int) bool) (drop []int) {
	for size := (len(steps) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(steps); {
			to := min(from+size, len(steps))
			try := append(drop[:len(drop):len(drop)], steps[from:to]...)
			if leftOut(try) {
				drop = try
				steps = append(steps[:from:from], steps[to:]...)
			} else {
				from = to
			}
		}
	}
	return drop
}
