//go:debug randseednop=0

package taskcut

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/docusnap/asyncvfs/internal/powercut"
	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/stretchr/testify/require"
)

var (
	states = flag.Int("states", 0, "different crash states to check; default 300 with the race detector or on wazero, else 4000")
	seed   = flag.Uint64("seed", 1, "seed of the workloads")
	shard  = flag.String("shard", "", "internal: part/parts of a test that runs in several processes")

	replayPlan    = flag.String("plan", "", "workload to replay")
	replayOrder   = flag.String("order", "0", "order of events of the replay, in hex; 0 is any")
	replayAt      = flag.Int("at", -1, "event before which the power is cut")
	replayChoice  = flag.Uint64("choice", 0, "what the power cut leaves: 0 nothing, 1 all, else the seed of a random choice")
	replayControl = flag.String("control", "", "control of the replay: early or lost-sync")
	without       = flag.String("without", "", "rule to switch off in the replay")
)

// TestMain lets one goroutine run at a time, so that a seed always gives the same order of events.
// To use all cores, a test runs in several processes.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

// TestPowerCuts runs workloads and checks the states that power cuts leave.
func TestPowerCuts(t *testing.T) {
	if *states == 0 {
		*states = 4000
		if slow {
			*states = 300
		}
	}
	args := []string{fmt.Sprintf("-states=%d", *states), fmt.Sprintf("-seed=%d", *seed)}
	counts := powercut.InParts(t, *shard, args, func(part, parts int) powercut.Counts {
		m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Points: 50, Choices: 2, Follow: 20}}
		for i := part; m.Counts.Images*parts < *states; i += parts {
			requireNoViolation(t, m, plan(*seed, i))
		}
		return m.Counts
	})
	if !t.Failed() && *shard == "" {
		require.GreaterOrEqual(t, counts.Images, *states)
	}
}

// plan returns the n-th workload of a seed.
func plan(seed uint64, n int) Plan {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	all := Kinds()
	p := Plan{Kind: all[n%len(all)], Seed: r.Uint64() >> 32}
	// The guarantees end where a sync of another process fails.
	if r.IntN(4) == 0 && p.Kind != "stock" && p.Kind != "processes" && p.Kind != "psow" {
		faults := []string{"sync-lost", "sync-kept", "hang", "write", "short", "full"}
		p.Fault = fmt.Sprintf("%s@%d", faults[r.IntN(len(faults))], 1+r.IntN(1<<r.IntN(8)))
	}
	return p
}

// requireNoViolation runs a workload. One that fails is made smaller.
func requireNoViolation(t *testing.T, m *Machine, p Plan) {
	t.Helper()
	err := m.Run(t, p)
	var v *Violation
	if errors.As(err, &v) {
		t.Log(v)
		require.NoError(t, m.Shrink(t, v))
	}
	require.NoError(t, err)
}

// TestSameSeed: a seed stands for one order of events, so that a violation can be replayed.
// Where the scheduler chose another one, it comes back soon.
func TestSameSeed(t *testing.T) {
	dir := t.TempDir()
	plans, others := 3*len(Kinds()), 0
	if slow {
		plans = 5
	}
	for n := range plans {
		p := plan(7, n)
		var first []string
		for try := 0; ; try++ {
			x, err := runPlan(t, p, 0, dir)
			require.NoError(t, err)
			var trace []string
			for i := range x.trace {
				trace = append(trace, x.trace[i].String())
			}
			if first == nil {
				first = trace
			} else if slices.Equal(first, trace) {
				break
			} else {
				others++
				require.Less(t, try, replayRuns, p)
			}
		}
	}
	t.Log(plans, "workloads,", others, "runs with another order of events")
	require.Less(t, others, plans*20)
}

// TestShrink: what is left of a workload in violation is smaller, and replays.
func TestShrink(t *testing.T) {
	m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Points: 50, Choices: 1}, Control: Early}
	var v *Violation
	require.ErrorAs(t, m.Run(t, Plan{Kind: "callers", Seed: 1}), &v)
	small := m.Shrink(t, v)
	require.Less(t, len(small.Plan.steps()), len(v.Plan.steps())/2)
	var again *Violation
	require.ErrorAs(t, m.Replay(t, *small), &again)
	require.Equal(t, small.Err.Error(), again.Err.Error())
	require.Contains(t, small.Error(), "-control early")
}

// TestReplay replays one crash state, as a violation says.
func TestReplay(t *testing.T) {
	if *replayPlan == "" {
		t.Skip("no -plan")
	}
	p, err := ParsePlan(*replayPlan)
	require.NoError(t, err)
	m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Points: 50, Choices: 2, Follow: 1}, Control: Control(*replayControl)}
	if *without != "" {
		m.Disabled, err = rules.Parse(*without)
		require.NoError(t, err)
	}
	v := Violation{Plan: p, At: *replayAt, Choice: simdisk.Choice(*replayChoice)}
	v.Order, err = strconv.ParseUint(*replayOrder, 16, 64)
	require.NoError(t, err)
	require.NoError(t, m.Replay(t, v))
}

// TestParsePlan: a plan is read as it is written, and one that isn't is refused.
func TestParsePlan(t *testing.T) {
	for _, p := range []Plan{
		{Kind: "mixed", Seed: 42},
		{Kind: "cache", Seed: 1 << 63, Fault: "sync-lost@3"},
		{Kind: "workers", Seed: 7, Drop: []int{0, 3, 12}, Fault: "write@9+"},
	} {
		q, err := ParsePlan(p.String())
		require.NoError(t, err)
		require.Equal(t, p, q)
	}
	for text, says := range map[string]string{
		"":                 "kind/seed",
		"nothing/1":        "checkpoint",
		"mixed/x":          "invalid syntax",
		"mixed/1/sync@1":   "name@n",
		"mixed/1/drop.1.x": "invalid syntax",
	} {
		_, err := ParsePlan(text)
		require.ErrorContains(t, err, says)
	}
}
