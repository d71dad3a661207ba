package tasks

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGatherer: those who ask before a look begins share it, each task is looked at once in it, and who comes later has one of its own,
// also while the first waits for something.
func TestGatherer(t *testing.T) {
	var mu sync.Mutex
	var batches [][]string
	begun, held := make(chan struct{}), make(chan struct{})
	g := &gatherer{}
	g.look = func(ids []string, found func(int, Result, error)) {
		mu.Lock()
		batches = append(batches, ids)
		first := len(batches) == 1
		mu.Unlock()
		if first {
			close(begun)
			<-held
		}
		for i, id := range ids {
			found(i, Result{Info: Info{ID: id}}, nil)
		}
	}
	const many = lookBatch + 10
	g.begins = true // as if somebody had asked just now
	var asked []*look
	for i := range 2 * many {
		asked = append(asked, g.join(fmt.Sprint(i%many)))
	}
	go g.run()
	for i, k := range asked {
		if i < many {
			require.Same(t, k, asked[i+many])
		}
	}
	<-begun
	// The rest of them, and who comes later, don't wait for the first look.
	info, err := g.at(t.Context(), "later")
	require.NoError(t, err)
	require.Equal(t, "later", info.ID)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = g.at(ctx, "x")
	require.ErrorIs(t, err, context.Canceled)
	close(held)
	for i, k := range asked {
		<-k.done
		require.Equal(t, fmt.Sprint(i%many), k.r.ID)
	}
	mu.Lock()
	defer mu.Unlock()
	seen := map[string]int{}
	for _, ids := range batches {
		require.LessOrEqual(t, len(ids), lookBatch)
		for _, id := range ids {
			seen[id]++
		}
	}
	require.Len(t, seen, many+1)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
	require.LessOrEqual(t, len(batches), 3)
}
