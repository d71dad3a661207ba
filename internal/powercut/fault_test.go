package powercut

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFaults injects each fault at every operation that it can happen to.
func TestFaults(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		t.Run(name, func(t *testing.T) {
			m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Points: 10, Choices: 2}}
			for _, kind := range []string{"single", "group", "mixed", "restart", "reopen", "attach", "checkpoint"} {
				for seed := range *seeds {
					for n := 1; ; n++ {
						p := Plan{Kind: kind, Seed: uint64(seed), Fault: fmt.Sprintf("%s@%d", name, n)}
						x, err := runPlan(t, p, m.Disabled, m.ShmDir)
						require.NoError(t, err)
						require.NoError(t, m.check(x))
						if !x.fault.done || name == "space" && n > 20 {
							break
						}
					}
				}
			}
			t.Log(m.Counts)
		})
	}
}
