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
}{
	{rules.H1, []string{"restart", "mixed"}},
	{rules.H2, []string{"restart", "mixed"}},
	{rules.H3, []string{"restart", "mixed"}},
	{rules.H4Create, []string{"single", "reopen", "fresh"}},
	{rules.H4Delete, []string{"journal"}},
	{rules.H5, []string{"single", "group"}},
	{rules.H6, []string{"group", "mixed"}},
	{rules.GroupWait, []string{"group"}},
	{rules.ForeignWrites, []string{"stock"}},
	{rules.ClearClosed, []string{"checkpoint"}},
}

func TestControls(t *testing.T) {
	for _, control := range controls {
		t.Run(control.rule.String(), func(t *testing.T) {
			m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Choices: 3}, Disabled: control.rule}
			for seed := range 60 {
				for _, kind := range control.kinds {
					p := Plan{Kind: kind, Seed: uint64(seed)}
					if control.rule == rules.H5 {
						p.Fault = fmt.Sprintf("sync-lost@%d", 1+seed%20)
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
