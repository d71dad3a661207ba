// Package bench measures commits through the VFS of this project beside go-sqlite3's own.
//
//	go test -bench . ./bench
package bench

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
)

// Setup is a way to run SQLite that is measured.
type Setup struct {
	Name  string // as in the report
	VFS   string // empty is go-sqlite3's own
	Level string // of PRAGMA synchronous
}

// Result is what a run of commits came to.
type Result struct {
	latencies []time.Duration // sorted
	Elapsed   time.Duration
	Syncs     uint64        // 0 if not known
	Window    time.Duration // the longest that a commit was acknowledged and not durable; 0 if not known
}

// PerSecond returns the commits per second.
func (r Result) PerSecond() float64 {
	return float64(len(r.latencies)) / r.Elapsed.Seconds()
}

// Percentile returns the latency of a commit that p percent don't exceed.
func (r Result) Percentile(p float64) time.Duration {
	i := int(math.Ceil(float64(len(r.latencies))*p/100)) - 1
	return r.latencies[max(i, 0)]
}

// DSN returns the name of a database for a setup.
func (s Setup) DSN(dir string) string {
	dsn := "file:" + filepath.ToSlash(filepath.Join(dir, "bench.db")) +
		"?_pragma=busy_timeout(600000)&_pragma=journal_mode(wal)&_pragma=synchronous(" + s.Level + ")"
	if s.VFS != "" {
		dsn += "&vfs=" + s.VFS
	}
	return dsn
}

// Inserts makes n commits of one row of 100 bytes each from so many connections.
func Inserts(ctx context.Context, s Setup, dir string, connections, n int) (Result, error) {
	stmts := make([]*sqlite3.Stmt, connections)
	for i := range stmts {
		c, err := sqlite3.OpenContext(ctx, s.DSN(dir))
		if err != nil {
			return Result{}, err
		}
		defer c.Close()
		if err := c.Exec("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, data BLOB)"); err != nil {
			return Result{}, err
		}
		if stmts[i], _, err = c.Prepare("INSERT INTO t(data) VALUES(zeroblob(100))"); err != nil {
			return Result{}, err
		}
		defer stmts[i].Close()
	}

	var (
		wg    sync.WaitGroup
		left  atomic.Int64
		ready = make(chan struct{})
		each  = make([][]time.Duration, connections)
		errs  = make([]error, connections)
	)
	left.Store(int64(n))
	for i, stmt := range stmts {
		wg.Go(func() {
			each[i] = make([]time.Duration, 0, n/connections*2+1)
			<-ready
			for left.Add(-1) >= 0 {
				start := time.Now()
				if err := stmt.Exec(); err != nil {
					errs[i] = fmt.Errorf("connection %d: %w", i, err)
					return
				}
				each[i] = append(each[i], time.Since(start))
			}
		})
	}
	start := time.Now()
	close(ready)
	wg.Wait()
	r := Result{Elapsed: time.Since(start)}
	for i := range each {
		if errs[i] != nil {
			return Result{}, errs[i]
		}
		r.latencies = append(r.latencies, each[i]...)
	}
	slices.Sort(r.latencies)
	if s.VFS != "" {
		stats, err := vfs.Stats(filepath.Join(dir, "bench.db"))
		if err == nil {
			r.Syncs = stats.Syncs
			r.Window = time.Duration(stats.MaxWindowMicros) * time.Microsecond
		}
	}
	return r, nil
}
