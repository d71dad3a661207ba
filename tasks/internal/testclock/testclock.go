// Package testclock has a clock that only a test moves.
package testclock

import (
	"sync"
	"time"
)

// Clock is a clock that stands still. Its methods may be called at the same time.
type Clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

// New returns a clock at 2023-11-14 22:13:20 UTC: whole seconds, because no backend has to keep more of a task's times.
func New() *Clock { return &Clock{now: time.Unix(1_700_000_000, 0).UTC()} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

// Set sets the clock.
func (c *Clock) Set(now time.Time) {
	c.mu.Lock()
	c.now = now
	c.mu.Unlock()
}
