package powercut

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	replayPlan   = flag.String("plan", "", "workload to replay")
	replayAt     = flag.Int("at", -1, "event after which the power is cut")
	replayChoice = flag.Uint64("choice", 0, "what is left")
)

// TestReplay replays one crash state, as a violation says.
func TestReplay(t *testing.T) {
	if *replayPlan == "" {
		t.Skip("no -plan")
	}
	p, err := ParsePlan(*replayPlan)
	require.NoError(t, err)
	m := &Machine{ShmDir: t.TempDir()}
	x, err := runPlan(t, p, m.Disabled, m.ShmDir)
	require.NoError(t, err)
	t.Logf("%+v", x.w)
	for i, e := range x.trace {
		t.Logf("%5d %12v %-9s %d %-12s off=%d len=%d pair=%d err=%v %v", i, e.Time, e.Kind, e.File, e.Name, e.Off, len(e.Data), e.Pair, e.Err, e.Note)
	}
	require.NoError(t, m.check(x))
}
