//go:build unix

package tasks_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestMoved: a store holds its database, whatever becomes of the name that it was opened by.
func TestMoved(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(t *testing.T, dir string){
		"target": func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
			require.NoError(t, os.Remove(filepath.Join(dir, "link.db")))
			require.NoError(t, os.Symlink(filepath.Join("b", "t.db"), filepath.Join(dir, "link.db")))
		},
		"another": func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "t.db"), nil, 0o600))
			st, err := tasks.Open(t.Context(), filepath.Join(dir, "link.db"))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, st.Close()) })
		},
		"link": func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "link.db"))) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
			require.NoError(t, os.Symlink(filepath.Join("a", "t.db"), filepath.Join(dir, "link.db")))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "t.db"), nil, 0o600))
			st, err := tasks.Open(t.Context(), filepath.Join(dir, "link.db"))
			require.NoError(t, err)
			defer st.Close()
			require.NoError(t, st.Create(t.Context(), "before", tasks.Form))
			move(t, dir)
			require.NoError(t, st.Create(t.Context(), "after", tasks.Form))
			require.NoError(t, st.Sync(t.Context()))
			// A connection that is opened now finds the database or fails. It never finds another.
			_, err = st.Status(t.Context(), "after")
			if name == "target" {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
				require.NotErrorIs(t, err, tasks.ErrNotFound)
			}
		})
	}
}

// TestDeleted: nothing is called durable that is written to a file without a name.
func TestDeleted(t *testing.T) {
	t.Parallel()
	for _, vfs := range []string{"async", "unix"} {
		for _, suffix := range []string{"", "-wal"} {
			t.Run(vfs+suffix, func(t *testing.T) {
				if vfs == "unix" {
					vfs = "" // the operating system's
				}
				st, _, path := open(t, tasks.VFS(vfs))
				require.NoError(t, st.Create(t.Context(), "before", tasks.Form))
				c, err := st.Claim(t.Context(), time.Minute)
				require.NoError(t, err)
				require.NoError(t, os.Remove(path+suffix))
				require.ErrorIs(t, st.Create(t.Context(), "after", tasks.Form), tasks.ErrDeleted)
				require.ErrorIs(t, st.Complete(t.Context(), c, 1), tasks.ErrDeleted)
				require.ErrorIs(t, st.Sync(t.Context()), tasks.ErrDeleted)
				require.NoError(t, st.Create(t.Context(), "relaxed", tasks.Form, tasks.Relaxed()))
				require.ErrorIs(t, st.Create(t.Context(), "relaxed", tasks.Form), tasks.ErrExists)
			})
		}
	}
}
