// Command tuning measures what the advice of vfs/TUNING.md brings, and prints its tables.
//
//	go run ./bench/tuning -page vfs/TUNING.md    # and puts them into the page
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"time"

	"github.com/docusnap/asyncvfs/bench"
)

func main() {
	rounds := flag.Int("rounds", 3, "how often each setting is measured; all of them take turns")
	length := flag.Duration("t", 700*time.Millisecond, "least length of a run, after its warm-up")
	only := flag.String("only", "", "regular expression: the tables to measure")
	page := flag.String("page", "", "page whose tables are replaced")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	t := bench.Timing{WarmUp: *length / 4, Min: *length, Max: *length * 3 / 2, Generations: 8}
	if err := run(ctx, *rounds, t, *only, *page); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, t bench.Timing, only, page string) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	var text []byte
	if page != "" {
		if text, err = os.ReadFile(page); err != nil {
			return err
		}
	}
	begun := time.Now()
	if err := bench.WriteMachine(os.Stdout, os.TempDir()); err != nil {
		return err
	}
	for _, e := range experiments() {
		if !wanted.MatchString(e.name) {
			continue
		}
		measured, err := e.measure(ctx, rounds, t)
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		table := e.table(measured)
		fmt.Printf("\n%s\n\n%s", e.name, table)
		if page != "" {
			if text, err = replaceTable(text, e.name, table); err != nil {
				return fmt.Errorf("%s: %w", page, err)
			}
		}
	}
	fmt.Printf("\n%d rounds of runs of %v, in %v\n", rounds, t.Min, time.Since(begun).Round(time.Second))
	if page == "" {
		return nil
	}
	return os.WriteFile(page, text, 0o666)
}

// measure runs the settings in turn, each round beginning with another one.
func (e experiment) measure(ctx context.Context, rounds int, t bench.Timing) ([][]outcome, error) {
	all := make([][]outcome, len(e.settings))
	for round := range rounds {
		for i := range e.settings {
			i := (i + round) % len(e.settings)
			o, err := e.settings[i].measure(ctx, t)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", e.settings[i].labels, err)
			}
			all[i] = append(all[i], o)
		}
		fmt.Fprintf(os.Stderr, "  %s: round %d of %d\n", e.name, round+1, rounds)
	}
	return all, nil
}

func (s setting) measure(ctx context.Context, t bench.Timing) (o outcome, err error) {
	dir, err := os.MkdirTemp("", "tuning")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(dir)
	if s.read {
		return readThenWrite(ctx, s, t, dir)
	}
	o.Result, err = bench.Run(ctx, s.workload, s.setup.Level, t, dir, s.setup.Tuned(dir, s.options...))
	return o, err
}
