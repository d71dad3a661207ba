package litestream

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
)

var measure = flag.Duration("wal", 0, "measure for so long each how large the WAL becomes beside Litestream with its defaults")

// TestWALSize measures, and checks nothing.
func TestWALSize(t *testing.T) {
	if *measure == 0 {
		t.Skip("-wal says how long")
	}
	exe := build(t)
	for _, level := range []vfs.Level{vfs.Full, vfs.Normal} {
		for _, c := range []struct {
			checkpoint string
			beside     bool
		}{{"background", false}, {"background", true}, {"inline", true}, {"off", true}} {
			path := filepath.Join(t.TempDir(), "app.db")
			w := startWriter(t, path, vfs.Synchronous(level), vfs.Parameter("checkpoint", c.checkpoint))
			var r *process
			if c.beside {
				r = start(t, exec.Command(exe, "replicate", path, filepath.Join(t.TempDir(), "replica")))
			}
			w.more(t, 10)
			from, largest := w.last(), int64(0)
			begin := time.Now()
			for time.Since(begin) < *measure {
				if info, err := os.Stat(path + "-wal"); err == nil {
					largest = max(largest, info.Size())
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Logf("%s, checkpoint=%s, Litestream %t: WAL up to %d MiB, %.0f commits/s", level, c.checkpoint, c.beside,
				largest>>20, float64(w.last()-from)/2/measure.Seconds())
			w.kill()
			if r != nil {
				r.kill()
			}
		}
	}
}
