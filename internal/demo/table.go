package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docusnap/asyncvfs/internal/demo/files"
)

// printAbout says what is going to be measured.
func printAbout(w io.Writer, src *files.Source, dir string) {
	first, of := "", src.Folder
	if src.Capped {
		first = "the first "
	}
	if src.Parts != nil {
		of += " (" + strings.Join(src.Parts, ", ") + ")"
	}
	fmt.Fprintf(w, "%s%d text files (%.1f MiB) of %s, %d other files skipped\n",
		first, len(src.Files), float64(src.Bytes)/(1<<20), of, src.Skipped)
	if src.Capped {
		fmt.Fprintf(w, "There are more: the demo takes %d at most.\n", files.MaxFiles)
	}
	fmt.Fprintf(w, "Each file is a task, its analysis the result; %d goroutines; databases in %s\n\n", goroutines, dir)
	for _, s := range setups {
		for i, line := range strings.Split(s.about, "\n") {
			name := s.name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(w, "%-14s  %s\n", name, line)
		}
	}
	fmt.Fprintln(w)
}

// perSecond returns the tasks per second.
func (r *result) perSecond() float64 { return float64(len(r.reported)) / r.elapsed.Seconds() }

// percentile returns the latency that p percent of the calls don't exceed.
func (c *calls) percentile(p float64) time.Duration {
	if len(c.latencies) == 0 {
		return 0
	}
	i := int(math.Ceil(float64(len(c.latencies))*p/100)) - 1
	return c.latencies[max(i, 0)]
}

// longest returns the longest time that a commit wasn't durable yet.
func (r *result) longest() string {
	if r.cache == nil {
		return "0 (durable at COMMIT)"
	}
	return millis(r.window)
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

// printTables prints what was measured, and the rates beside those of the first.
func printTables(w io.Writer, results []*result) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "run\tseconds\ttasks/s\tcommits\tcommits/s\tfsyncs\tper fsync (ms)\tlongest not durable (ms)\t")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%.2f\t%.0f\t%d\t%.0f\t%d\t%s\t%s\t\n",
			r.name, r.elapsed.Seconds(), r.perSecond(), r.commits, float64(r.commits)/r.elapsed.Seconds(),
			r.syncs, millis(r.syncTime/time.Duration(max(r.syncs, 1))), r.longest())
	}
	fmt.Fprintln(t)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t, "run\tcall\tcalls\tp50 (ms)\tp99 (ms)\tp99.9 (ms)\t")
	for _, r := range results {
		for _, c := range r.calls {
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t\n", r.name, c.name, len(c.latencies),
				millis(c.percentile(50)), millis(c.percentile(99)), millis(c.percentile(99.9)))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nWith the task API, calls that come at the same time share commits and fsyncs. Create returns and Run's results\n"+
		"count once they are durable; what may be lost for the longest time not durable are claims and the cache.\n"+
		"Run makes the claims and stores the results: they aren't calls of the table, but are in tasks/s.")
	fmt.Fprintln(w)
	for _, r := range results {
		if r.cache != nil {
			fmt.Fprintf(w, "Cache, %s: %d of %d tasks answered from it, %d waited for the same content's analysis, %d analyzed\n",
				r.name, r.cache.Hits, len(r.reported), r.cache.Shared, r.cache.Computed)
		}
	}
	first := results[0]
	var rates, syncs []string
	for _, r := range results[1:] {
		rates = append(rates, fmt.Sprintf("%s %.2fx", r.name, r.perSecond()/first.perSecond()))
	}
	for _, r := range results {
		syncs = append(syncs, fmt.Sprintf("%s %.2f", r.name, float64(r.syncs)/float64(len(r.reported))))
	}
	_, err := fmt.Fprintf(w, "Tasks/s beside %s: %s\nfsyncs per task: %s\n", first.name, strings.Join(rates, ", "), strings.Join(syncs, ", "))
	return err
}
