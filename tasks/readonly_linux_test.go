package tasks_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// unprivileged runs a function on a thread that may write only what permissions allow, also for root.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with the goroutine, since it isn't unlocked.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0); e != 0 {
				t.Error(e)
				return
			}
		}
		f()
	}()
	<-done
}

// TestReadOnlyFolder: a file that can't be written, and one in a folder that can't be, can be looked at.
// Without the option that is an error which names it, and nothing is left behind.
func TestReadOnlyFolder(t *testing.T) {
	for name, schema := range map[string]string{"new": "", "python": schemas[0]} {
		for _, mode := range []os.FileMode{0o777, 0o555} {
			t.Run(name+" "+mode.String(), func(t *testing.T) {
				dir := t.TempDir()
				require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
				path := filepath.Join(dir, "tasks.db")
				if schema != "" {
					sqlFile(t, path, schema)
				} else {
					st, err := tasks.Open(t.Context(), path)
					require.NoError(t, err)
					require.NoError(t, st.Close())
				}
				sqlFile(t, path, twoTasks)
				require.NoError(t, os.Chmod(path, 0o444))
				require.NoError(t, os.Chmod(dir, mode))
				defer os.Chmod(dir, 0o755)
				unprivileged(t, func() {
					_, err := tasks.Open(t.Context(), path)
					require.ErrorContains(t, err, "ReadOnly")
					st, err := tasks.Open(t.Context(), path, tasks.ReadOnly())
					require.NoError(t, err)
					defer st.Close()
					lookAll(t, st)
					for name, call := range changing(st) {
						require.ErrorIs(t, call(t.Context()), tasks.ErrReadOnly, name)
					}
				})
				files, err := os.ReadDir(dir)
				require.NoError(t, err)
				if mode == 0o555 {
					require.Len(t, files, 1)
				}
			})
		}
	}
}

// TestReadOnlyFolderWAL: in a folder that can't be written, changes that are in the -wal file are never left out without a word,
// and what is written meanwhile is seen, or is an error.
func TestReadOnlyFolderWAL(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	path := filepath.Join(dir, "tasks.db")
	writer, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, writer.Create(t.Context(), "a", tasks.Form))
	require.NoError(t, os.Chmod(path, 0o444))
	require.NoError(t, os.Chmod(dir, 0o555))
	defer os.Chmod(dir, 0o755)
	unprivileged(t, func() {
		// While it is open elsewhere, its -shm file can be read.
		if st, err := tasks.Open(t.Context(), path, tasks.ReadOnly()); err == nil {
			_, err = st.Status(t.Context(), "a")
			require.NoError(t, err)
			require.NoError(t, st.Close())
		} else {
			require.ErrorContains(t, err, "-shm")
		}
	})
	// A -wal file that somebody has left.
	wal, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	require.NoFileExists(t, path+"-wal")
	var st *tasks.Store
	unprivileged(t, func() {
		st, err = tasks.Open(t.Context(), path, tasks.ReadOnly())
		require.NoError(t, err)
		_, err = st.Status(t.Context(), "a")
		require.NoError(t, err)
	})
	defer st.Close()
	require.NoError(t, os.Chmod(dir, 0o755))
	sqlFile(t, path, "DELETE FROM tasks;"+twoTasks)
	require.NoError(t, os.Chmod(dir, 0o555))
	unprivileged(t, func() { lookAll(t, st) }) // it sees what was written since
	require.NoError(t, os.WriteFile(path+"-wal", wal, 0o644))
	unprivileged(t, func() {
		_, err := st.Status(t.Context(), "a")
		require.ErrorContains(t, err, "-wal")
		_, err = tasks.Open(t.Context(), path, tasks.ReadOnly())
		require.ErrorContains(t, err, "make the folder writable")
		require.NotErrorIs(t, err, sqlite3.CORRUPT)
	})
}
