package vfs_test

import (
	"bufio"
	"io"
	osexec "os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/stretchr/testify/require"
)

// TestReadMarkKeepsWAL: while somebody else holds a read lock, as Litestream does for what it hasn't read yet,
// checkpoints in the background bring over what that reader sees, and nothing after it, and the WAL isn't started over:
// whatever was committed since stays in it. Once the reader ends, it is.
func TestReadMarkKeepsWAL(t *testing.T) {
	if !walindex.Supported {
		t.Skip("checkpoints aren't done in the background here")
	}
	for name, start := range map[string]func(t *testing.T, path string) (end func()){
		"connection": func(t *testing.T, path string) func() {
			c := open(t, path, "os")
			exec(t, c, "BEGIN")
			query(t, c, "SELECT count(*) FROM t")
			return func() { exec(t, c, "COMMIT") }
		},
		"process": func(t *testing.T, path string) func() {
			shell, err := osexec.LookPath("sqlite3")
			if err != nil {
				t.Skip("there is no sqlite3 here")
			}
			cmd := osexec.Command(shell, "-batch", path)
			stdin, err := cmd.StdinPipe()
			require.NoError(t, err)
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { stdin.Close(); cmd.Wait() })
			_, err = io.WriteString(stdin, "BEGIN; SELECT count(*) FROM t;\n")
			require.NoError(t, err)
			lines := bufio.NewScanner(stdout)
			require.True(t, lines.Scan(), "its read transaction has begun")
			return func() {
				_, err := io.WriteString(stdin, "COMMIT; SELECT 'ended';\n")
				require.NoError(t, err)
				require.True(t, lines.Scan())
			}
		},
	} {
		for when, begins := range map[string]bool{"some is in the WAL alone": false, "all is in the database file": true} {
			t.Run(name+", "+when, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "test.db")
				var checkpoints atomic.Int32
				t.Cleanup(vfs.AddEvents(vfs.Events{
					CheckpointEnded: func(i vfs.CheckpointEndedInfo) {
						if i.Background && !i.Stopped {
							checkpoints.Add(1)
						}
					},
				}, path))
				c := open(t, path, "async", wal, full, "_pragma=wal_autocheckpoint(0)")
				exec(t, c, "CREATE TABLE t(x)")
				fill(t, c, "t", 5)
				if begins {
					exec(t, c, "PRAGMA wal_checkpoint(PASSIVE)")
				}
				end := start(t, path)
				if begins {
					fill(t, c, "t", 1) // starts it over, since the reader needs nothing of it
				}
				from := header(t, path)
				mark := from.MaxFrame // up to which frame it may be brought over
				if begins {
					mark = 0 // the reader has what is in the database file alone
				}
				exec(t, c, "PRAGMA wal_autocheckpoint=1")
				before := checkpoints.Load()
				eventually(t, func() bool {
					fill(t, c, "t", 1)
					_, done := published(t, path)
					return done >= mark && checkpoints.Load() > before+5
				})
				now := header(t, path)
				_, done := published(t, path)
				require.Equal(t, mark, done, "what the reader doesn't see was brought over, or taken for that")
				require.Equal(t, from.Salt, now.Salt, "the WAL was started over")
				require.Greater(t, now.MaxFrame, from.MaxFrame)

				end()
				eventually(t, func() bool {
					fill(t, c, "t", 1)
					return header(t, path).Salt != from.Salt
				})
			})
		}
	}
}

// header returns what the last commit has published.
func header(t *testing.T, path string) walindex.Header {
	x, err := walindex.Open(path + "-shm")
	require.NoError(t, err)
	defer x.Close()
	h, ok := x.Header()
	require.True(t, ok)
	return h
}
