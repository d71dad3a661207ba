package powercut

import (
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
}{
	{rule: rules.H1, kinds: []string{"restart", "mixed"}},
	{rule: rules.H2, kinds: []string{"restart", "mixed"}},
	{rule: rules.H3, kinds: []string{"restart", "mixed"}},
	{rule: rules.H4Create, kinds: []string{"single", "reopen", "fresh"}},
	{rule: rules.H4Delete, kinds: []string{"journal"}},
	{rule: rules.H5, kinds: []string{"single", "group"}, fault: "sync-lost"},
	{rule: rules.H6, kinds: []string{"group", "mixed"}},
	{rule: rules.GroupWait, kinds: []string{"group"}},
	{rule: rules.ForeignWrites, kinds: []string{"stock"}},
	{rule: rules.ClearClosed, kinds: []string{"group"}},
	{rule: rules.Refresh, kinds: []string{"single", "group", "restart"}, fault: "sync-lost"},
}

// TestControls switches each rule off and looks for a violation.
// With the rule on, none of the same workloads up to there may have one.
func TestControls(t *testing.T) {
	require.Len(t, controls, bits.OnesCount32(uint32(rules.All)))
	table := "\nrule            workloads  crash states  first violation\n"
	for _, control := range controls {
		t.Run(control.rule.String(), func(t *testing.T) {
			depth := Depth{Points: 300, Choices: 3}
			off := &Machine{ShmDir: t.TempDir(), Depth: depth, Disabled: control.rule}
			on := &Machine{ShmDir: off.ShmDir, Depth: depth}
			if slow {
				on.Depth.Points = 5
			}
			for n := range 400 {
				p := Plan{Kind: control.kinds[n%len(control.kinds)], Seed: uint64(n)}
				if control.fault != "" {
					p.Fault = fmt.Sprintf("%s@%d", control.fault, 1+n%20)
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
