package vfs

import (
	"testing"

	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/stretchr/testify/require"
)

// restarts is a WAL-index whose WAL is started over at a certain look.
// All its frames are brought over, by another checkpoint that has ended.
type restarts struct {
	salt    byte
	done    uint32
	left    int // looks before the header is written
	between int // looks after that, before nBackfill is
}

func (r *restarts) look() {
	if r.left == 0 {
		r.salt = 2
		if r.between == 0 {
			r.done = 0
		}
		r.between--
		return
	}
	r.left--
}

func (r *restarts) Header() (walindex.Header, bool) {
	r.look()
	return header(r.salt), true
}

func (r *restarts) Backfilled() uint32 {
	r.look()
	return r.done
}

func header(salt byte) (h walindex.Header) {
	h.Salt[0] = salt
	h.MaxFrame = 10
	return h
}

// headerFirst is mayPublish the other way round, the control.
func headerFirst(x walMarks, h walindex.Header, from, upTo uint32) bool {
	live, ok := x.Header()
	done := x.Backfilled()
	return ok && live.Salt == h.Salt && from <= done && done < upTo
}

// TestPublishWhileStartedOver: whenever the WAL is started over, nothing is said of the new one.
func TestPublishWhileStartedOver(t *testing.T) {
	wrong := func(may func(walMarks, walindex.Header, uint32, uint32) bool) (n int) {
		for left := range 4 {
			for between := range 3 {
				if may(&restarts{salt: 1, done: 10, left: left, between: between}, header(1), 0, 10) {
					n++
				}
			}
		}
		return n
	}
	publish := func(x walMarks, h walindex.Header, from, upTo uint32) bool {
		may, told := mayPublish(x, h, from, upTo)
		require.True(t, told)
		return may
	}
	require.Zero(t, wrong(publish))
	require.NotZero(t, wrong(headerFirst), "the control")
	// And where it isn't, it is said.
	require.True(t, publish(&restarts{salt: 1, done: 4, left: 9}, header(1), 4, 10))
	require.False(t, publish(&restarts{salt: 1, done: 3, left: 9}, header(1), 4, 10), "taken back")
}
