package powercut

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/stretchr/testify/require"
)

// controls are the workloads that show what each rule is for.
var controls = []struct {
	rule  rules.Set
	kinds []string
	fault string
	upTo  int // the fault comes with one of so many operations; default 20
	// points are how many power cuts there are in a workload, 300 if it is 0. Fewer are enough
	// where what is lost stays lost.
	points int
	from   int // seed of the first workload
}{
	{rule: rules.WALBeforeDB, kinds: []string{"restart", "mixed"}},
	{rule: rules.DBBeforeReuse, kinds: []string{"restart", "mixed"}},
	{rule: rules.HeaderBeforeFrames, kinds: []string{"restart", "mixed"}},
	{rule: rules.EntryBeforeCommit, kinds: []string{"single", "reopen", "fresh"}},
	{rule: rules.RemovalBeforeReturn, kinds: []string{"journal"}, from: 34},
	{rule: rules.FailureIsFinal, kinds: []string{"single", "group"}, fault: "sync-lost"},
	{rule: rules.SyncCoversWritten, kinds: []string{"group", "mixed"}},
	{rule: rules.LaterSyncs, kinds: []string{"group", "mixed"}, from: 10},
	{rule: rules.GroupWait, kinds: []string{"group"}},
	{rule: rules.ForeignWrites, kinds: []string{"stock"}, from: 16},
	{rule: rules.ClearClosed, kinds: []string{"group"}, from: 18},
	{rule: rules.Refresh, kinds: []string{"single", "group", "restart"}, fault: "sync-lost"},
	{rule: rules.Publish, kinds: []string{"neighbour"}, points: 60, from: 104},
	{rule: rules.OneBackfill, kinds: []string{"processes"}, points: 100, from: 64},
	{rule: rules.Partial, kinds: []string{"partial"}, fault: "stock-lost", upTo: 4, points: 30, from: 14},
	{rule: rules.Distrust, kinds: []string{"partial"}, fault: "db-lost", upTo: 6, points: 30, from: 18},
	{rule: rules.Salts, kinds: []string{"restarted"}, fault: "sync-lost", points: 60, from: 24},
	{rule: rules.Marker, kinds: []string{"successor"}, fault: "sync-lost", points: 60},
	{rule: rules.Doubt, kinds: []string{"restarted"}, fault: "sync-lost,header", points: 60, from: 18},
}

// TestControls switches each rule off and looks for a violation.
// With the rule on, none of the same workloads up to there may have one.
func TestControls(t *testing.T) {
	// MarkerStays is for a process that is killed just then: TestMarkerStays of package vfs.
	// ForeignRestarts is for one at synchronous=OFF, which may lose anything here: TestDurableForeign.
	// Frugal isn't for safety.
	require.Len(t, controls, bits.OnesCount32(uint32(rules.All&^(rules.MarkerStays|rules.ForeignRestarts|rules.Frugal))))
	table := "\nrule            workloads  crash states  first violation\n"
	for _, control := range controls {
		t.Run(control.rule.String(), func(t *testing.T) {
			depth := Depth{Points: cmp.Or(control.points, 300), Choices: 3}
			off := &Machine{ShmDir: t.TempDir(), Depth: depth, Disabled: control.rule}
			on := &Machine{ShmDir: off.ShmDir, Depth: depth}
			if slow {
				on.Depth.Points = 5
			}
			for n := control.from; n < control.from+400; n++ {
				p := Plan{Kind: control.kinds[n%len(control.kinds)], Seed: uint64(n)}
				if control.fault != "" {
					upTo := cmp.Or(control.upTo, 20)
					fault, next, more := strings.Cut(control.fault, ",")
					p.Fault = fmt.Sprintf("%s@%d", fault, 1+n%upTo)
					if more {
						p.Fault += fmt.Sprintf(",%s@%d", next, 1+n%7)
					}
				}
				require.NoError(t, on.Run(t, p))
				err := off.Run(t, p)
				var v *Violation
				if errors.As(err, &v) {
					what, _, _ := strings.Cut(v.Err.Error(), "\n")
					table += fmt.Sprintf("%-15s %9d  %12d  %s: %.60s\n", control.rule, off.Counts.Workloads, off.Counts.States, p, what)
					return
				}
				require.NoError(t, err)
			}
			t.Errorf("not caught: %v", off.Counts)
		})
	}
	t.Log(table)
}
