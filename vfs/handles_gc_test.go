package vfs_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// handlesRound opens, writes a row or two, and closes.
func handlesRound(path string, n int) (rows int64, err error) {
	level := []string{full, normal, off}[n%3]
	if n%2 == 0 {
		db, err := sql.Open("sqlite3", dsn(path, "async", level))
		if err != nil {
			return 0, err
		}
		for range 2 {
			if _, err := db.Exec("INSERT INTO t VALUES(?)", n); err != nil {
				return rows, errors.Join(err, db.Close())
			}
			rows++
		}
		return rows, db.Close()
	}
	c, err := sqlite3.Open(dsn(path, "async", level))
	if err != nil {
		return 0, err
	}
	if err := c.Exec("INSERT INTO t VALUES(1)"); err != nil {
		return 0, errors.Join(err, c.Close())
	}
	return 1, c.Close()
}

// TestManyGoroutines opens and closes databases from many goroutines at once.
func TestManyGoroutines(t *testing.T) {
	const goroutines, rounds = 16, 24
	syncers := handlesSyncers()
	var paths [3]string
	var want [3]atomic.Int64
	dir := handlesDir(t)
	for i := range paths {
		paths[i] = filepath.Join(dir, fmt.Sprintf("test%d.db", i))
		c := open(t, paths[i], "async", wal)
		exec(t, c, "CREATE TABLE t(x)")
		require.NoError(t, c.Close())
	}
	var wg sync.WaitGroup
	errs := make(chan error, goroutines*rounds)
	for g := range goroutines {
		wg.Go(func() {
			for r := range rounds {
				i := (g + r) % len(paths)
				// BUSY says that the statement has written nothing.
				var rows int64
				var err error
				for range 100 {
					rows, err = handlesRound(paths[i], g+r)
					want[i].Add(rows)
					if !errors.Is(err, sqlite3.BUSY) {
						break
					}
				}
				if err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	for i, p := range paths {
		require.Zero(t, handlesListed(p))
		// Two that close at once may each leave the WAL to the other.
		c := open(t, p, "async")
		require.Equal(t, fmt.Sprint(want[i].Load()), query(t, c, "SELECT count(*) FROM t"))
		require.NoError(t, c.Close())
		require.NoFileExists(t, p+"-wal")
		checkIntegrity(t, p)
		require.GreaterOrEqual(t, want[i].Load(), int64(goroutines*rounds/len(paths)))
		require.Equal(t, fmt.Sprint(want[i].Load()), query(t, open(t, p, "os"), "SELECT count(*) FROM t"))
	}
	eventually(t, func() bool { return handlesSyncers() == syncers })
}

// TestSyncerEnds: each open WAL has one syncer, however many connections there are.
func TestSyncerEnds(t *testing.T) {
	before := handlesSyncers()
	dir := handlesDir(t)
	var conns []*sqlite3.Conn
	for i := range 6 {
		c := open(t, filepath.Join(dir, fmt.Sprintf("%d.db", i/2)), "async", wal)
		exec(t, c, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)")
		conns = append(conns, c)
	}
	eventually(t, func() bool { return handlesSyncers() == before+3 })
	for _, c := range conns {
		require.NoError(t, c.Close())
	}
	eventually(t, func() bool { return handlesSyncers() == before })
}

// handlesDrop leaves a connection to the garbage collector, in the middle of something.
//
//go:noinline
func handlesDrop(t *testing.T, path, sql string) {
	c, err := sqlite3.Open(dsn(path, "async", wal, normal, noAuto, slow))
	require.NoError(t, err)
	require.NoError(t, c.Exec(sql))
	s, _, err := c.Prepare("SELECT * FROM t")
	require.NoError(t, err)
	require.True(t, s.Step())
	// SQLite refuses to close it, since a statement isn't finished.
	require.ErrorIs(t, c.Close(), sqlite3.BUSY)
}

// TestDropped: a connection that isn't closed gives its lease back when it is collected.
func TestDropped(t *testing.T) {
	if handlesKept != "" {
		t.Skip(handlesKept)
	}
	const spill = "PRAGMA cache_size=2; BEGIN;" +
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100)" +
		"INSERT INTO t SELECT zeroblob(3000) FROM n"
	for _, tt := range []struct {
		name, sql string
		locked    bool // go-sqlite3 leaves the mapping of the -shm, which keeps the write lock
	}{
		{"reading", "", false},
		{"writing", "BEGIN; INSERT INTO t VALUES(3)", true},
		// Some of the transaction is in the WAL before it ends.
		{"spilled", spill, true},
		{"rolled back", spill + "; ROLLBACK", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(handlesDir(t), "test.db")
			syncers := handlesSyncers()
			handlesDrop(t, path, "CREATE TABLE t(x); INSERT INTO t VALUES(1),(2);"+tt.sql)
			require.Equal(t, 1, handlesListed(path))
			require.Eventually(t, func() bool {
				runtime.GC()
				return handlesListed(path) == 0
			}, 10*time.Second, time.Millisecond)
			eventually(t, func() bool { return handlesSyncers() == syncers })
			// What was committed is there.
			c := open(t, path, "async", full)
			require.Equal(t, "2", query(t, c, "SELECT count(*) FROM t"))
			if !tt.locked {
				exec(t, c, "INSERT INTO t VALUES(4)")
				require.NoError(t, c.Close())
				checkIntegrity(t, path)
			}
		})
	}
}
