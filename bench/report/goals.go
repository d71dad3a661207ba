package main

import (
	"fmt"
	"strings"
)

// goal is one of the project's, with where it is measured.
type goal struct {
	Workload, Beside string
	base             string
	keys             map[string]string
	checks           []check
	hint             string // of how to measure it
}

// check is a figure and its bound.
type check struct {
	unit  string
	least bool // the bound is the least it may be
	bound float64
}

const (
	rate  = "x-rate"
	tail  = "x-p99.9"
	tail4 = "x-p99.99"
)

func atLeast(bound float64) check             { return check{rate, true, bound} }
func atMost(unit string, bound float64) check { return check{unit, false, bound} }

func goals() []goal {
	// Rows of 100 bytes, one a commit.
	beside := func(workload, name, kind, conns, disk, level, with string, checks ...check) goal {
		return goal{Workload: workload, Beside: name, base: "Beside", hint: "make bench", checks: checks, keys: map[string]string{
			"kind": kind, "rows": "1", "size": "100", "conns": conns, "disk": disk, "level": level, "beside": with}}
	}
	list := []goal{
		beside("FULL, 64 connections", "stock FULL", "insert", "64", "real", "full", "stock-full", atLeast(12), atMost(tail, 0.01)),
		beside("FULL, 64 connections, sync + 1 ms", "stock FULL", "insert", "64", "sync+1ms", "full", "stock-full", atLeast(45)),
		beside("FULL, 64 connections, sync + 5 ms", "stock FULL", "insert", "64", "sync+5ms", "full", "stock-full", atLeast(60)),
		beside("FULL, 64 connections", "this VFS at NORMAL", "insert", "64", "real", "full", "async-normal", atLeast(0.95)),
		beside("FULL, 8 connections", "stock FULL", "insert", "8", "real", "full", "stock-full", atLeast(3.5)),
		beside("FULL, 1 connection", "stock FULL", "insert", "1", "real", "full", "stock-full", atLeast(0.97)),
		beside("NORMAL, 1 connection, inserts", "stock NORMAL", "insert", "1", "real", "normal", "stock-normal",
			atLeast(1.1), atMost(tail, 0.1), atMost("window-µs", 100_000)),
		beside("NORMAL, 1 connection, random updates", "stock NORMAL", "update", "1", "real", "normal", "stock-normal",
			atLeast(1.4), atMost(tail, 1), atMost(tail4, 1./3)),
		beside("NORMAL, 1 connection", "stock OFF (the limit)", "insert", "1", "real", "normal", "stock-off", atLeast(0.85)),
		beside("NORMAL, 64 connections", "stock OFF", "insert", "64", "real", "normal", "stock-off", atLeast(0.9), atMost(tail, 0.5)),
	}
	for _, level := range []string{"full", "normal"} {
		for _, conns := range []string{"8", "64"} {
			list = append(list, goal{
				Workload: fmt.Sprintf("%s, %s connections", strings.ToUpper(level), conns), Beside: "mattn (cgo), " + strings.ToUpper(level),
				base: "Drivers", hint: "make bench-drivers", checks: []check{atLeast(1), atMost(tail, 1)},
				keys: map[string]string{"kind": "insert", "rows": "1", "size": "100", "conns": conns, "level": level, "beside": "mattn"},
			})
		}
	}
	return append(list,
		beside("reads only, 8 connections", "stock", "read", "8", "real", "normal", "stock-normal", atLeast(0.98)),
		goal{Workload: "memory per open connection beyond stock", Beside: "stock", base: "Memory", hint: "make bench",
			checks: []check{atMost("x-more-heap-KiB/conn", 16), atMost("x-more-rss-KiB/conn", 16)}},
	)
}

// String returns the goal's bound as text.
func (c check) String() string {
	sign := "≤"
	if c.least {
		sign = "≥"
	}
	switch {
	case c.unit == rate:
		return fmt.Sprintf("%s %s ×", sign, short(c.bound))
	case strings.HasPrefix(c.unit, "x-p") && c.bound == 1:
		return fmt.Sprintf("%s %s 1 ×", strings.TrimPrefix(c.unit, "x-"), sign)
	case strings.HasPrefix(c.unit, "x-p"):
		return fmt.Sprintf("%s %s 1/%s", strings.TrimPrefix(c.unit, "x-"), sign, short(1/c.bound))
	case c.unit == "window-µs":
		return fmt.Sprintf("window %s %s ms", sign, short(c.bound/1000))
	case strings.HasPrefix(c.unit, "x-more-"):
		return fmt.Sprintf("%s %s %s", strings.TrimSuffix(strings.TrimPrefix(c.unit, "x-more-"), "-KiB/conn"), sign, short(c.bound)+" KiB")
	}
	return fmt.Sprintf("%s %s %s", c.unit, sign, short(c.bound))
}

func (c check) met(s spread) bool {
	if c.least {
		return s.Median >= c.bound
	}
	return s.Median <= c.bound
}

// outcome is a check that is measured.
type outcome struct {
	Goal, Measured string
	Known, Met     bool
}

// outcomes returns what the checks of a goal came to.
func (g goal) outcomes(d data) (all []outcome) {
	lines := d.find(g.base, g.keys)
	for _, c := range g.checks {
		o := outcome{Goal: c.String(), Measured: "not measured: " + g.hint}
		if len(lines) > 0 {
			if s, ok := lines[len(lines)-1].values[c.unit]; ok {
				o = outcome{c.String(), c.measured(s), true, c.met(s)}
			}
		}
		all = append(all, o)
	}
	return all
}

func (c check) measured(s spread) string {
	switch {
	case c.unit == rate:
		return s.text(1, " ×")
	case c.unit == "window-µs":
		return short(s.Greatest/1000) + " ms at most"
	case strings.HasPrefix(c.unit, "x-p"):
		return s.text(1, "")
	}
	return s.text(1, " KiB")
}
