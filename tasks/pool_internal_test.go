package tasks

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReaderLeavesTransaction: who reads and leaves a transaction open leaves none to the next one.
func TestReaderLeavesTransaction(t *testing.T) {
	ctx := t.Context()
	st, err := Open(ctx, filepath.Join(t.TempDir(), "tasks.db"), Readers(1))
	require.NoError(t, err)
	defer st.Close()
	require.NoError(t, st.Create(ctx, "a", Form))
	require.NoError(t, st.backend.(*sqliteBackend).read(ctx, func(r *reader) error { return r.conn.run("BEGIN") }))
	_, err = st.List(ctx, Query{})
	require.NoError(t, err)
	_, errs := st.StatusesSettled(ctx, []string{"a", "b"})
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], ErrNotFound)
}
