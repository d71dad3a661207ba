package bench

import (
	"context"
	"database/sql"
	"errors"
	"os"
)

// A Job is a run in a process of its own, through database/sql.
type Job struct {
	Workload Workload
	Driver   string
	Level    string
	Timing   Timing
}

// Run does the job in a new folder for temporary files.
func (j Job) Run(ctx context.Context, open func(dir string) (*sql.DB, error)) (r Result, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := open(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxIdleConns(-1) // one that is given back is closed, and not used again as it was left
	return Run(ctx, j.Workload, j.Level, j.Timing, dir, SQL(db))
}
