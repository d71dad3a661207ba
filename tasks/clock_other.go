//go:build !linux

package tasks

import "time"

// bootClock is what other systems have no common form of.
func bootClock() (host string, at time.Duration, ok bool) { return "", 0, false }
