package tasks_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/backendtest"
	"github.com/docusnap/asyncvfs/tasks/internal/memory"
	"github.com/stretchr/testify/require"
)

// TestConformanceSQLite holds SQLite to what every backend has to do.
func TestConformanceSQLite(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t testing.TB, _ func() time.Time, opts ...tasks.Option) backendtest.Opened {
		path := filepath.Join(t.TempDir(), "tasks.db")
		open := func() backendtest.Store {
			st, err := tasks.Open(t.Context(), path, opts...)
			require.NoError(t, err)
			return st
		}
		return backendtest.Opened{Store: open(), Second: open}
	})
}

// TestConformanceMemory shows that the tests are about tasks and not about SQLite.
func TestConformanceMemory(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t testing.TB, now func() time.Time, opts ...tasks.Option) backendtest.Opened {
		db := memory.New(now)
		open := func() backendtest.Store {
			st, err := tasks.New(db.Backend(), opts...)
			require.NoError(t, err)
			return st
		}
		return backendtest.Opened{Store: open(), Second: open}
	})
}

// TestConformanceTwice has each transaction of the writer rolled back once, as where the disk is full, and made again.
func TestConformanceTwice(t *testing.T) {
	if raceEnabled {
		t.Skip("it is about what the calls do, and slow")
	}
	t.Parallel()
	backendtest.Run(t, func(t testing.TB, _ func() time.Time, opts ...tasks.Option) backendtest.Opened {
		path := filepath.Join(t.TempDir(), "tasks.db")
		open := func() backendtest.Store {
			again := false // only the writer uses it
			st, err := tasks.Open(t.Context(), path, append([]tasks.Option{tasks.Commits(func() error {
				if again = !again; again {
					return tasks.ErrTwice
				}
				return nil
			})}, opts...)...)
			require.NoError(t, err)
			return st
		}
		return backendtest.Opened{Store: open(), Second: open}
	})
}
