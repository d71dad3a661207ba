// Command report makes a page of HTML, with charts, of what the benchmarks have written.
// It is a module of its own, so that nobody else downloads what draws the charts.
//
//	cd bench/report && go run . -in ../out -out ../out
//
// It reads all files *.txt, in Go's benchmark format, and *.csv, which bench/series writes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	in := flag.String("in", ".", "folder of the benchmarks' output")
	out := flag.String("out", ".", "folder for report.html and the charts")
	page := flag.Bool("page", true, "write report.html, and not only the charts")
	flag.Parse()
	if err := run(*in, *out, *page); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(in, out string, page bool) error {
	d, err := read(in)
	if err != nil {
		return err
	}
	charts, err := drawAll(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, c := range charts {
		if err := os.WriteFile(filepath.Join(out, c.File), c.SVG, 0o644); err != nil {
			return err
		}
	}
	if !page {
		fmt.Printf("%d charts in %s\n", len(charts), absolute(out))
		return nil
	}
	html, err := render(d, charts)
	if err != nil {
		return err
	}
	path := filepath.Join(out, "report.html")
	if err := os.WriteFile(path, html, 0o644); err != nil {
		return err
	}
	fmt.Printf("The report is %s, with %d charts beside it.\n", absolute(path), len(charts))
	return nil
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
