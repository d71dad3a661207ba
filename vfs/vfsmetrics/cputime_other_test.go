//go:build !unix

package vfsmetrics

import (
	"time"
)

// cputime isn't known: the ratio of it says nothing.
func cputime() time.Duration { return 0 }

// CPUTime is cputime, for the tests outside of the package.
func CPUTime() time.Duration { return cputime() }
