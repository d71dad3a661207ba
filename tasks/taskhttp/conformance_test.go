package taskhttp_test

import (
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp/taskhttptest"
	"github.com/stretchr/testify/require"
)

// TestConformance: what every backend is held to, over SQLite.
func TestConformance(t *testing.T) {
	taskhttptest.Run(t, func(t testing.TB, opts ...tasks.Option) *tasks.Store {
		st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), opts...)
		require.NoError(t, err)
		return st
	})
}
