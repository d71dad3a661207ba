package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	_ "github.com/ncruces/go-sqlite3/driver"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

const (
	connections = 8

	// The times are the same in every run, since they go into the checksum
	// by which the databases of the runs are compared.
	createdAt = 1_700_000_000
	updatedAt = 1_700_000_001

	schema = `CREATE TABLE tasks(
		id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL,
		result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER)`
	insertTask = `INSERT INTO tasks(id, type, status, created_at) VALUES(?, 'document', 'pending', ?)`
	updateTask = `UPDATE tasks SET status = 'completed', result = ?, updated_at = ? WHERE id = ?`
)

// setup is a way to run SQLite that is measured.
type setup struct {
	name  string // as in the table
	vfs   string
	level string // of PRAGMA synchronous
}

var setups = []setup{
	{"stock FULL", "stock-counted", "full"},
	{"async FULL", "async-counted", "full"},
	{"async NORMAL", "async-counted", "normal"},
}

// registerVFS registers what the setups run on.
func registerVFS() (*countingVFS, error) {
	counting := &countingVFS{VFS: sqlitevfs.Find("")}
	sqlitevfs.Register("stock-counted", counting)
	return counting, vfs.Register("async-counted", counting)
}

// dsn returns the name of a database for database/sql.
func dsn(path, parameters string) string {
	// A path may have characters that mean something in a URI.
	u := url.URL{Path: filepath.ToSlash(path)}
	return "file:" + u.EscapedPath() + "?" + parameters
}

func (s setup) dsn(path string) string {
	return dsn(path, "vfs="+s.vfs+"&_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)"+
		"&_pragma=synchronous("+s.level+")&_txlock=immediate")
}

// stage is how far a file was reported stored.
type stage byte

const (
	notStored stage = iota
	pending
	completed
)

// result is what a run came to.
type result struct {
	setup
	reported  []stage         // of each file of the source
	latencies []time.Duration // of each commit, sorted
	elapsed   time.Duration   // until all commits are durable
	syncs     int64
	syncTime  time.Duration
	window    time.Duration // longest from COMMIT to durable
}

// store stores the files in a new database and closes it.
// Where it returns an error too, the result says what was reported stored by then.
// If it was only interrupted, the error is the context's cause.
func store(ctx context.Context, s setup, path string, src *source, counting *countingVFS, m *meter) (r result, err error) {
	r = result{setup: s, reported: make([]stage, len(src.files))}
	db, err := sql.Open("sqlite3", s.dsn(path))
	if err != nil {
		return r, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() {
		if e := db.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close %s: %w", path, e))
		}
	}()
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	// Never interrupted, so that there is a table to look at after Ctrl-C.
	if _, err := db.ExecContext(context.WithoutCancel(ctx), schema); err != nil {
		return r, fmt.Errorf("create the table of %s: %w", path, err)
	}
	return r, r.storeAll(ctx, db, path, src, counting, m)
}

func (r *result) storeAll(ctx context.Context, db *sql.DB, path string, src *source, counting *countingVFS, m *meter) (err error) {
	// All connections are open before the clock starts.
	workers := make([]*worker, connections)
	for i := range workers {
		conn, err := db.Conn(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("connect to %s: %w", path, err)
		}
		// Close waits for a transaction that is being rolled back.
		defer conn.Close()
		workers[i] = &worker{conn: conn, meter: m}
	}

	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		wg   sync.WaitGroup
		next atomic.Int64
	)
	counting.reset()
	start := time.Now()
	for _, w := range workers {
		wg.Go(func() {
			for working.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= len(src.files) {
					return
				}
				if err := w.storeFile(working, src, i, &r.reported[i]); err != nil {
					stop(err) // the first error is the cause of the others
				}
			}
		})
	}
	wg.Wait()
	for _, w := range workers {
		r.latencies = append(r.latencies, w.latencies...)
	}
	slices.Sort(r.latencies)
	// The context's cause if it was done first, else the first error of a worker.
	if err := context.Cause(working); err != nil {
		return err
	}

	if r.level == "normal" {
		// The clock stops once all is durable, as it is at FULL.
		var ok string
		err := workers[0].conn.QueryRowContext(ctx, "PRAGMA async_wait").Scan(&ok)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("wait for %s to be durable: %w", path, err)
		}
	}
	r.elapsed = time.Since(start)
	r.syncs, r.syncTime = counting.counted()
	if r.level == "normal" {
		stats, err := vfs.Stats(path)
		if err != nil {
			return fmt.Errorf("statistics of %s: %w", path, err)
		}
		r.window = time.Duration(stats.MaxWindowMicros) * time.Microsecond
	}
	return nil
}

// worker stores files, one at a time.
type worker struct {
	conn      *sql.Conn
	meter     *meter
	latencies []time.Duration
}

// storeFile takes a file through its two commits, and notes each once it is reported.
func (w *worker) storeFile(ctx context.Context, src *source, i int, reported *stage) error {
	id := src.files[i]
	if err := w.commit(ctx, insertTask, id, createdAt); err != nil {
		return fmt.Errorf("insert %s: %w", id, err)
	}
	*reported = pending
	text, err := src.read(id)
	if err != nil {
		return err
	}
	answer, err := json.Marshal(analyze(text))
	if err != nil {
		return fmt.Errorf("encode the result of %s: %w", id, err)
	}
	if err := w.commit(ctx, updateTask, string(answer), updatedAt, id); err != nil {
		return fmt.Errorf("update %s: %w", id, err)
	}
	*reported = completed
	w.meter.files.Add(1)
	return nil
}

// commit runs a statement in a transaction.
// Its latency is what the application waits for: the write lock and COMMIT.
func (w *worker) commit(ctx context.Context, query string, args ...any) error {
	start := time.Now()
	tx, err := w.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	w.latencies = append(w.latencies, time.Since(start))
	w.meter.commits.Add(1)
	return nil
}
