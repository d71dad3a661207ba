package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
)

// The statements of the workloads.
var (
	beginWrite = Statement{SQL: "BEGIN IMMEDIATE"}
	commit     = Statement{SQL: "COMMIT"}
	insertRow  = Statement{SQL: "INSERT INTO t(data) VALUES(?)", Data: true}
	updateRow  = Statement{SQL: "UPDATE t SET data=? WHERE id=?", Data: true, ID: true}
	deleteRow  = Statement{SQL: "DELETE FROM t WHERE id=?", ID: true}
	putRow     = Statement{SQL: "INSERT INTO t(data, id) VALUES(?, ?)", Data: true, ID: true}
	readRow    = Statement{SQL: "SELECT data FROM t WHERE id=?", ID: true}
)

// prepare makes the table, with the rows that the workload wants to be there, and checkpoints it.
func (w Workload) prepare(ctx context.Context, open Opener) error {
	c, err := open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, sql := range []string{
		"PRAGMA synchronous=off",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, data BLOB)",
		fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)
			INSERT INTO t(data) SELECT randomblob(%d) FROM n WHERE %[1]d > 0`, w.filled(), w.Size),
		"PRAGMA wal_checkpoint(TRUNCATE)",
	} {
		if err := c.Exec(sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// A worker is a connection that does a workload.
type worker struct {
	Workload
	conn   Conn
	number int // of the connections
	stmts  map[Statement]Stmt
	rand   *rand.Rand
	data   []byte
	filled int // rows there were at the start
	rows   int // added by it, less those deleted
	gone   []int
	read   bool // mixed: the last step was a read
}

// newWorker opens a connection for a workload, and checks that it is at the level.
func newWorker(ctx context.Context, w Workload, number int, level string, open Opener) (*worker, error) {
	c, err := open(ctx)
	if err != nil {
		return nil, err
	}
	wk := &worker{Workload: w, conn: c, number: number, stmts: map[Statement]Stmt{},
		rand: rand.New(rand.NewPCG(1, uint64(number))), data: make([]byte, w.Size), filled: w.filled()}
	for i := range wk.data {
		wk.data[i] = byte(wk.rand.Uint32())
	}
	if err := wk.check(level); err != nil {
		wk.close()
		return nil, err
	}
	for _, st := range []Statement{beginWrite, commit, insertRow, updateRow, deleteRow, putRow, readRow} {
		if wk.stmts[st], err = c.Prepare(st); err != nil {
			wk.close()
			return nil, err
		}
	}
	return wk, nil
}

func (w *worker) check(level string) error {
	n, err := w.conn.Int("PRAGMA synchronous")
	if err != nil {
		return err
	}
	if n >= len(levels) || levels[n] != level {
		return fmt.Errorf("connection %d: PRAGMA synchronous is %d, not %s", w.number, n, level)
	}
	n, err = w.conn.Int("SELECT count(*) FROM pragma_journal_mode WHERE journal_mode='wal'")
	if err == nil && n != 1 {
		err = fmt.Errorf("connection %d isn't in WAL mode", w.number)
	}
	return err
}

func (w *worker) close() error {
	for _, s := range w.stmts {
		if s != nil {
			s.Close()
		}
	}
	return w.conn.Close()
}

// step does one read, or one transaction up to its commit.
func (w *worker) step() (read bool, err error) {
	switch w.Kind {
	case Insert:
		return false, w.transaction(insertRow, func() int { return 0 })
	case Update:
		return false, w.transaction(updateRow, w.any)
	case Delete:
		return false, w.deleteOrPut()
	case Mixed:
		if w.read = !w.read; w.read {
			return true, w.readOne()
		}
		return false, w.transaction(updateRow, w.any)
	case Read:
		return true, w.readOne()
	}
	return false, fmt.Errorf("unknown kind of workload %q", w.Kind)
}

// any returns the id of a row.
func (w *worker) any() int { return 1 + w.rand.IntN(w.filled) }

// own returns the id of a row that no other connection deletes.
func (w *worker) own() int {
	return 1 + w.number + w.Conns*w.rand.IntN((w.filled-1-w.number)/w.Conns+1)
}

func (w *worker) readOne() error {
	n, err := w.stmts[readRow].Read(w.any())
	if err == nil && n != w.Size {
		err = fmt.Errorf("read a row of %d bytes, not %d", n, w.Size)
	}
	return err
}

// transaction runs a statement for as many rows as the workload says.
func (w *worker) transaction(st Statement, id func() int) error {
	w.data[0]++
	if w.Rows == 1 {
		err := w.stmts[st].Run(w.data, id())
		if err == nil {
			w.count(st)
		}
		return err
	}
	if err := w.stmts[beginWrite].Run(nil, 0); err != nil {
		return err
	}
	for range w.Rows {
		if err := w.stmts[st].Run(w.data, id()); err != nil {
			return err
		}
	}
	err := w.stmts[commit].Run(nil, 0)
	if err == nil {
		w.count(st)
	}
	return err
}

// count keeps the number of rows that must be there.
func (w *worker) count(st Statement) {
	switch st {
	case insertRow, putRow:
		w.rows += w.Rows
	case deleteRow:
		w.rows -= w.Rows
	}
}

// deleteOrPut deletes rows, or puts those back that it has deleted.
func (w *worker) deleteOrPut() error {
	i := -1
	next := func() int { i++; return w.gone[i] }
	if len(w.gone) > 0 {
		if err := w.transaction(putRow, next); err != nil {
			return err
		}
		w.gone = w.gone[:0]
		return nil
	}
	taken := make(map[int]bool, w.Rows)
	for len(w.gone) < w.Rows {
		if id := w.own(); !taken[id] {
			taken[id] = true
			w.gone = append(w.gone, id)
		}
	}
	return w.transaction(deleteRow, next)
}
