package bench

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// WriteMachine writes what a benchmark's figures depend on, as configuration lines of the benchmark format.
// The folder is that of the databases.
func WriteMachine(w io.Writer, dir string) error {
	sqlite, err := sqliteVersion()
	if err != nil {
		return fmt.Errorf("version of SQLite: %w", err)
	}
	for _, line := range [][2]string{
		{"cores", fmt.Sprint(runtime.NumCPU())},
		{"kernel", cmp.Or(firstLine("/proc/sys/kernel/ostype")+" "+firstLine("/proc/sys/kernel/osrelease"), runtime.GOOS)},
		{"filesystem", fileSystem(dir)},
		{"go", runtime.Version()},
		{"sqlite", sqlite + ", go-sqlite3 " + ModuleVersion(sqlite3.Open)},
	} {
		if _, err := fmt.Fprintf(w, "%s: %s\n", line[0], strings.TrimSpace(line[1])); err != nil {
			return err
		}
	}
	return nil
}

// ReportSyncs measures how long the disk of a folder takes for a sync, and reports it as a benchmark does.
func ReportSyncs(b interface{ ReportMetric(v float64, unit string) }, dir string) error {
	times, err := syncTimes(dir, 300)
	if err != nil {
		return fmt.Errorf("time syncs: %w", err)
	}
	l := latencyOf(times)
	b.ReportMetric(l.P50, "p50-µs")
	b.ReportMetric(l.P99, "p99-µs")
	b.ReportMetric(l.Max, "slowest-µs")
	return nil
}

// syncTimes returns how long it takes to write 4 KiB over and sync them.
func syncTimes(dir string, n int) ([]time.Duration, error) {
	f, err := os.CreateTemp(dir, "sync")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const size = 4 << 20
	if _, err := f.Write(make([]byte, size)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	page := make([]byte, 4096)
	var times []time.Duration
	for i := range n {
		page[0]++
		begun := time.Now()
		if _, err := f.WriteAt(page, int64(i)*4096%size); err != nil {
			return nil, err
		}
		if err := fdatasync(f); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begun))
	}
	return times, nil
}

// ModuleVersion returns the version of the module that a function is from, by where its source was:
// tests don't have it in their build information.
func ModuleVersion(function any) string {
	file, _ := runtime.FuncForPC(reflect.ValueOf(function).Pointer()).FileLine(0)
	_, rest, _ := strings.Cut(filepath.ToSlash(file), "@")
	version, _, _ := strings.Cut(rest, "/")
	return cmp.Or(version, "of unknown version")
}

func sqliteVersion() (string, error) {
	c, err := sqlite3.Open(":memory:")
	if err != nil {
		return "", err
	}
	defer c.Close()
	s, _, err := c.Prepare("SELECT sqlite_version()")
	if err != nil {
		return "", err
	}
	defer s.Close()
	s.Step()
	return s.ColumnText(0), s.Err()
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// fileSystem returns the type of the file system that a folder is on, or "unknown".
func fileSystem(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "unknown"
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	longest, kind := "", "unknown"
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < len(longest) {
			continue
		}
		if f[1] == "/" || dir == f[1] || strings.HasPrefix(dir, f[1]+"/") {
			longest, kind = f[1], f[2]
		}
	}
	return kind
}
