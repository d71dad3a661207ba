package inflight

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// disk is how long syncs take.
type disk struct {
	took   time.Duration
	serial bool // it does one after the other, however many are asked for
}

// load is who commits.
type load struct {
	conns int
	lock  time.Duration // one commit after another, each so long
	think time.Duration // from the answer to the next commit
}

type what int

const (
	committed what = iota
	ended
)

type event struct {
	at      Time
	what    what
	started Time
	waiters int
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// simulate has connections commit for so long, and returns how many commits became durable a second,
// how many syncs that took, and how many of them were begun beside others.
func simulate(p *Planner, d disk, l load, long time.Duration) (rate float64, syncs, beside int) {
	r := rand.New(rand.NewPCG(1, 2))
	var queue events
	var now, lockFree, diskFree Time
	waiting, running, covered, commits := 0, 0, 0, 0
	again := func() {
		at := max(now+l.think, lockFree) + l.lock
		lockFree = at
		heap.Push(&queue, event{at: at, what: committed})
	}
	start := func() {
		if waiting == 0 || running >= p.InFlight() || running > 0 && waiting < p.Group() {
			return
		}
		begin := now
		if d.serial {
			begin = max(now, diskFree)
		}
		took := d.took + time.Duration(r.Int64N(int64(d.took/5)))
		diskFree = begin + took
		heap.Push(&queue, event{at: begin + took, what: ended, started: now, waiters: waiting})
		if running > 0 {
			beside++
		}
		syncs++
		running++
		covered += waiting
		waiting = 0
	}
	for range l.conns {
		again()
	}
	for now < long {
		e := heap.Pop(&queue).(event)
		now = e.at
		switch e.what {
		case committed:
			waiting++
			p.Came(now)
		case ended:
			running--
			covered -= e.waiters
			commits += e.waiters
			p.Ended(now-e.started, e.waiters, waiting, covered, now)
			for range e.waiters {
				again()
			}
		}
		start()
	}
	return float64(commits) / long.Seconds(), syncs, beside
}

// TestPays: several at a time where that makes more commits durable, and one elsewhere.
func TestPays(t *testing.T) {
	const us = time.Microsecond
	for _, tt := range []struct {
		name    string
		disk    disk
		load    load
		several bool
	}{
		{"slow disk", disk{took: 1100 * us}, load{conns: 64, lock: 20 * us}, true},
		{"slower disk", disk{took: 5 * time.Millisecond}, load{conns: 128, lock: 20 * us}, true},
		{"slow disk, one after the other", disk{took: 1100 * us, serial: true}, load{conns: 64, lock: 20 * us}, false},
		{"fast disk", disk{took: 110 * us}, load{conns: 64, lock: 20 * us}, false},
		{"few connections", disk{took: 1100 * us}, load{conns: 8, lock: 20 * us}, false},
		{"one connection", disk{took: 1100 * us}, load{conns: 1, lock: 20 * us}, false},
		{"connections that think", disk{took: 1100 * us}, load{conns: 16, lock: 20 * us, think: 50 * time.Millisecond}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one, several := New(1), New(3)
			before, _, _ := simulate(&one, tt.disk, tt.load, 5*time.Second)
			after, syncs, beside := simulate(&several, tt.disk, tt.load, 5*time.Second)
			t.Logf("%.0f commits/s with one at a time, %.0f; %d of %d syncs beside others", before, after, beside, syncs)
			if tt.several {
				require.Greater(t, after, 1.15*before)
				return
			}
			require.Greater(t, after, 0.97*before)
			require.LessOrEqual(t, beside, syncs/20)
		})
	}
}

// TestLearnsAnew: a disk that gets slow, and fast again.
func TestLearnsAnew(t *testing.T) {
	p := New(3)
	l := load{conns: 64, lock: 20 * time.Microsecond}
	for _, slow := range []bool{false, true, false, true} {
		took := 110 * time.Microsecond
		if slow {
			took = 2 * time.Millisecond
		}
		simulate(&p, disk{took: took}, l, 5*time.Second)
		require.Equal(t, slow, p.InFlight() > 1)
	}
}

// TestOne: what may do one at a time does.
func TestOne(t *testing.T) {
	for _, most := range []int{0, 1} {
		p := New(most)
		_, _, beside := simulate(&p, disk{took: 2 * time.Millisecond}, load{conns: 64, lock: 20 * time.Microsecond}, time.Second)
		require.Zero(t, beside)
		require.Equal(t, p.expected, p.Group())
	}
}
