package simdisk

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"
)

// Lockstep runs goroutines one at a time, in a [synctest] bubble: each stops at a gate before every operation of the disk,
// and a seed says which of them goes on. So a seed stands for one order of events,
// in which time is that of a [synctest] bubble and passes only as the lockstep lets it.
type Lockstep struct {
	r *rand.Rand
	// stay is how likely it is that who went on last goes on again.
	stay float64
	// slow is what is likely to stall, and stall is for how long at most.
	slow  EventKind
	stall time.Duration

	came chan struct{} // somebody has come to the gate

	mu     sync.Mutex
	parked []*ticket
	live   int // goroutines started with Go that haven't ended
	last   stop
}

// Pace is how a lockstep goes.
type Pace struct {
	Stay  float64       // how likely it is that who went on last goes on again
	Slow  EventKind     // what is likely to stall
	Stall time.Duration // for how long at most
}

// NewLockstep returns the lockstep of a seed.
func NewLockstep(seed uint64, p Pace) *Lockstep {
	return &Lockstep{
		r: rand.New(rand.NewPCG(seed, 4)), stay: p.Stay, slow: p.Slow, stall: p.Stall, came: make(chan struct{}, 1),
	}
}

// stop tells those apart that stand at a gate at the same time.
type stop struct {
	worker int // of the worker itself, between its steps; -1 within an operation
	op     Op
}

type ticket struct {
	stop
	pass chan struct{}
	// stalled is until when it stalls.
	stalled time.Time
	seen    bool
}

func (s stop) compare(t stop) int {
	return cmp.Or(
		cmp.Compare(s.worker, t.worker),
		cmp.Compare(s.op.Handle, t.op.Handle),
		cmp.Compare(s.op.Kind, t.op.Kind),
		cmp.Compare(s.op.Name, t.op.Name),
		cmp.Compare(s.op.Off, t.op.Off),
	)
}

// Gate lets an operation pass when it is its turn.
func (l *Lockstep) Gate(op Op) { l.wait(stop{-1, op}) }

// Step lets a worker pass when it is its turn. No two may have the same number.
func (l *Lockstep) Step(worker int) { l.wait(stop{worker: worker}) }

func (l *Lockstep) wait(s stop) {
	t := &ticket{stop: s, pass: make(chan struct{})}
	l.mu.Lock()
	l.parked = append(l.parked, t)
	l.mu.Unlock()
	select {
	case l.came <- struct{}{}:
	default:
	}
	<-t.pass
}

// Go starts a goroutine. It is called before Drive.
func (l *Lockstep) Go(f func()) {
	l.live++
	go func() {
		defer func() {
			l.mu.Lock()
			l.live--
			l.mu.Unlock()
		}()
		f()
	}()
}

// patience is how long all may wait before that is taken for a deadlock.
const patience = time.Hour

// Drive lets the goroutines pass until all that Go has started have ended.
func (l *Lockstep) Drive() {
	for {
		synctest.Wait()
		select {
		case <-l.came: // before
		default:
		}
		t, until, done := l.next()
		switch {
		case done:
			return
		case t != nil:
			close(t.pass)
			time.Sleep(time.Duration(5+l.r.IntN(20)) * time.Microsecond)
		default:
			// All wait for time to pass.
			select {
			case <-l.came:
			case <-time.After(until):
				if until == patience {
					panic("powercut: all wait for something that doesn't come")
				}
			}
		}
	}
}

// next chooses who passes. If that is nobody, it returns how long to wait unless somebody comes.
func (l *Lockstep) next() (t *ticket, until time.Duration, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.parked) == 0 {
		return nil, patience, l.live == 0
	}
	slices.SortFunc(l.parked, func(s, t *ticket) int { return s.compare(t.stop) })
	// Now and then one stalls, as a thread does that isn't scheduled, while the others go on.
	now := time.Now()
	until = patience
	var ready []*ticket
	for _, t := range l.parked {
		often := 100
		if t.worker < 0 && t.op.Kind == l.slow {
			often = 2
		}
		if !t.seen && l.r.IntN(often) == 0 {
			t.stalled = now.Add(time.Duration(l.r.Int64N(int64(l.stall))))
		}
		t.seen = true
		if left := t.stalled.Sub(now); left > 0 {
			until = min(until, left)
		} else {
			ready = append(ready, t)
		}
	}
	if len(ready) == 0 {
		return nil, until, false
	}
	t = ready[l.r.IntN(len(ready))]
	if l.r.Float64() < l.stay {
		for _, u := range ready {
			if u.worker == l.last.worker && u.op.Handle == l.last.op.Handle {
				t = u
			}
		}
	}
	l.parked = slices.DeleteFunc(l.parked, func(u *ticket) bool { return u == t })
	l.last = t.stop
	return t, 0, false
}
