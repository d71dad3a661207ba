package powercut

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestShell: crash states in real files hold the same for go-sqlite3's own VFS,
// and for the sqlite3 shell where that is installed.
// The tests of the module internal/clients open them with SQLite's C library.
func TestShell(t *testing.T) {
	n := 60
	if slow {
		n = 10
	}
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Log("without the sqlite3 shell: it isn't installed")
	}
	for i, s := range Samples(t, n) {
		if i%2 == 0 && shell != "" {
			out, err := exec.Command(shell, "-batch", s.Path, "PRAGMA integrity_check; "+SampleQuery).CombinedOutput()
			require.NoError(t, err, "%s: %s", s.Name, out)
			require.Equal(t, "ok\n"+s.Want+"\n", string(out), s.Name)
			continue
		}
		c, err := sqlite3.Open("file:" + filepath.ToSlash(s.Path))
		require.NoError(t, err)
		check, err := text(c, "PRAGMA integrity_check")
		require.NoError(t, err)
		require.Equal(t, "ok", check, s.Name)
		got, err := text(c, SampleQuery)
		require.NoError(t, err)
		require.Equal(t, s.Want, got, s.Name)
		require.NoError(t, c.Close())
	}
}
