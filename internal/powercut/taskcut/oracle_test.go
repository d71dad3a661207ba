package taskcut

import (
	"encoding/binary"
	"testing"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/stretchr/testify/require"
)

// TestCommits: a commit may be whole as soon as the header of its last frame is there,
// where the page was left behind by the WAL's last generation, and after each part of the page.
func TestCommits(t *testing.T) {
	const pageSize = 512
	header := make([]byte, 32)
	binary.BigEndian.PutUint32(header[8:], pageSize)
	frame := func(last bool) []byte {
		h := make([]byte, 24)
		if last {
			h[7] = 1
		}
		return h
	}
	var trace []simdisk.Event
	write := func(off int64, data []byte) {
		trace = append(trace, simdisk.Event{Kind: simdisk.Write, Name: dbName + "-wal", Off: off, Data: data})
	}
	page := make([]byte, pageSize)
	write(0, header)
	write(32, frame(false))
	write(56, page)
	write(568, frame(true)) // event 4
	write(592, page[:100])  // 5
	write(692, page[100:])  // 6
	write(1104, append(frame(false), page...))
	write(1640, append(frame(true), page...)) // 8
	require.Equal(t, []int{4, 5, 6, 8}, commits(nil, trace))
}
