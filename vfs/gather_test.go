package vfs_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGather: those that the last sync answered, and who commit again at once, share the next sync
// with those that have waited for it; and a commit that comes alone isn't kept waiting for good.
// So do those whose contexts can be cancelled, whose syncs are done by another goroutine.
func TestGather(t *testing.T) {
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": t.Context()} {
		t.Run(name, func(t *testing.T) { gathers(t, ctx) })
	}
}

func gathers(t *testing.T, ctx context.Context) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 3, nil, full)
	for _, c := range conns {
		defer c.SetInterrupt(c.SetInterrupt(ctx))
	}
	shared := 0
	for range 50 {
		before := stats(t, path)
		h.hold.Store(true)
		first := commits(t, conns[:1])
		<-h.started
		others := commits(t, conns[1:])
		eventually(t, func() bool { return stats(t, path).Commits == before.Commits+3 })
		h.hold.Store(false)
		h.release <- nil
		require.NoError(t, <-first)
		require.NoError(t, conns[0].Exec("INSERT INTO t VALUES(1)"))
		require.NoError(t, <-others)
		require.NoError(t, <-others)
		s := stats(t, path)
		require.Equal(t, s.Commits, s.DurableCommits)
		if s.WALSyncs == before.WALSyncs+2 {
			shared++ // the first one's, and one for all three
		}
	}
	require.NotZero(t, shared)
	for range 100 {
		exec(t, conns[1], "INSERT INTO t VALUES(1)")
	}
}
