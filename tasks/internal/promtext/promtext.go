// Package promtext writes metrics in Prometheus' text format.
//
// It is for programs that are to need no other module; where that is no matter, package vfsmetrics/prom has more.
//
// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
package promtext

import (
	"bytes"
	"strconv"
	"strings"
)

// ContentType is that of the format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Kind is what a family's samples are.
type Kind string

// The kinds that are written.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Writer puts a text together. The samples of a family are to come right after it.
type Writer struct {
	text bytes.Buffer
	name string // of the family
}

// Bytes returns what was written.
func (w *Writer) Bytes() []byte { return w.text.Bytes() }

// Family begins a family of metrics.
func (w *Writer) Family(name string, kind Kind, help string) {
	w.name = name
	w.text.WriteString("# HELP " + name + " " + escapeHelp.Replace(help) + "\n# TYPE " + name + " " + string(kind) + "\n")
}

// Sample writes a value of the family, whose labels are those that [Labels] returns.
func (w *Writer) Sample(labels string, value float64) { w.sample(w.name, labels, value) }

func (w *Writer) sample(name, labels string, value float64) {
	w.text.WriteString(name)
	if labels != "" {
		w.text.WriteString("{" + labels + "}")
	}
	w.text.WriteByte(' ')
	w.text.Write(strconv.AppendFloat(w.text.AvailableBuffer(), value, 'g', -1, 64)) // also of +Inf and NaN
	w.text.WriteByte('\n')
}

// Histogram writes a histogram of the family: counts are how many values each of the bounds has that none of those before it has,
// and, the last one, how many are greater than all.
func (w *Writer) Histogram(labels string, bounds []float64, counts []uint64, sum float64) {
	var total uint64
	for i, n := range counts {
		total += n
		bound := "+Inf"
		if i < len(bounds) {
			bound = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		with := Labels("le", bound)
		if labels != "" {
			with = labels + "," + with
		}
		w.sample(w.name+"_bucket", with, float64(total))
	}
	w.sample(w.name+"_sum", labels, sum)
	w.sample(w.name+"_count", labels, float64(total))
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// Labels returns labels as they are written, given names and values in pairs.
func Labels(pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i] + `="` + escapeLabel.Replace(strings.ToValidUTF8(pairs[i+1], "\uFFFD")) + `"`)
	}
	return b.String()
}
