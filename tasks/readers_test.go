package tasks_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestReaderWaits: a call that finds all connections busy ends with its context, or when the store is closed.
func TestReaderWaits(t *testing.T) {
	busy, goOn := make(chan struct{}), make(chan struct{})
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "t.db"), tasks.Readers(1), tasks.OnConnect(func(c *sqlite3.Conn) {
		require.NoError(t, c.Trace(sqlite3.TRACE_STMT, func(_ sqlite3.TraceEvent, stmt, _ any) error {
			if s, ok := stmt.(*sqlite3.Stmt); ok && strings.Contains(s.SQL(), "ORDER BY tasks.created_at") {
				close(busy)
				<-goOn
			}
			return nil
		}))
	}))
	require.NoError(t, err)
	listed := make(chan error, 1)
	go func() {
		_, err := st.List(t.Context(), tasks.Query{})
		listed <- err
	}()
	<-busy
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 2)
	go func() {
		_, err := st.Status(ctx, "a")
		failed <- err
	}()
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	go func() {
		_, err := st.Status(t.Context(), "a")
		failed <- err
	}()
	closed := make(chan error, 1)
	go func() { closed <- st.Close() }()
	require.ErrorIs(t, <-failed, tasks.ErrClosed)
	select {
	case err := <-closed:
		t.Fatal("closed while somebody reads", err)
	default:
	}
	close(goOn)
	require.NoError(t, <-listed)
	require.NoError(t, <-closed)
}
