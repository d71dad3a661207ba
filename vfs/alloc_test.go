package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAllocations: a commit allocates what it does on the stock VFS, and two short strings:
// go-sqlite3 reads the names that a PRAGMA and a hook are called with.
func TestAllocations(t *testing.T) {
	perCommit := func(vfsName, level string) float64 {
		c := open(t, filepath.Join(t.TempDir(), "test.db"), vfsName, wal, level)
		exec(t, c, "CREATE TABLE t(x)")
		s, _, err := c.Prepare("INSERT INTO t VALUES(1)")
		require.NoError(t, err)
		defer s.Close()
		commit := func() {
			if err := s.Exec(); err != nil {
				t.Error(err)
			}
		}
		for range 100 {
			commit()
		}
		return testing.AllocsPerRun(200, commit)
	}
	for _, level := range []string{full, normal, off} {
		require.LessOrEqual(t, perCommit("async", level), perCommit("os", level)+2, level)
	}
}
