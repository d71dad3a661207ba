package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the template shows.
type page struct {
	Machine  []fact
	Memory   bool // the files are in memory, and not on a disk
	Goals    []goalRow
	Charts   []pageChart
	Pairs    []table
	Matrix   []table
	Commands []file
}

type fact struct{ Name, Value string }

type goalRow struct {
	goal
	Outcomes []outcome
}

type pageChart struct {
	File, Note string
	SVG        template.HTML
}

// table is one of figures.
type table struct {
	Title   string
	Columns []string
	Rows    [][]string
}

// machineKeys are the configuration that is of the machine, with the names that are shown.
var machineKeys = []fact{
	{"cpu", "CPU"}, {"cores", "cores"}, {"kernel", "kernel"}, {"filesystem", "file system of the databases"},
	{"go", "Go"}, {"sqlite", "SQLite"}, {"mattn", "mattn/go-sqlite3"}, {"modernc", "modernc.org/sqlite"},
	{"bbolt", "bbolt"}, {"pebble", "pebble"},
}

// render makes the page.
func render(d data, charts []chart) ([]byte, error) {
	pg := page{Commands: d.files, Pairs: pairTables(d), Matrix: matrixTables(d)}
	for _, k := range machineKeys {
		var values []string
		for _, f := range d.files {
			for _, v := range f.Config[k.Name] {
				if !slices.Contains(values, v) {
					values = append(values, v)
				}
			}
		}
		if k.Name == "filesystem" {
			pg.Memory = slices.Contains(values, "tmpfs") || slices.Contains(values, "ramfs")
		}
		if len(values) > 0 {
			pg.Machine = append(pg.Machine, fact{k.Value, strings.Join(values, "; ")})
		}
	}
	for _, l := range d.find("Fdatasync", nil) {
		pg.Machine = append(pg.Machine, fact{"fdatasync of 4 KiB (µs)", fmt.Sprintf("median %s, p99 %s, slowest %s",
			l.text(1, "p50-µs"), l.text(1, "p99-µs"), l.text(1, "slowest-µs"))})
	}
	for _, g := range goals() {
		pg.Goals = append(pg.Goals, goalRow{g, g.outcomes(d)})
	}
	for _, c := range charts {
		// A page of HTML has no XML declaration, but the drawings begin with one.
		_, drawing, _ := bytes.Cut(c.SVG, []byte("<svg"))
		pg.Charts = append(pg.Charts, pageChart{c.File, c.Note, template.HTML("<svg" + string(drawing))})
	}
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, pg)
	return b.Bytes(), err
}

// pairTables are of the runs that took turns.
func pairTables(d data) []table {
	columns := []string{"workload", "beside", "rate, ×", "p50, ×", "p99.9, ×", "p99.99, ×", "per second", "of the other",
		"p99.9 (ms)", "of the other", "least share", "of the other", "window (ms)", "held (ms)", "WAL (MiB)", "WAL restarts"}
	var tables []table
	for _, t := range []struct{ base, title string }{
		{"Beside", "Beside stock, in pairs"}, {"Drivers", "Beside other drivers, through database/sql"}, {"Stores", "Durable inserts beside key-value stores"},
	} {
		tb := table{Title: t.title, Columns: columns}
		for _, l := range d.find(t.base, nil) {
			tb.Rows = append(tb.Rows, []string{
				l.workload(), l.keys["beside"], l.text(1, "x-rate"), l.text(1, "x-p50"), l.text(1, "x-p99.9"), l.text(1, "x-p99.99"),
				l.text(1, "commits/s", "reads/s"), l.text(1, "beside-commits/s", "beside-reads/s"),
				l.text(1000, "p99.9-µs"), l.text(1000, "beside-p99.9-µs"), l.text(1, "least-share"), l.text(1, "beside-least-share"),
				l.text(1000, "window-µs"), l.text(1000, "held-µs"), l.text(1, "wal-MiB"), l.text(1, "wal-restarts"),
			})
		}
		if len(tb.Rows) > 0 {
			tables = append(tables, tb)
		}
	}
	return tables
}

// matrixTables are of the workloads.
func matrixTables(d data) []table {
	tb := table{Title: "Workloads", Columns: []string{"workload", "setup", "commits/s", "reads/s", "p50 (ms)", "p99 (ms)", "p99.9 (ms)", "p99.99 (ms)", "slowest (ms)",
		"least share", "syncs a commit", "window (ms)", "held (ms)", "WAL (MiB)", "WAL restarts"}}
	for _, l := range d.find("Workloads", nil) {
		tb.Rows = append(tb.Rows, []string{
			l.workload(), l.keys["setup"], l.text(1, "commits/s"), l.text(1, "reads/s"), l.text(1000, "p50-µs"), l.text(1000, "p99-µs"),
			l.text(1000, "p99.9-µs"), l.text(1000, "p99.99-µs"), l.text(1000, "slowest-µs"), l.text(1, "least-share"), l.text(1, "syncs/commit"),
			l.text(1000, "window-µs"), l.text(1000, "held-µs"), l.text(1, "wal-MiB"), l.text(1, "wal-restarts"),
		})
	}
	if len(tb.Rows) == 0 {
		return nil
	}
	return []table{tb}
}

// workload says what a line is of, but for what has a column.
func (l *line) workload() string {
	text := fmt.Sprintf("%s, %s × %s bytes, %s connections", l.keys["kind"], l.keys["rows"], l.keys["size"], l.keys["conns"])
	if l.keys["conns"] == "1" {
		text = strings.TrimSuffix(text, "s")
	}
	text += ", " + strings.ToUpper(l.keys["level"])
	if disk := l.keys["disk"]; disk != "" && disk != "real" {
		text += ", " + disk
	}
	return text
}

// text returns the first of the units that there is, divided.
func (l *line) text(by float64, units ...string) string {
	for _, u := range units {
		if s, ok := l.values[u]; ok {
			return s.text(by, "")
		}
	}
	return ""
}
