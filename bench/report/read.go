package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// data is what the benchmarks have written.
type data struct {
	lines  []*line
	points []point
	files  []file
}

// file is one of their files.
type file struct {
	Name    string
	Command string
	Config  map[string][]string // all values that a key has
}

// Made tells when the file was made, and of what version, if it is known.
func (f file) Made() string {
	return strings.Join(append(slices.Clone(f.Config["date"]), f.Config["version"]...), ", ")
}

// line is what a benchmark came to, of one or of several runs.
type line struct {
	base   string            // the benchmark's name
	keys   map[string]string // in the name
	values map[string]spread // by unit
}

// spread is the median of a figure, the least and the greatest.
type spread struct {
	Median, Least, Greatest float64
	Runs                    int // that it is of; 0 is not known here: the benchmark itself made several
}

func read(dir string) (data, error) {
	var d data
	for _, pattern := range []string{"*.txt", "*.csv"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return d, err
		}
		for _, path := range paths {
			readFile := d.readBenchmarks
			if filepath.Ext(path) == ".csv" {
				readFile = d.readSeries
			}
			if err := readFile(path); err != nil {
				return d, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	if len(d.lines) == 0 && len(d.points) == 0 {
		return d, fmt.Errorf("there is nothing to report in %s", dir)
	}
	return d, nil
}

// readBenchmarks reads a file, in which each benchmark may be several times.
func (d *data) readBenchmarks(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info := file{Name: filepath.Base(path), Config: map[string][]string{}}
	runs := map[string][]map[string]float64{}
	lines := map[string]*line{}
	var order []string
	r := benchfmt.NewReader(f, path)
	for r.Scan() {
		switch rec := r.Result().(type) {
		case *benchfmt.SyntaxError:
			return rec
		case *benchfmt.Result:
			for _, c := range rec.Config {
				if v := string(c.Value); c.File && !slices.Contains(info.Config[c.Key], v) {
					info.Config[c.Key] = append(info.Config[c.Key], v)
				}
			}
			l := newLine(rec.Name)
			name := l.base + fmt.Sprint(l.keys) // printed in order
			if lines[name] == nil {
				lines[name] = l
				order = append(order, name)
			}
			values := map[string]float64{}
			for _, v := range rec.Values {
				values[v.Unit] = v.Value
			}
			runs[name] = append(runs[name], values)
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	info.Command = strings.Join(info.Config["command"], "; ")
	delete(info.Config, "command")
	d.files = append(d.files, info)
	for _, name := range order {
		lines[name].values = spreads(runs[name])
		d.lines = append(d.lines, lines[name])
	}
	return nil
}

func newLine(name benchfmt.Name) *line {
	base, parts := name.Parts()
	l := &line{base: string(base), keys: map[string]string{}}
	for _, p := range parts {
		if key, value, ok := strings.Cut(strings.TrimPrefix(string(p), "/"), "="); ok {
			l.keys[key] = value
		}
	}
	return l
}

// spreads makes them of runs; a benchmark that made several itself says its spread under min- and max-.
func spreads(runs []map[string]float64) map[string]spread {
	all := map[string][]float64{}
	for _, run := range runs {
		for unit, v := range run {
			all[unit] = append(all[unit], v)
		}
	}
	result := map[string]spread{}
	for unit, v := range all {
		slices.Sort(v)
		s := spread{v[(len(v)-1)/2], v[0], v[len(v)-1], len(v)}
		// It may say one of the two alone.
		if least, ok := all["min-"+unit]; ok {
			s.Least, s.Runs = slices.Min(least), 0
		}
		if greatest, ok := all["max-"+unit]; ok {
			s.Greatest, s.Runs = slices.Max(greatest), 0
		}
		result[unit] = s
	}
	return result
}

// find returns the lines of a benchmark whose names have the keys.
func (d data) find(base string, keys map[string]string) (found []*line) {
	for _, l := range d.lines {
		matches := l.base == base
		for k, v := range maps.All(keys) {
			matches = matches && l.keys[k] == v
		}
		if matches {
			found = append(found, l)
		}
	}
	return found
}

// point is a part of a series over time; latencies are in microseconds.
type point struct {
	scene, level, setup                         string
	seconds, commits, median, longest, windowed float64
}

func (d *data) readSeries(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	command, ok := strings.CutPrefix(first, "# command: ")
	if !ok {
		return errors.New("the first line doesn't tell the command")
	}
	d.files = append(d.files, file{Name: filepath.Base(path), Command: command})
	rows, err := csv.NewReader(strings.NewReader(rest)).ReadAll()
	if err != nil {
		return err
	}
	for i, row := range rows {
		if i == 0 {
			continue // the names of the columns
		}
		if len(row) != 8 {
			return fmt.Errorf("row %d has %d columns, not 8", i, len(row))
		}
		p := point{scene: row[0], level: row[1], setup: row[2]}
		for j, to := range []*float64{&p.seconds, &p.commits, &p.median, &p.longest, &p.windowed} {
			if *to, err = strconv.ParseFloat(row[3+j], 64); err != nil {
				return fmt.Errorf("row %d: %w", i, err)
			}
		}
		d.points = append(d.points, p)
	}
	return nil
}
