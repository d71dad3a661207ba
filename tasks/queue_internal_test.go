package tasks

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestAgain: when nobody got the write lock, those fail who have waited for it long enough, in the queue or for SQLite.
// The others keep their place before those who came later, and can be cancelled again.
func TestAgain(t *testing.T) {
	now := time.Now()
	waiting := func(waited time.Duration) *request {
		r := &request{since: now.Add(-waited)}
		r.state.Store(taken)
		return r
	}
	old, older := waiting(busyTimeout), waiting(busyTimeout+time.Hour)
	young, younger, later := waiting(busyTimeout-time.Millisecond), waiting(0), waiting(0)
	w := &writer{queue: []*request{later}}
	require.Equal(t, []*request{older, old}, w.again([]*request{older, old, young, younger}, now))
	require.Equal(t, []*request{young, younger, later}, w.queue)
	require.True(t, young.state.CompareAndSwap(queued, cancelled))
	batch, _ := w.take()
	require.Equal(t, []*request{younger}, batch[:1])
}

// TestTakeBytes: a transaction is bounded by what it writes. One that is larger than the bound goes alone.
func TestTakeBytes(t *testing.T) {
	w := &writer{}
	for _, bytes := range []int{batchBytes / 2, batchBytes / 2, 1, batchBytes * 3, batchBytes * 3, 1, 1} {
		w.queue = append(w.queue, &request{bytes: bytes})
	}
	var sizes []int
	for len(w.queue) > 0 {
		batch, _ := w.take()
		sizes = append(sizes, len(batch))
	}
	require.Equal(t, []int{2, 1, 1, 1, 2}, sizes)
}

// TestFullDiskCodes: whatever SQLite calls it, a full disk is known by SQLite's code and by the system's, and nothing else is.
func TestFullDiskCodes(t *testing.T) {
	for _, err := range []error{sqlite3.FULL, sqlite3.IOERR_SHMSIZE, fmt.Errorf("create: %w", sqlite3.IOERR_SHMSIZE)} {
		got := asFull(err)
		for _, want := range []error{err, sqlite3.FULL, syscall.ENOSPC} {
			require.ErrorIs(t, got, want)
		}
		require.Equal(t, got, asFull(got), "once")
	}
	for _, err := range []error{nil, sqlite3.IOERR_WRITE, sqlite3.BUSY} {
		require.Equal(t, err, asFull(err))
	}
}
