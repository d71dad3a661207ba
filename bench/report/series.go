package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// drawSeries draws what there are series of: latencies, and at NORMAL the loss window.
func drawSeries(d data) (charts []chart, err error) {
	var scenes []point
	for _, p := range d.points {
		if !slices.ContainsFunc(scenes, func(q point) bool { return q.scene == p.scene && q.level == p.level }) {
			scenes = append(scenes, p)
		}
	}
	for i, sc := range scenes {
		what := fmt.Sprintf("%s at %s", sc.scene, strings.ToUpper(sc.level))
		svg, err := overTime("Latency (ms, log scale): "+what, d, sc, []measure{
			{"longest", func(p point) float64 { return p.longest }, nil},
			{"median", func(p point) float64 { return p.median }, []vg.Length{vg.Points(3), vg.Points(2)}},
		})
		if err != nil {
			return nil, err
		}
		charts = append(charts, chart{fmt.Sprintf("latency-%d-%s.svg", i+1, sc.level),
			"The longest and the median of each tenth of a second, across checkpoints.", svg})
		if sc.level != "normal" {
			continue
		}
		svg, err = overTime("Loss window (ms, log scale): "+what, d, sc, []measure{
			{"", func(p point) float64 { return p.windowed }, nil},
		})
		if err != nil {
			return nil, err
		}
		charts = append(charts, chart{fmt.Sprintf("window-%d-%s.svg", i+1, sc.level),
			"For how long a commit that had returned wasn't yet durable: the longest of each tenth of a second, as the syncs of the WAL tell.", svg})
	}
	return charts, nil
}

// measure is a figure of a point, and the dashes that it is drawn with.
type measure struct {
	name   string
	of     func(point) float64
	dashes []vg.Length
}

// overTime draws measures of a scene over its time, of each setup; points without commits are left out.
func overTime(title string, d data, sc point, measures []measure) ([]byte, error) {
	p := newPlot(title, "seconds")
	p.Legend.Left, p.Legend.XOffs = false, -p.Legend.XOffs
	least, greatest := math.Inf(1), 0.0
	for _, setup := range []string{"async", "stock"} {
		for _, m := range measures {
			var points plotter.XYs
			for _, q := range d.points {
				if q.scene == sc.scene && q.level == sc.level && q.setup == setup && q.commits > 0 && m.of(q) > 0 {
					y := m.of(q) / 1000
					points = append(points, plotter.XY{X: q.seconds, Y: y})
					least, greatest = min(least, y), max(greatest, y)
				}
			}
			if len(points) == 0 {
				continue
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", title, err)
			}
			line.Color, line.Width, line.Dashes = colors[setup], vg.Points(1.3), m.dashes
			p.Add(line)
			p.Legend.Add(strings.TrimSpace(setup+" "+m.name), line)
		}
	}
	if greatest == 0 {
		return nil, fmt.Errorf("%s: no points", title)
	}
	logY(p, least, greatest)
	p.X.Min = 0
	p.X.Tick.Marker = plot.TickerFunc(linearTicks)
	return svg(p)
}
