package tasks_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestNoTempFiles: changes of tasks need no file in the folder for temporary ones, which may be full or not there,
// as in a container whose file system can only be read.
func TestNoTempFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	for _, name := range []string{"TMPDIR", "TMP", "TEMP", "SQLITE_TMPDIR"} {
		t.Setenv(name, filepath.Join(filepath.Dir(path), "missing"))
	}
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	const n = 2000
	var list []tasks.NewTask
	for i := range n {
		list = append(list, tasks.NewTask{ID: fmt.Sprint(i * 7919 % n), Type: tasks.Form, Options: []tasks.CallOption{
			tasks.Owner(fmt.Sprint(i % 7)), tasks.Input(strings.Repeat("x", i%9000)), tasks.WithLabels(map[string]string{"a": fmt.Sprint(i % 11), "b": fmt.Sprint(i)})}})
	}
	for _, err := range st.CreateMany(t.Context(), list) {
		require.NoError(t, err)
	}
	var changes []tasks.NewStatus
	for i := range n {
		changes = append(changes, tasks.NewStatus{ID: fmt.Sprint(i), Status: tasks.Processing, Result: strings.Repeat("y", i)})
	}
	for _, err := range st.UpdateMany(t.Context(), changes) {
		require.NoError(t, err)
	}
	deleted, err := st.Cleanup(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, n, deleted)
}
