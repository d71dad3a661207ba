package peers

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/bench"
	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"
)

// Each run is made by a process of its own, so that they start alike. That of a peer is this test's own program;
// that of go-sqlite3, which can't be linked with another driver named "sqlite3", is bench/one, on either engine.
//
// All go through database/sql, with a [sql.Conn] and prepared statements for each goroutine, WAL mode,
// a busy timeout of ten minutes, and each driver's own defaults in all else.

// jobOf is set in the process that does a job.
const jobOf = "BENCH_JOB"

// sqlPeers are the drivers that this VFS is compared with.
var sqlPeers = []string{"stock", "stock-wazero", "mattn", "modernc"}

// sqlDrivers open databases with the drivers that this program has.
var sqlDrivers = map[string]func(path, level string) (*sql.DB, error){
	"mattn": func(path, level string) (*sql.DB, error) {
		return sql.Open("sqlite3", "file:"+path+"?_journal=WAL&_timeout=600000&_sync="+level)
	},
	"modernc": func(path, level string) (*sql.DB, error) {
		return sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(600000)&_pragma=journal_mode(wal)&_pragma=synchronous("+level+")")
	},
}

func TestMain(m *testing.M) {
	if text := os.Getenv(jobOf); text != "" {
		if err := doJob(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var err error
	if oneDir, err = os.MkdirTemp("", "bench-one"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.RemoveAll(oneDir)
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		if err := bench.WriteMachine(os.Stdout, os.TempDir()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(versions())
	}
	m.Run()
}

// doJob does a job, and writes its result.
func doJob(text string) error {
	var job bench.Job
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return fmt.Errorf("job %q: %w", text, err)
	}
	ctx := context.Background()
	var r bench.Result
	var err error
	if open, ok := stores[job.Driver]; ok {
		r, err = runStore(ctx, job, open)
	} else {
		r, err = job.Run(ctx, func(dir string) (*sql.DB, error) {
			return sqlDrivers[job.Driver](filepath.ToSlash(bench.DatabasePath(dir)), job.Level)
		})
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// oneDir is the folder that bench/one is built in.
var oneDir string

// buildOne builds bench/one on both engines.
var buildOne = sync.OnceValue(func() error {
	for name, flags := range map[string][]string{
		"one":        nil,
		"one-wazero": {"-tags=wazero", "-modfile=go.wazero.mod"},
	} {
		args := append(append([]string{"build", "-o", filepath.Join(oneDir, name+".exe")}, flags...), "./bench/one")
		cmd := exec.Command("go", args...)
		cmd.Dir = filepath.Join("..", "..")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
})

// command returns the process that does a job.
func command(job bench.Job) (*exec.Cmd, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	if _, own := sqlDrivers[job.Driver]; own || stores[job.Driver] != nil {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), jobOf+"="+string(text))
		return cmd, nil
	}
	if err := buildOne(); err != nil {
		return nil, err
	}
	name := "one"
	if job.Driver == "stock-wazero" {
		name = "one-wazero"
	}
	return exec.Command(filepath.Join(oneDir, name+".exe"), "-job", string(text)), nil
}

// result runs a process to its end.
func result(cmd *exec.Cmd) (r bench.Result, err error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		return r, err
	}
	// One that hangs tells where.
	defer time.AfterFunc(2*time.Minute, func() { cmd.Process.Signal(syscall.SIGQUIT) }).Stop()
	if err := cmd.Wait(); err != nil {
		return r, fmt.Errorf("%s: %w", cmd, err)
	}
	err = json.Unmarshal(out.Bytes(), &r)
	return r, err
}

// versions are of what is compared, as configuration lines of the benchmark format.
func versions() string {
	var b strings.Builder
	version := func(name string, function any, query func() (*sql.DB, error)) {
		db, err := query()
		if err != nil {
			return
		}
		defer db.Close()
		var v string
		if db.QueryRow("SELECT sqlite_version()").Scan(&v) == nil {
			fmt.Fprintf(&b, "%s: %s, SQLite %s\n", name, bench.ModuleVersion(function), v)
		}
	}
	version("mattn", (*sqlite3.SQLiteConn).Close, func() (*sql.DB, error) { return sql.Open("sqlite3", ":memory:") })
	version("modernc", (*sqlite.Driver).Open, func() (*sql.DB, error) { return sql.Open("sqlite", ":memory:") })
	return b.String() + storeVersions()
}

// BenchmarkDrivers runs workloads through this VFS and each driver, at the same level, in rounds: of each round
// the ratios to each driver are taken. All of the workloads take many hours: choose with -bench.
func BenchmarkDrivers(b *testing.B) {
	for _, w := range bench.Workloads() {
		b.Run(w.String(), func(b *testing.B) {
			for _, level := range []string{"full", "normal", "off"} {
				b.Run("level="+level, func(b *testing.B) { compare(b, w, level, sqlPeers) })
			}
		})
	}
}

// compare runs a workload in rounds, and reports how this VFS does beside each peer.
func compare(b *testing.B, w bench.Workload, level string, peers []string) {
	timing, rounds := bench.Long, 5
	if testing.Short() {
		timing, rounds = bench.Short, 3
	}
	spreads := make([]bench.Spread, len(peers))
	order := append([]string{"async"}, peers...)
	for range rounds {
		results := map[string]bench.Result{}
		for _, driver := range order {
			cmd, err := command(bench.Job{Workload: w, Driver: driver, Level: level, Timing: timing})
			require.NoError(b, err)
			results[driver], err = result(cmd)
			require.NoError(b, err)
		}
		for i, peer := range peers {
			spreads[i].Beside(results["async"], results[peer])
		}
		order = append(order[1:], order[0])
	}
	for i, peer := range peers {
		b.Run("beside="+peer, func(b *testing.B) {
			for b.Loop() {
				// It is measured already, in turn with the others.
			}
			spreads[i].Report(b)
			b.ReportMetric(0, "ns/op")
		})
	}
}
