package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// drawGrowth draws how the calls of package tasks grow with tasks that they don't concern:
// relative to the same call on an empty table, beside those of the status that costs most.
func drawGrowth(d data) ([]chart, error) {
	lines := d.find("Growth", nil)
	if len(lines) == 0 {
		return nil, nil
	}
	worst := map[string]map[float64]float64{}
	var calls []string
	var xs []float64
	for _, l := range lines {
		n, err := strconv.ParseFloat(l.keys["tasks"], 64)
		if err != nil || n == 0 || l.keys["waiters"] != "0" {
			continue
		}
		call := l.keys["call"]
		if worst[call] == nil {
			worst[call] = map[float64]float64{}
			calls = append(calls, call)
		}
		worst[call][n] = max(worst[call][n], l.values["x-empty"].Median)
		if !slices.Contains(xs, n) {
			xs = append(xs, n)
		}
	}
	if len(xs) == 0 {
		return nil, nil
	}
	slices.Sort(xs)
	const title = "Time of a call beside other tasks, relative to an empty table (log scale)"
	p := newPlot(title, "other tasks (log scale)")
	least, greatest := math.Inf(1), 0.0
	for i, call := range calls {
		var points plotter.XYs
		for _, x := range xs {
			if y := worst[call][x]; y > 0 {
				points = append(points, plotter.XY{X: x, Y: y})
				least, greatest = min(least, y), max(greatest, y)
			}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", title, err)
		}
		line.Color, dots.Color, dots.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		line.Width, line.Dashes = vg.Points(1.3), plotutil.Dashes(i/7)
		p.Add(line, dots)
		p.Legend.Add(call, line, dots)
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ticksAt(xs)
	p.X.Min, p.X.Max = xs[0]*0.85, xs[len(xs)-1]*4 // with room for the legend
	p.Legend.Left, p.Legend.XOffs = false, -p.Legend.XOffs
	logY(p, least, greatest)
	image, err := svg(p)
	if err != nil {
		return nil, err
	}
	return []chart{{"tasks-growth.svg", "Medians, beside tasks of the status that costs most.", image}}, nil
}
