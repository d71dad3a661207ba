package powercut

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var shard = flag.String("shard", "", "internal: part/parts of a test that runs in several processes")

// cores is how many there are.
var cores = runtime.NumCPU()

// TestMain lets one goroutine run at a time, so that a seed always gives the same order of events.
// To use all cores, some tests run in several processes.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

const reportMark = "counts: "

// inParts runs a test in as many processes as there are cores, each with one part of it.
// In those, work does the part. It returns what all of them have checked.
func inParts(t *testing.T, work func(part, parts int) Counts) (counts Counts) {
	if *shard != "" {
		var part, parts int
		_, err := fmt.Sscanf(*shard, "%d/%d", &part, &parts)
		require.NoError(t, err)
		counts = work(part, parts)
		report, err := json.Marshal(counts)
		require.NoError(t, err)
		fmt.Printf("\n%s%s\n", reportMark, report)
		return counts
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for part := range cores {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=0",
				fmt.Sprintf("-shard=%d/%d", part, cores), fmt.Sprintf("-states=%d", *states), fmt.Sprintf("-seed=%d", *seed))
			out, err := cmd.CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			_, report, found := bytes.Cut(out, []byte(reportMark))
			if err != nil || !found {
				t.Errorf("part %d of %d, seed %d: %v\n%s", part, cores, *seed, err, out)
				return
			}
			report, _, _ = bytes.Cut(report, []byte("\n"))
			var c Counts
			if err := json.Unmarshal(report, &c); err != nil {
				t.Error(err)
			}
			counts.Add(c)
		})
	}
	wg.Wait()
	t.Log(counts)
	return counts
}
