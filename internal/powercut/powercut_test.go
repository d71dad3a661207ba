package powercut

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/stretchr/testify/require"
)

var (
	states = flag.Int("states", 0, "different crash states to check; default 400 with the race detector or on wazero, else 4000")
	seed   = flag.Uint64("seed", 1, "seed of the workloads")

	replayPlan   = flag.String("plan", "", "workload to replay")
	replayAt     = flag.Int("at", -1, "event before which the power is cut")
	replayChoice = flag.Uint64("choice", 0, "what the power cut leaves: 0 nothing, 1 all, else the seed of a random choice")
	every        = flag.Int("every", 1, "have a fault at every so many operations")
	without      = flag.String("without", "", "rule to switch off in the replay")
)

// TestPowerCuts runs workloads and checks the states that power cuts leave.
func TestPowerCuts(t *testing.T) {
	if *states == 0 {
		*states = 4000
		if slow {
			*states = 400
		}
	}
	counts := inParts(t, func(part, parts int) Counts {
		m := &Machine{ShmDir: t.TempDir()}
		for i := part; m.Counts.Images*parts < *states; i += parts {
			requireNoViolation(t, m, m.next(*seed, i/parts, part))
		}
		return m.Counts
	})
	if !t.Failed() && *shard == "" {
		require.GreaterOrEqual(t, counts.Images, *states)
	}
}

// next returns the n-th workload of a part, and sets how thoroughly it is checked.
func (m *Machine) next(seed uint64, n, part int) Plan {
	r := rand.New(rand.NewPCG(seed, uint64(n)<<16|uint64(part)))
	kinds := Kinds()
	p := Plan{Kind: kinds[n%len(kinds)], Seed: r.Uint64() >> 32}
	often := 4
	switch p.Kind {
	case "neighbour", "peer", "restarted", "partial":
		often = 1 // it is made for that
	case "stock", "processes", "journal":
		// The guarantees end where a sync of another process fails, or in a rollback mode.
		often = 0
	}
	if often > 0 && r.IntN(2*often) < 2 {
		names := simdisk.FaultNames()
		p.Fault = fmt.Sprintf("%s@%d", names[r.IntN(len(names))], 1+r.IntN(1<<r.IntN(8)))
		if next := []string{"header", "index", "sync-lost"}; r.IntN(2) == 0 {
			p.Fault += fmt.Sprintf(",%s@%d", next[r.IntN(len(next))], 1+r.IntN(8))
		}
	}
	m.Depth = Depth{Points: 30, Choices: 2, Follow: 8}
	if r.IntN(10) == 0 {
		m.Depth.Points = 400 // after every event, unless it is a large one
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

// TestKinds runs some workloads of each kind, with power cuts after every event of the small ones.
func TestKinds(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Points: 400, Choices: 2, Follow: 10}}
			seeds := uint64(3)
			if slow {
				m.Depth.Points, seeds = 30, 1
			}
			for seed := range seeds {
				requireNoViolation(t, m, Plan{Kind: kind, Seed: seed})
			}
			t.Log(m.Counts)
		})
	}
}

// TestFaults injects each fault at every operation of a workload that it can happen to, or at some of them: see -every.
func TestFaults(t *testing.T) {
	inParts(t, func(part, parts int) Counts {
		m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Points: 10, Choices: 1}}
		step := *every
		if slow {
			step = 120
		}
		kinds := []string{"single", "group", "mixed", "restart", "reopen", "attach", "checkpoint", "background", "peer", "neighbour"}
		for i, name := range simdisk.FaultNames() {
			for j, kind := range kinds {
				if slow && (i+j)%4 != 0 {
					continue
				}
				step := step
				if kind == "background" || kind == "peer" || kind == "neighbour" {
					step *= 5 // it does most of what the others do
				}
				for n := 1 + step*part; ; n += step * parts {
					p := Plan{Kind: kind, Seed: 1, Fault: fmt.Sprintf("%s@%d", name, n)}
					x, err := runPlan(t, p, m.Disabled, m.ShmDir)
					require.NoError(t, err)
					require.NoError(t, m.check(x))
					if !x.fault.Happened() || name == "space" && n > 20 {
						break
					}
				}
			}
		}
		return m.Counts
	})
}

// TestSameSeed: a seed stands for one order of events, so that a violation can be replayed.
func TestSameSeed(t *testing.T) {
	if slow {
		t.Skip("with the race detector goroutines run in any order")
	}
	dir := t.TempDir()
	plans := []Plan{
		{Kind: "single", Seed: 1, Fault: "sync-lost@2,header@2"}, {Kind: "neighbour", Seed: 1, Fault: "sync-lost@5,header@1"},
		{Kind: "peer", Seed: 2, Fault: "sync-lost@7,index@1"}, {Kind: "partial", Seed: 3, Fault: "db-lost@2"},
	}
	for _, kind := range Kinds() {
		plans = append(plans, Plan{Kind: kind, Seed: 1})
	}
	for _, p := range plans {
		// Where syncs run beside each other whenever they can, two that are asked for at the same moment are one or two,
		// as the goroutines happen to come: a replay may take more than one try.
		for SyncsBeside(p.Seed) != 0 {
			p.Seed++
		}
		var traces [2]string
		for i := range traces {
			x, err := runPlan(t, p, 0, dir)
			require.NoError(t, err)
			for _, e := range x.trace {
				traces[i] += e.String() + "\n"
			}
		}
		require.Equal(t, traces[0], traces[1], p)
	}
}

// TestShrink: what is left of a workload in violation is smaller, and replays.
func TestShrink(t *testing.T) {
	m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Choices: 2}, Disabled: rules.GroupWait}
	var v *Violation
	require.ErrorAs(t, m.Run(t, Plan{Kind: "group", Seed: 1}), &v)
	small := m.Shrink(t, v)
	require.Less(t, len(small.Plan.steps()), len(v.Plan.steps())/2)
	var again *Violation
	require.ErrorAs(t, m.Replay(t, small.Plan, small.At, small.Choice), &again)
	require.Equal(t, small.Err.Error(), again.Err.Error())
	require.Contains(t, small.Error(), "-without group-wait")
}

// TestReplay replays one crash state, as a violation says.
func TestReplay(t *testing.T) {
	if *replayPlan == "" {
		t.Skip("no -plan")
	}
	p, err := ParsePlan(*replayPlan)
	require.NoError(t, err)
	m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Choices: 2, Follow: 1}}
	if *without != "" {
		m.Disabled, err = rules.Parse(*without)
		require.NoError(t, err)
	}
	require.NoError(t, m.Replay(t, p, *replayAt, simdisk.Choice(*replayChoice)))
}

// TestParsePlan: a plan is read as it is written, and one that isn't is refused with what is allowed.
func TestParsePlan(t *testing.T) {
	for _, p := range []Plan{
		{Kind: "mixed", Seed: 42},
		{Kind: "single", Seed: 1 << 63, Fault: "sync-lost@3"},
		{Kind: "group", Seed: 7, Drop: []int{0, 3, 12}, Fault: "write@9+"},
		{Kind: "peer", Seed: 7, Fault: "sync-lost@9,header@1"},
	} {
		q, err := ParsePlan(p.String())
		require.NoError(t, err)
		require.Equal(t, p, q)
	}
	for plan, says := range map[string]string{
		"":               "kind/seed",
		"nothing/1":      strings.Join(Kinds(), " "),
		"mixed/x":        "invalid syntax",
		"mixed/1/sync@1": "name@n",

		"mixed/1/sync-lost@1,header": "name@n",
		"mixed/1/drop.1.x":           "invalid syntax",
	} {
		_, err := ParsePlan(plan)
		require.ErrorContains(t, err, says)
	}
}
