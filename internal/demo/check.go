package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/docusnap/asyncvfs/tasks"
	_ "github.com/ncruces/go-sqlite3/driver"
)

// contents is what the stock VFS finds in a database.
type contents struct {
	integrity string // "ok", or what is wrong
	tasks     map[string]task
}

type task struct {
	status string
	result string
}

// inspect looks at a closed database with the stock VFS, which knows nothing of ours.
func inspect(ctx context.Context, path string) (c contents, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("check %s: %w", path, err)
		}
	}()
	db, err := sql.Open("sqlite3", dsn(path, "_pragma=busy_timeout(60000)"))
	if err != nil {
		return c, err
	}
	defer db.Close()

	var problems []string
	err = query(ctx, db, "PRAGMA integrity_check", func(rows *sql.Rows) error {
		var s string
		err := rows.Scan(&s)
		problems = append(problems, s)
		return err
	})
	if err != nil {
		return c, err
	}
	c.integrity = strings.Join(problems, "; ")

	c.tasks = map[string]task{}
	err = query(ctx, db, "SELECT id, status, coalesce(result, '') FROM tasks", func(rows *sql.Rows) error {
		var id string
		var t task
		err := rows.Scan(&id, &t.status, &t.result)
		c.tasks[id] = t
		return err
	})
	return c, err
}

func query(ctx context.Context, db *sql.DB, q string, row func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, q)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// of returns a run's tasks by the files' names.
func (c *contents) of(prefix string, files []string) map[string]task {
	found := map[string]task{}
	for _, name := range files {
		if t, ok := c.tasks[prefix+name]; ok {
			found[name] = t
		}
	}
	return found
}

func countCompleted(list map[string]task) (n int) {
	for _, t := range list {
		if t.status == string(tasks.Completed) {
			n++
		}
	}
	return n
}

// checksum is that of all (id, result) in order.
func checksum(list map[string]task, files []string) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(slices.Values(files)) {
		if t, ok := list[name]; ok {
			// Quoted, so that the fields can't run into each other.
			fmt.Fprintf(sum, "%q %q\n", name, t.result)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// missing returns how many tasks were reported stored, and how many of them
// the database doesn't have, or not as far as was reported.
// A task may be further than that: its commit was made and not reported any more.
func missing(list map[string]task, files []string, reported []stage) (stored, missing int) {
	for i, p := range reported {
		if p == notStored {
			continue
		}
		stored++
		t, ok := list[files[i]]
		if !ok || p == completed && t.status != string(tasks.Completed) {
			missing++
		}
	}
	return stored, missing
}

// printChecks prints what the databases hold, which are found by their files' names.
// It returns an error unless all of them are sound, complete and equal.
func printChecks(w io.Writer, results []*result, found map[string]contents, files []string) error {
	fmt.Fprintln(w, "\nChecks of the closed databases, with the stock VFS:")
	var bad []string
	want := "" // the checksum of the first
	expected := map[string]int{}
	for _, r := range results {
		expected[r.file] += len(files)
	}
	for _, r := range results {
		c := found[r.file]
		list := c.of(r.prefix, files)
		n, sum := countCompleted(list), checksum(list, files)
		fmt.Fprintf(w, "  %-14s  integrity_check: %s, tasks completed: %d of %d, checksum of (id, result): %s\n",
			r.name, c.integrity, n, len(files), sum)
		if want == "" {
			want = sum
		}
		_, missing := missing(list, files, r.reported)
		switch {
		case c.integrity != "ok":
			bad = append(bad, r.name+": integrity_check failed: "+c.integrity)
		case n != len(files) || missing > 0:
			bad = append(bad, fmt.Sprintf("%s: %d of %d tasks completed, %d not as reported", r.name, n, len(files), missing))
		case len(c.tasks) != expected[r.file]:
			bad = append(bad, fmt.Sprintf("%s: %s has %d tasks, not %d", r.name, r.file, len(c.tasks), expected[r.file]))
		case sum != want:
			bad = append(bad, r.name+": its results differ from those of "+results[0].name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("checks failed: %s", strings.Join(bad, "; "))
	}
	_, err := fmt.Fprintln(w, "All databases are ok, all tasks are completed, and their results are the same.")
	return err
}

// printInterrupted prints what a run left that was interrupted, after it was closed.
func printInterrupted(w io.Writer, r *result, c contents, files []string) error {
	list := c.of(r.prefix, files)
	stored, missing := missing(list, files, r.reported)
	fmt.Fprintf(w, "Interrupted during %s. The database is closed; with the stock VFS: integrity_check: %s, tasks: %d, completed: %d\n",
		r.name, c.integrity, len(list), countCompleted(list))
	if c.integrity != "ok" || missing > 0 {
		return fmt.Errorf("%s after the interrupt: integrity_check: %s; of %d tasks reported stored, %d are missing",
			r.name, c.integrity, stored, missing)
	}
	_, err := fmt.Fprintf(w, "All %d tasks that were reported stored are there, as far as was reported.\n", stored)
	return err
}
