package powercut

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
)

// Cores is in how many parts [InParts] runs a test.
func Cores() int { return runtime.NumCPU() }

const reportMark = "counts: "

// InParts runs a test in as many processes as there are cores, each with one part of it:
// a seed always gives the same order of events only where one goroutine runs at a time.
// The processes get the arguments, and -shard=part/parts. In those, which know it by that flag, work does the part.
// It returns what all of them have checked.
func InParts(t *testing.T, shard string, args []string, work func(part, parts int) Counts) (counts Counts) {
	t.Helper()
	if shard != "" {
		var part, parts int
		if _, err := fmt.Sscanf(shard, "%d/%d", &part, &parts); err != nil {
			t.Fatal(err)
		}
		counts = work(part, parts)
		report, err := json.Marshal(counts)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\n%s%s\n", reportMark, report)
		return counts
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for part := range Cores() {
		wg.Go(func() {
			all := append([]string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=0",
				fmt.Sprintf("-shard=%d/%d", part, Cores())}, args...)
			out, err := exec.CommandContext(t.Context(), exe, all...).CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			_, report, found := bytes.Cut(out, []byte(reportMark))
			if err != nil || !found {
				t.Errorf("part %d of %d, %v: %v\n%s", part, Cores(), args, err, out)
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
