// Command series writes what commits are like over time, this VFS beside the stock one, as a table of CSV:
// in each tenth of a second the commits, their median and longest latency, and the longest loss window.
//
//	go run ./bench/series -out series.csv
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/bench"
)

func main() {
	out := flag.String("out", "series.csv", "file to write")
	length := flag.Duration("t", 5*time.Second, "length of a series")
	flag.Parse()
	if err := run(*out, *length); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out string, length time.Duration) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "# command: go run ./bench/series %s\n", strings.Join(os.Args[1:], " "))
	fmt.Fprintln(w, "scene,level,setup,seconds,commits,median_us,max_us,window_us")
	for _, sc := range bench.Scenes {
		for _, setup := range []string{"stock", "async"} {
			dir, err := os.MkdirTemp("", "series")
			if err != nil {
				return err
			}
			points, err := sc.Run(context.Background(), setup, dir, length)
			os.RemoveAll(dir)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", sc.Name, setup, err)
			}
			for _, p := range points {
				fmt.Fprintf(w, "%s,%s,%s,%.1f,%d,%.1f,%.1f,%.1f\n", sc.Name, sc.Level, setup,
					p.At.Seconds(), p.Commits, micros(p.Median), micros(p.Longest), micros(p.Window))
			}
			fmt.Printf("%s at %s, %s: %d points\n", sc.Name, sc.Level, setup, len(points))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
