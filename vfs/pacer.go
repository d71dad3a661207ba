package vfs

import (
	"runtime"
	"sync"
	"time"
)

const (
	// paceSpin is the longest that a commit gives way to other goroutines instead of sleeping:
	// where nothing else runs, Go on Linux sleeps for a whole millisecond.
	paceSpin = 300 * time.Microsecond
	// paceTurns is how often it does so at most: in a synctest bubble no time passes meanwhile.
	paceTurns = 2000
)

// pacer lets commits go on at a limited rate, however many connections make them.
type pacer struct {
	mu   sync.Mutex
	next time.Time // when the next one may; guarded by mu
}

// wait waits until the commits before it, and this one, have had that much time each.
func (p *pacer) wait(each time.Duration) {
	now := time.Now()
	p.mu.Lock()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(each)
	until := p.next
	p.mu.Unlock()
	if left := until.Sub(now); left > paceSpin {
		time.Sleep(left)
		return
	}
	for turns := 0; turns < paceTurns && time.Now().Before(until); turns++ {
		runtime.Gosched()
	}
}
