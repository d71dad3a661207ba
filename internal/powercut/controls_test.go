package powercut

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	m.Run()
}

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
	{rule: rules.ClearClosed, kinds: []string{"checkpoint"}},
	{rule: rules.Refresh, kinds: []string{"single", "group", "restart"}, fault: "sync-lost"},
}

func TestControls(t *testing.T) {
	for _, control := range controls {
		t.Run(control.rule.String(), func(t *testing.T) {
			m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Choices: 3}, Disabled: control.rule}
			for seed := range 60 {
				for _, kind := range control.kinds {
					p := Plan{Kind: kind, Seed: uint64(seed)}
					if control.fault != "" {
						p.Fault = fmt.Sprintf("%s@%d", control.fault, 1+seed%20)
					}
					err := m.Run(t, p)
					var v *Violation
					if errors.As(err, &v) {
						t.Log(m.Counts.States, m.Counts.Workloads, v)
						return
					}
					require.NoError(t, err)
				}
			}
			t.Errorf("not caught: %v", m.Counts)
		})
	}
}
