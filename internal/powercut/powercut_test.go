package powercut

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var seeds = flag.Int("seeds", 3, "workloads of each kind")

func TestKinds(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Choices: 2, Follow: 10}}
			for seed := range *seeds {
				require.NoError(t, m.Run(t, Plan{Kind: kind, Seed: uint64(seed)}))
			}
			t.Log(m.Counts, time.Since(start))
		})
	}
}
