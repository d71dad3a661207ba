package tasks_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// withoutTemp takes away the folder for temporary files, as in a container that has nothing but a program.
func withoutTemp(t *testing.T) {
	for _, name := range []string{"TMPDIR", "TMP", "TEMP", "SQLITE_TMPDIR"} {
		t.Setenv(name, filepath.Join(t.TempDir(), "missing"))
	}
}

// TestMigrateWithoutTemp: a large file of the Python module, whose indexes take more than SQLite sorts in memory, is brought up to date
// where no temporary files can be made.
func TestMigrateWithoutTemp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	n := 80_000
	if testing.Short() || raceEnabled {
		n = 1000
	}
	db := openSQL(t, path)
	_, err := db.Exec(`CREATE TABLE tasks(id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL, result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER);
		WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i WHERE n<` + fmt.Sprint(n) + `)
		INSERT INTO tasks SELECT printf('%0250d', (n*7919)%1000003), 'document', 'pending', NULL, n, NULL FROM i`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	withoutTemp(t)
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	counts, err := st.Count(t.Context())
	require.NoError(t, err)
	require.Equal(t, n, counts[tasks.Document][tasks.Pending])
}

// TestNoTempFiles: changes of tasks make no temporary files. The folder for them may be full, or go away while the store is open.
func TestNoTempFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	withoutTemp(t)
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
