package bench

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// memoryOf is set in the process that tells how much memory connections of a setup take.
const memoryOf = "BENCH_MEMORY_OF"

func TestMain(m *testing.M) {
	if setup := os.Getenv(memoryOf); setup != "" {
		must(json.NewEncoder(os.Stdout).Encode(connectionMemory(setup)))
		return
	}
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		must(WriteMachine(os.Stdout, os.TempDir()))
	}
	m.Run()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// BenchmarkMemory opens connections in processes of their own, each of which commits once,
// and reports how much memory they take beyond those of the stock VFS: of Go's heap and stacks, and of all that is resident.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var sp Spread
		for range pairs() {
			own, stock := memoryIn(b, "async"), memoryIn(b, "stock")
			sp.Add("", own)
			sp.Add("beside-", stock)
			for unit, v := range own {
				sp.Add("x-more-", map[string]float64{unit: v - stock[unit]})
			}
		}
		sp.Report(b)
	}
	b.ReportMetric(0, "ns/op")
}

func memoryIn(b *testing.B, setup string) (m map[string]float64) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), memoryOf+"="+setup)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(b, err)
	require.NoError(b, json.Unmarshal(out, &m))
	return m
}

// connectionMemory returns the memory that each of many open connections of a setup takes.
func connectionMemory(setup string) map[string]float64 {
	const conns = 400
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "memory")
	must(err)
	defer os.RemoveAll(dir)
	w := Workload{Insert, 1, 100, conns}
	open := Setup{setup, "real", "full"}.Native(dir)
	must(w.prepare(ctx, open))
	// What there is only once is there before.
	workers := make([]*worker, conns+1)
	commit := func(i int) {
		workers[i], err = newWorker(ctx, w, i, "full", open)
		must(err)
		_, err = workers[i].step()
		must(err)
	}
	commit(0)
	before := memory()
	for i := range conns {
		commit(i + 1)
	}
	after := memory()
	for unit := range after {
		after[unit] = (after[unit] - before[unit]) / conns
	}
	for _, wk := range workers {
		must(wk.close())
	}
	return after
}

// memory returns what is in use, in KiB.
func memory() map[string]float64 {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	used := m.HeapAlloc + m.StackInuse + m.MSpanInuse + m.MCacheInuse + m.OtherSys
	return map[string]float64{"heap-KiB/conn": float64(used) / 1024, "rss-KiB/conn": resident()}
}

// resident returns how much memory of this process is resident, in KiB; 0 where that isn't known.
func resident() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			must(err)
			return kib
		}
	}
	return 0
}
