package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	d, err := read("testdata")
	require.NoError(t, err)
	require.Len(t, d.lines, 9)
	require.Len(t, d.points, 6)
	require.Equal(t, "go test -short -bench . ./bench", d.files[0].Command)
	require.Equal(t, "go run ./bench/series -out series.csv", d.files[2].Command)

	stock := d.find("Workloads", map[string]string{"setup": "stock", "conns": "1"})
	require.Len(t, stock, 1)
	require.Equal(t, spread{8300, 8000, 8400, 3}, stock[0].values["commits/s"])
	beside := d.find("Beside", nil)
	require.Equal(t, spread{15, 14, 16, 0}, beside[0].values["x-rate"])
	require.Equal(t, "0.02 (0.01–0.03)", beside[0].text(1, "x-p99.9"))
	require.Equal(t, "13.8", beside[0].text(1000, "held-µs"))
	require.Empty(t, beside[0].text(1, "window-µs"))
}

func TestGoals(t *testing.T) {
	d, err := read("testdata")
	require.NoError(t, err)
	all := map[string][]outcome{}
	for _, g := range goals() {
		all[g.Workload+" beside "+g.Beside] = g.outcomes(d)
	}
	require.Equal(t, []outcome{{"≥ 12 ×", "15 × (14–16)", true, true}, {"p99.9 ≤ 1/100", "0.02 (0.01–0.03)", true, false}},
		all["FULL, 64 connections beside stock FULL"])
	require.Equal(t, []outcome{{"≥ 1 ×", "2.6 × (2–3)", true, true}, {"p99.9 ≤ 1 ×", "1.5 (1–2)", true, false}},
		all["FULL, 8 connections beside mattn (cgo), FULL"])
	require.Equal(t, []outcome{{Goal: "≥ 0.97 ×", Measured: "not measured: make bench"}}, all["FULL, 1 connection beside stock FULL"])
	require.True(t, all["memory per open connection beyond stock beside stock"][0].Met)
	require.False(t, all["memory per open connection beyond stock beside stock"][1].Known)
}

// The page holds all that it shows, and what it got as text is text in it.
func TestReport(t *testing.T) {
	out := t.TempDir()
	require.NoError(t, run("testdata", out, true))
	page, err := os.ReadFile(filepath.Join(out, "report.html"))
	require.NoError(t, err)
	html := string(page)
	require.Contains(t, html, "A &lt;b&gt;fast&lt;/b&gt; one")
	require.Contains(t, html, "go test -short -bench . ./bench")
	require.Contains(t, html, "median 110 (110–120), p99 170 (170–180), slowest 900 (900–950)")
	require.Contains(t, html, "2026-01-02T03:04Z, 0123abc")
	require.Contains(t, html, "8,300 (8,000–8,400)")
	require.Contains(t, html, `<span class="met">met</span>`)
	require.Contains(t, html, `<span class="missed">missed</span>`)
	require.Contains(t, html, "not measured: make bench")
	require.NotContains(t, html, "in memory, not on a disk")
	require.NotRegexp(t, `(?:src|href)="`, html)

	charts, err := filepath.Glob(filepath.Join(out, "*.svg"))
	require.NoError(t, err)
	require.Equal(t, len(charts), strings.Count(html, "<svg"))
	var names []string
	for _, path := range charts {
		names = append(names, filepath.Base(path))
		wellFormed(t, path)
	}
	require.Equal(t, []string{
		"latency-1-normal.svg", "latency-2-full.svg", "p999-full.svg", "throughput-full-drivers.svg",
		"throughput-full-stores.svg", "throughput-full.svg", "window-1-normal.svg"}, names)
}

func wellFormed(t *testing.T, path string) {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	for d := xml.NewDecoder(f); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err, path)
	}
}

func TestReportCharts(t *testing.T) {
	out := t.TempDir()
	require.NoError(t, run("testdata", out, false))
	require.NoFileExists(t, filepath.Join(out, "report.html"))
	require.FileExists(t, filepath.Join(out, "throughput-full.svg"))
}

func TestNothingToReport(t *testing.T) {
	require.ErrorContains(t, run(t.TempDir(), t.TempDir(), true), "there is nothing to report")
}

func TestMemoryIsNoDisk(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	text, err := os.ReadFile("testdata/bench.txt")
	require.NoError(t, err)
	text = []byte(strings.ReplaceAll(string(text), "ext4", "tmpfs"))
	require.NoError(t, os.WriteFile(filepath.Join(in, "bench.txt"), text, 0o600))
	require.NoError(t, run(in, out, true))
	page, err := os.ReadFile(filepath.Join(out, "report.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "in memory, not on a disk")
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0054321: "0.00543", 0.5: "0.5", 1.0 / 3: "0.333", 12.34: "12.3", 100: "100",
		999.6: "1,000", 1234.5: "1,234", 1234567: "1,234,567", -1234: "-1,234"} {
		require.Equal(t, want, short(v))
	}
}

// TestHalfASpread: a benchmark may say the least of its runs and not the greatest.
func TestHalfASpread(t *testing.T) {
	got := spreads([]map[string]float64{{"x": 2, "min-x": 1, "y": 5, "max-y": 6}, {"x": 3, "min-x": 2, "y": 4, "max-y": 7}})
	require.Equal(t, spread{Median: 2, Least: 1, Greatest: 3}, got["x"])
	require.Equal(t, spread{Median: 4, Least: 4, Greatest: 7}, got["y"])
}
