package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/docusnap/asyncvfs/bench"
)

// A column is a figure of the runs of a setting: beside is the run of the group's base in the same round.
type column struct {
	heading  string
	value    func(o, beside outcome) float64
	greatest bool // and not the median: it is a bound
}

var (
	timesRate = column{heading: "commits/s, ×", value: func(o, beside outcome) float64 { return o.Rate() / beside.Rate() }}
	slowest   = column{heading: "slowest of a thousand, ms", value: func(o, _ outcome) float64 { return o.Main().P999 / 1000 }}
	perSync   = column{heading: "commits per sync", value: func(o, _ outcome) float64 { return float64(o.Commits) / max(1, float64(o.Syncs)) }}
	window    = column{heading: "longest not durable, ms", value: func(o, _ outcome) float64 { return float64(o.WindowMicros) / 1000 }, greatest: true}
	walSize   = column{heading: "largest WAL, MiB", value: func(o, _ outcome) float64 { return o.WALMiB }, greatest: true}
	repeated  = column{heading: "begun again, per commit", value: func(o, _ outcome) float64 { return float64(o.Repeated) / float64(o.Commits) }}
)

// table returns the table of Markdown. measured has the runs of each setting, by round.
func (e experiment) table(measured [][]outcome) string {
	var b strings.Builder
	headings := slices.Clone(e.labels)
	for _, c := range e.columns {
		headings = append(headings, c.heading)
	}
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(headings)
	row(slices.Repeat([]string{"---"}, len(headings)))
	for i, s := range e.settings {
		cells := slices.Clone(s.labels)
		base := slices.IndexFunc(e.settings, func(other setting) bool { return other.base && other.group == s.group })
		for _, c := range e.columns {
			var values []float64
			for round, o := range measured[i] {
				values = append(values, c.value(o, measured[base][round]))
			}
			cells = append(cells, c.cell(values, s.base))
		}
		row(cells)
	}
	return b.String()
}

// cell returns the median, and the least and the greatest; or the greatest alone.
func (c column) cell(values []float64, base bool) string {
	slices.Sort(values)
	least, greatest := values[0], values[len(values)-1]
	switch {
	case c.greatest:
		return number(greatest)
	case base && least == greatest: // its own ratio
		return number(least)
	}
	return fmt.Sprintf("%s (%s to %s)", number(bench.Percentile(values, 50)), number(least), number(greatest))
}

// number has about two digits that tell something.
func number(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	case v == 0:
		return "0"
	}
	return fmt.Sprintf("%.2f", v)
}

// replaceTable puts a table into a page, between the comments that name it.
func replaceTable(page []byte, name, table string) ([]byte, error) {
	begin, end := []byte("<!-- table: "+name+" -->\n"), []byte("<!-- end -->")
	before, rest, found := bytes.Cut(page, begin)
	if !found {
		return nil, fmt.Errorf("there is no %q", begin)
	}
	_, after, found := bytes.Cut(rest, end)
	if !found {
		return nil, fmt.Errorf("%q has no end", begin)
	}
	return slices.Concat(before, begin, []byte(table), end, after), nil
}
