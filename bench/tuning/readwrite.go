package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/docusnap/asyncvfs/bench"
	"github.com/ncruces/go-sqlite3"
)

// readThenWrite measures transactions that read a row and then change it. One that SQLite can't let write,
// since another has committed after it began to read (SQLITE_BUSY_SNAPSHOT), is rolled back and begun again.
func readThenWrite(ctx context.Context, s setting, t bench.Timing, dir string) (o outcome, err error) {
	open := s.setup.Tuned(dir, s.options...)
	const rows = 1000
	var conns []bench.Conn
	defer func() {
		for _, c := range conns {
			err = errors.Join(err, c.Close())
		}
	}()
	var again atomic.Int64
	var calls []bench.Call
	for i := range s.workload.Conns {
		c, err := open(ctx)
		if err != nil {
			return o, err
		}
		conns = append(conns, c)
		if i == 0 {
			if err := errors.Join(c.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER)"),
				c.Exec(fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO t(n) SELECT 0 FROM n", rows))); err != nil {
				return o, err
			}
		}
		calls = append(calls, func() (read bool, err error) {
			for id := 1 + rand.IntN(rows); ; again.Add(1) {
				if err = transaction(c, s.begin, id); err == nil || !errors.Is(err, sqlite3.BUSY) {
					return false, err
				}
				if err := c.Exec("ROLLBACK"); err != nil {
					return false, err
				}
			}
		})
	}
	o.Result, err = bench.Measure(ctx, calls, t, bench.DatabasePath(dir))
	o.Repeated = int(again.Load())
	if err != nil {
		return o, err
	}
	// Each transaction has added one, those of the warm-up too.
	sum, err := conns[0].Int("SELECT sum(n) FROM t")
	if err == nil && sum < o.Commits {
		err = fmt.Errorf("%d transactions were committed, and %d are there", o.Commits, sum)
	}
	return o, err
}

func transaction(c bench.Conn, begin string, id int) error {
	if err := c.Exec(begin); err != nil {
		return err
	}
	n, err := c.Int(fmt.Sprintf("SELECT n FROM t WHERE id=%d", id))
	if err != nil {
		return err
	}
	if err := c.Exec(fmt.Sprintf("UPDATE t SET n=%d WHERE id=%d", n+1, id)); err != nil {
		return err
	}
	return c.Exec("COMMIT")
}
