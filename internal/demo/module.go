package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/docusnap/asyncvfs/internal/demo/files"
	"github.com/ncruces/go-sqlite3"
)

// The statements of the Python module.
const (
	moduleSchema = `CREATE TABLE tasks(
		id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL,
		result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER)`
	moduleInsert   = "INSERT INTO tasks(id, type, status, created_at) VALUES(?, 'document', 'pending', unixepoch())"
	moduleProcess  = "UPDATE tasks SET status='processing', updated_at=unixepoch() WHERE id=?"
	moduleComplete = "UPDATE tasks SET status='completed', result=?2, updated_at=unixepoch() WHERE id=?1"
)

// module makes calls as the Python module does.
type module struct {
	dsn     string
	opening *calls
}

// runModule stores the files in a new database as the Python module does.
func runModule(ctx context.Context, path string, src *files.Source, counting *countingVFS, r *result, m *meter) (err error) {
	mod := &module{dsn: dsn(path, "vfs="+stockVFS+"&_pragma=busy_timeout(60000)&_pragma=synchronous(full)")}
	inserts := r.addCalls("insert")
	processes := r.addCalls("update to processing")
	completes := r.addCalls("update to completed")
	mod.opening = r.addCalls("of each: open and close")

	// As in a service that polls, the WAL isn't made anew for each call.
	keep, err := sqlite3.Open(mod.dsn)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() {
		if e := keep.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close %s: %w", path, e))
		}
	}()
	if err := keep.Exec("PRAGMA journal_mode=wal; " + moduleSchema); err != nil {
		return fmt.Errorf("create the table of %s: %w", path, err)
	}
	m.count = func(context.Context) (int, int, error) { return inserts.count(), completes.count(), nil }
	defer m.show()()

	counting.reset()
	start := time.Now()
	err = parallel(ctx, len(src.Files), func(ctx context.Context, i int) error {
		id := src.Files[i]
		err := inserts.timed(func() error { return mod.call(ctx, moduleInsert, id) })
		if err != nil {
			return fmt.Errorf("insert %s: %w", id, err)
		}
		r.reported[i] = created
		err = processes.timed(func() error { return mod.call(ctx, moduleProcess, id) })
		if err != nil {
			return fmt.Errorf("update %s: %w", id, err)
		}
		text, err := src.Read(id)
		if err != nil {
			return err
		}
		answer, err := json.Marshal(files.Analyze(text))
		if err != nil {
			return fmt.Errorf("encode the result of %s: %w", id, err)
		}
		err = completes.timed(func() error { return mod.call(ctx, moduleComplete, id, string(answer)) })
		if err != nil {
			return fmt.Errorf("update %s: %w", id, err)
		}
		r.reported[i] = completed
		return nil
	})
	if err != nil {
		return err
	}
	r.elapsed = time.Since(start)
	r.commits = uint64(inserts.count() + processes.count() + completes.count())
	r.syncs, r.syncTime = counting.counted()
	return nil
}

// call runs a statement, which is a transaction, on a connection of its own.
func (m *module) call(ctx context.Context, query string, args ...string) (err error) {
	start := time.Now()
	c, err := sqlite3.OpenContext(ctx, m.dsn)
	if err != nil {
		return err
	}
	opened := time.Since(start)
	err = execute(c, query, args)
	start = time.Now()
	if e := c.Close(); e != nil {
		return errors.Join(err, e)
	}
	if err == nil {
		m.opening.add(opened + time.Since(start))
	}
	return err
}

func execute(c *sqlite3.Conn, query string, args []string) error {
	s, _, err := c.Prepare(query)
	if err != nil {
		return err
	}
	for i, a := range args {
		if err := s.BindText(i+1, a); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return errors.Join(s.Exec(), s.Close())
}
