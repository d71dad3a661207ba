package peers

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/bench"
	"github.com/stretchr/testify/require"
)

// They are alike in what they are compared for: at FULL, one caller's commits cost each of them a sync or more,
// as the kernel sees it. At other levels, every connection's PRAGMA synchronous is read back in each run.
func TestDurable(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace")
	}
	for _, driver := range append([]string{"async", "bbolt", "pebble"}, sqlPeers...) {
		t.Run(driver, func(t *testing.T) {
			counts := filepath.Join(t.TempDir(), "counts")
			timing := bench.Timing{Min: 300 * time.Millisecond, Max: 300 * time.Millisecond}
			job := bench.Job{Workload: bench.Workload{Kind: bench.Insert, Rows: 1, Size: 100, Conns: 1}, Driver: driver, Level: "full", Timing: timing}
			cmd, err := command(job)
			require.NoError(t, err)
			cmd.Args = append([]string{strace, "-f", "-c", "-e", "trace=fsync,fdatasync,sync_file_range", "-o", counts}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
			cmd.Path = strace
			r, err := result(cmd)
			require.NoError(t, err)
			table, err := os.ReadFile(counts)
			require.NoError(t, err)
			syncs := 0
			for _, m := range regexp.MustCompile(`(?m)^ *[\d.]+ +[\d.]+ +\d+ +(\d+) .*\b(?:fsync|fdatasync)$`).FindAllSubmatch(table, -1) {
				n, err := strconv.Atoi(string(m[1]))
				require.NoError(t, err)
				syncs += n
			}
			t.Logf("%d commits, %d syncs", r.Commits, syncs)
			require.NotZero(t, r.Commits)
			require.GreaterOrEqual(t, syncs, r.Commits, "%s", table)
		})
	}
}
