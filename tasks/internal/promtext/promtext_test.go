package promtext_test

import (
	"fmt"
	"math"

	"github.com/docusnap/asyncvfs/tasks/internal/promtext"
)

func ExampleWriter() {
	var w promtext.Writer
	w.Family("jobs_total", promtext.Counter, "Jobs, by \\ and\nlines.")
	w.Sample("", 3)
	w.Sample(promtext.Labels("kind", "a\"b\\c\nd\xff", "n", "1"), 0.25)
	w.Family("age_seconds", promtext.Gauge, "Age.")
	w.Sample("", math.Inf(1))
	w.Sample(promtext.Labels("of", "none"), math.NaN())
	w.Family("took_seconds", promtext.Histogram, "How long it took.")
	w.Histogram(promtext.Labels("kind", "x"), []float64{0.5, 1}, []uint64{2, 0, 1}, 4.5)
	fmt.Printf("%s", w.Bytes())
	// Output:
	// # HELP jobs_total Jobs, by \\ and\nlines.
	// # TYPE jobs_total counter
	// jobs_total 3
	// jobs_total{kind="a\"b\\c\nd�",n="1"} 0.25
	// # HELP age_seconds Age.
	// # TYPE age_seconds gauge
	// age_seconds +Inf
	// age_seconds{of="none"} NaN
	// # HELP took_seconds How long it took.
	// # TYPE took_seconds histogram
	// took_seconds_bucket{kind="x",le="0.5"} 2
	// took_seconds_bucket{kind="x",le="1"} 2
	// took_seconds_bucket{kind="x",le="+Inf"} 3
	// took_seconds_sum{kind="x"} 4.5
	// took_seconds_count{kind="x"} 3
}
