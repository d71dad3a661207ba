//go:build cgo && linux

package walreset

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestOldSQLite: a passive checkpoint of the other process looks at a WAL that is brought over as a whole,
// then a commit of this one starts it over, then the other goes on, and says that more is brought over than there is.
// With checkpoints in the background nothing is lost; without them, and with the stock VFS, it is.
func TestOldSQLite(t *testing.T) {
	old := filepath.Join(t.TempDir(), "old")
	out, err := exec.Command("go", "build", "-o", old, "./old").CombinedOutput()
	require.NoError(t, err, string(out))
	for _, c := range []struct {
		params string
		whole  bool
	}{
		{"vfs=async&checkpoint=background", true},
		{"vfs=async&checkpoint=inline", false},
		{"vfs=os", false},
	} {
		t.Run(c.params, func(t *testing.T) {
			require.Equal(t, c.whole, whole(t, old, c.params))
		})
	}
}

// startOld starts the other process, and returns its input, what it says, and what waits until it has ended.
func startOld(t *testing.T, old string, args ...string) (stdin io.WriteCloser, lines *bufio.Scanner, wait func() error) {
	other := exec.Command(old, args...)
	stdin, err := other.StdinPipe()
	require.NoError(t, err)
	stdout, err := other.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, other.Start())
	return stdin, bufio.NewScanner(stdout), other.Wait
}

// whole reports whether nothing is lost.
func whole(t *testing.T, old, params string) bool {
	path := filepath.Join(t.TempDir(), "app.db")
	c, err := sqlite3.Open("file:" + path + "?" + params + "&_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	require.NoError(t, err)
	defer c.Close()
	run := func(sql string) { t.Helper(); require.NoError(t, c.Exec(sql)) }
	insert := func(n int) {
		t.Helper()
		for range n {
			run("INSERT INTO t VALUES(zeroblob(3000))")
		}
	}
	run("CREATE TABLE t(x)")
	insert(10)

	stdin, lines, wait := startOld(t, old, path)
	defer wait()
	defer stdin.Close()
	next := func(want string) string {
		t.Helper()
		require.True(t, lines.Scan(), "the other process has ended")
		require.True(t, strings.HasPrefix(lines.Text(), want), lines.Text())
		return lines.Text()
	}
	goOn := func() { t.Helper(); _, err := io.WriteString(stdin, "\n"); require.NoError(t, err) }

	require.Equal(t, "ready 3.51.1", next("ready"))
	insert(200)
	frames, done, err := vfs.WALCheckpoint(c, "main", sqlite3.CHECKPOINT_PASSIVE)
	require.NoError(t, err)
	require.Equal(t, frames, done)
	goOn()
	next("paused")
	insert(5) // starts the WAL over
	goOn()
	// It says that as much is brought over as there was.
	require.Equal(t, fmt.Sprintf("done 0 %d %d", frames, frames), next("done"))

	run("PRAGMA wal_autocheckpoint=20")
	for range 50 {
		insert(1)
		if s, err := vfs.Stats(path); err == nil && s.Checkpoints > 1 {
			break
		}
	}
	insert(frames + 100)
	run("PRAGMA wal_checkpoint(TRUNCATE)")
	// Anew, so that nothing is in a cache.
	require.NoError(t, c.Close())
	c, err = sqlite3.Open("file:" + path + "?vfs=os")
	require.NoError(t, err)
	s, _, err := c.Prepare("PRAGMA integrity_check")
	require.NoError(t, err)
	defer s.Close()
	check := ""
	if s.Step() {
		check = s.ColumnText(0)
	}
	if check != "ok" {
		first, _, _ := strings.Cut(check, "\n")
		t.Log(first, s.Err())
	}
	return check == "ok"
}
