package taskcut

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/stretchr/testify/require"
)

// controls are the workloads that show what each rule is for.
var controls = []struct {
	rule    rules.Set
	control Control
	kinds   []string
	fault   string
}{
	{control: Early, kinds: []string{"callers", "mixed"}},
	{control: LostSync, kinds: []string{"callers", "mixed"}},
	{rule: rules.WALBeforeDB, kinds: []string{"checkpoint"}},
	{rule: rules.DBBeforeReuse, kinds: []string{"checkpoint", "reopen"}},
	{rule: rules.HeaderBeforeFrames, kinds: []string{"checkpoint", "reopen"}},
	{rule: rules.EntryBeforeCommit, kinds: []string{"callers", "fresh", "reopen"}},
	{rule: rules.FailureIsFinal, kinds: []string{"callers", "mixed"}, fault: "sync-lost"},
	{rule: rules.SyncCoversWritten, kinds: []string{"stores", "checkpoint"}},
	{rule: rules.GroupWait, kinds: []string{"stores", "checkpoint"}},
	{rule: rules.ForeignWrites, kinds: []string{"processes"}},
	{rule: rules.ClearClosed, kinds: []string{"passive"}},
	{rule: rules.Refresh, kinds: []string{"callers", "reopen"}, fault: "sync-lost"},
}

// TestControls switches each rule off and looks for a violation.
// With the rule on, none of the same workloads up to there may have one.
func TestControls(t *testing.T) {
	if slow {
		controls = controls[:2]
	}
	table := "\nrule            workloads  crash states  first violation\n"
	for _, c := range controls {
		name := c.rule.String()
		if c.control != "" {
			name = string(c.control)
		}
		t.Run(name, func(t *testing.T) {
			depth, most := Depth{Points: 150, Choices: 2}, 60
			off := &Machine{ShmDir: t.TempDir(), Depth: depth, Disabled: c.rule, Control: c.control}
			on := &Machine{ShmDir: off.ShmDir, Depth: Depth{Points: 40, Choices: 1}}
			if slow {
				on.Depth.Points = 5
			}
			for n := range most {
				p := Plan{Kind: c.kinds[n%len(c.kinds)], Seed: uint64(n)}
				if c.fault != "" {
					p.Fault = fmt.Sprintf("%s@%d", c.fault, 1+n%20)
				}
				require.NoError(t, on.Run(t, p))
				err := off.Run(t, p)
				var v *Violation
				if errors.As(err, &v) {
					what, _, _ := strings.Cut(v.Err.Error(), "\n")
					table += fmt.Sprintf("%-15s %9d  %12d  %s: %.90s\n", name, off.Counts.Workloads, off.Counts.States, p, what)
					return
				}
				require.NoError(t, err)
			}
			t.Errorf("not caught: %v", off.Counts)
		})
	}
	t.Log(table)
}
