package powercut

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
)

var shard = flag.String("shard", "", "internal: part/parts of a test that runs in several processes")

// TestMain lets one goroutine run at a time, so that a seed always gives the same order of events.
// To use all cores, some tests run in several processes.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

// inParts runs a test in several processes, with the same flags.
func inParts(t *testing.T, work func(part, parts int) Counts) Counts {
	t.Helper()
	return InParts(t, *shard, []string{fmt.Sprintf("-states=%d", *states), fmt.Sprintf("-seed=%d", *seed), fmt.Sprintf("-every=%d", *every)}, work)
}
