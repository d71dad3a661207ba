package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// perSecond returns the commits per second.
func (r *result) perSecond() float64 {
	return float64(len(r.latencies)) / r.elapsed.Seconds()
}

// percentile returns the latency that p percent of the commits don't exceed.
func (r *result) percentile(p float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	i := int(math.Ceil(float64(len(r.latencies))*p/100)) - 1
	return r.latencies[max(i, 0)]
}

// longest returns the longest time that a commit wasn't durable yet.
func (r *result) longest() string {
	if r.level == "full" {
		return "0 (durable at COMMIT)"
	}
	return millis(r.window)
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

// printTable prints what was measured, and the commits per second beside those of the first.
func printTable(w io.Writer, results []result) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "run\trows/s\tcommits\tcommits/s\tp50 (ms)\tp99 (ms)\tp99.9 (ms)\tfsyncs\tper fsync (ms)\tlongest not durable (ms)\t")
	for _, r := range results {
		commits := len(r.latencies)
		fmt.Fprintf(t, "%s\t%.0f\t%d\t%.0f\t%s\t%s\t%s\t%d\t%s\t%s\t\n",
			r.name, float64(len(r.reported))/r.elapsed.Seconds(), commits, r.perSecond(),
			millis(r.percentile(50)), millis(r.percentile(99)), millis(r.percentile(99.9)),
			r.syncs, millis(r.syncTime/time.Duration(max(r.syncs, 1))), r.longest())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var ratios []string
	for _, r := range results[1:] {
		ratios = append(ratios, fmt.Sprintf("%s %.2fx", r.name, r.perSecond()/results[0].perSecond()))
	}
	_, err := fmt.Fprintf(w, "\nCommits/s beside %s: %s\n", results[0].name, strings.Join(ratios, ", "))
	return err
}

// contents is what the stock VFS finds in a database.
type contents struct {
	integrity string // "ok", or what is wrong
	status    map[string]string
	checksum  string // of all rows in order
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

	c.status = map[string]string{}
	sum := sha256.New()
	err = query(ctx, db, "SELECT id, type, status, result, created_at, updated_at FROM tasks ORDER BY id", func(rows *sql.Rows) error {
		var (
			id, kind, status string
			answer           sql.NullString
			created          int64
			updated          sql.NullInt64
		)
		err := rows.Scan(&id, &kind, &status, &answer, &created, &updated)
		c.status[id] = status
		// Quoted, so that the fields can't run into each other.
		fmt.Fprintf(sum, "%q %q %q %t %q %d %t %d\n",
			id, kind, status, answer.Valid, answer.String, created, updated.Valid, updated.Int64)
		return err
	})
	c.checksum = hex.EncodeToString(sum.Sum(nil))
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

// missing returns how many files were reported stored, and how many of them
// the database doesn't have, or not as far as was reported.
// A row may be further than that: its commit was made and not reported any more.
func (c *contents) missing(files []string, reported []stage) (stored, missing int) {
	for i, p := range reported {
		if p == notStored {
			continue
		}
		stored++
		status := c.status[files[i]]
		if status != "completed" && (p == completed || status != "pending") {
			missing++
		}
	}
	return stored, missing
}

// printChecks prints what the databases hold.
// It returns an error unless all of them are sound, complete and equal.
func printChecks(w io.Writer, results []result, found []contents, files []string) error {
	fmt.Fprintln(w, "\nChecks of the closed databases, with the stock VFS:")
	var bad []string
	for i, c := range found {
		name := results[i].name
		fmt.Fprintf(w, "  %-12s  integrity_check: %s, rows: %d of %d, checksum: %s\n",
			name, c.integrity, len(c.status), len(files), c.checksum)
		_, missing := c.missing(files, results[i].reported)
		switch {
		case c.integrity != "ok":
			bad = append(bad, name+": integrity_check failed: "+c.integrity)
		case len(c.status) != len(files) || missing > 0:
			bad = append(bad, fmt.Sprintf("%s: %d rows for %d files, %d not as reported", name, len(c.status), len(files), missing))
		case c.checksum != found[0].checksum:
			bad = append(bad, name+": its rows differ from those of "+results[0].name)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("checks failed: %s", strings.Join(bad, "; "))
	}
	_, err := fmt.Fprintln(w, "All databases are ok and hold the same rows.")
	return err
}

// printInterrupted prints what a run left that was interrupted, after it was closed.
func printInterrupted(w io.Writer, r *result, c contents, files []string) error {
	stored, missing := c.missing(files, r.reported)
	fmt.Fprintf(w, "Interrupted during %s. The database is closed; with the stock VFS: integrity_check: %s, rows: %d\n",
		r.name, c.integrity, len(c.status))
	if c.integrity != "ok" || missing > 0 {
		return fmt.Errorf("%s after the interrupt: integrity_check: %s; of %d rows reported stored, %d are missing",
			r.name, c.integrity, stored, missing)
	}
	_, err := fmt.Fprintf(w, "All %d rows that were reported stored are there.\n", stored)
	return err
}
