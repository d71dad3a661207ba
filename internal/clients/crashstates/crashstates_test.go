package crashstates

import (
	"database/sql"
	"testing"

	"github.com/docusnap/asyncvfs/internal/powercut"
	_ "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestCrashStates: SQLite's C library, of another version, finds the same in a database after a power cut.
func TestCrashStates(t *testing.T) {
	for _, s := range powercut.Samples(t, 60) {
		db, err := sql.Open("sqlite3", s.Path)
		require.NoError(t, err)
		var check, got string
		require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&check), s.Name)
		require.Equal(t, "ok", check, s.Name)
		require.NoError(t, db.QueryRow(powercut.SampleQuery).Scan(&got), s.Name)
		require.Equal(t, s.Want, got, s.Name)
		require.NoError(t, db.Close())
	}
}
