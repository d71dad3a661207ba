package taskhttp

import (
	"fmt"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestBodiesAreBounded: of endlessly many tasks only so many are kept, among them those that are asked for again and again.
func TestBodiesAreBounded(t *testing.T) {
	b := &bodies{}
	get := func(id string) {
		_, err := b.get(tasks.Info{ID: id, Status: tasks.Pending})
		require.NoError(t, err)
	}
	for i := range 5 * bodiesKept {
		get(fmt.Sprint(i))
		get("often")
		require.LessOrEqual(t, len(b.now), bodiesKept)
		require.LessOrEqual(t, len(b.older), bodiesKept)
	}
	require.Equal(t, 5*bodiesKept+1, b.encoded)
	require.Greater(t, len(b.now)+len(b.older), bodiesKept)
	changed, err := b.get(tasks.Info{ID: "often", Status: tasks.Processing})
	require.NoError(t, err)
	require.Contains(t, string(changed.text), tasks.Processing)
}
