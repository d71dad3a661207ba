//go:build unix

package vfsmetrics

import (
	"syscall"
	"time"
)

// cputime returns the processor time that this process has used.
func cputime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// CPUTime is cputime, for the tests outside of the package.
func CPUTime() time.Duration { return cputime() }
