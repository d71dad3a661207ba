package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// disk is the real one or a slower one, with the names of the VFSes on it.
type disk struct{ name, stock, async string }

var (
	real   = disk{"real", "", "async"}
	slower = disk{"sync+1ms", "slow", "slow-async"}
)

func register(b *testing.B) {
	slow := SlowSync{sqlitevfs.Find(""), time.Millisecond}
	sqlitevfs.Register("slow", slow)
	require.NoError(b, vfs.Register("slow-async", slow))
}

// BenchmarkInserts measures commits of one row each, side by side.
// Compare the setups within one run: the disk and the machine differ from run to run.
func BenchmarkInserts(b *testing.B) {
	register(b)
	for _, disk := range []disk{real, slower} {
		for _, connections := range []int{1, 8, 64} {
			for _, s := range []Setup{
				{"stock-full", disk.stock, "full"},
				{"async-full", disk.async, "full"},
				{"stock-normal", disk.stock, "normal"},
				{"async-normal", disk.async, "normal"},
				{"stock-off", disk.stock, "off"},
			} {
				name := fmt.Sprintf("disk=%s/conns=%d/%s", disk.name, connections, s.Name)
				b.Run(name, func(b *testing.B) {
					r, err := Inserts(b.Context(), s, b.TempDir(), connections, b.N)
					require.NoError(b, err)
					b.ReportMetric(r.PerSecond(), "commits/s")
					b.ReportMetric(float64(r.Percentile(50).Microseconds()), "p50-µs")
					b.ReportMetric(float64(r.Percentile(99.9).Microseconds()), "p99.9-µs")
					if r.Syncs != 0 {
						b.ReportMetric(float64(r.Syncs)/float64(b.N), "syncs/commit")
						b.ReportMetric(float64(r.Window.Microseconds()), "window-µs")
					}
				})
			}
		}
	}
}
