package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// chart is a drawn chart.
type chart struct {
	File, Note string
	SVG        []byte
}

// colors are the same in all charts, and can be told apart by the colour-blind.
var colors = map[string]color.Color{
	"async":        color.RGBA{0, 114, 178, 255},
	"async-inline": color.RGBA{86, 180, 233, 255},
	"stock":        color.RGBA{213, 94, 0, 255},
	"stock-wazero": color.RGBA{230, 159, 0, 255},
	"mattn":        color.RGBA{0, 158, 115, 255},
	"modernc":      color.RGBA{204, 121, 167, 255},
	"bbolt":        color.RGBA{120, 120, 120, 255},
	"pebble":       color.RGBA{0, 0, 0, 255},
}

// marks are too: who sees no colours tells them by these.
var marks = map[string]draw.GlyphDrawer{
	"async": draw.CircleGlyph{}, "async-inline": draw.RingGlyph{}, "stock": draw.BoxGlyph{}, "stock-wazero": draw.SquareGlyph{},
	"mattn": draw.PyramidGlyph{}, "modernc": draw.TriangleGlyph{}, "bbolt": draw.CrossGlyph{}, "pebble": draw.PlusGlyph{},
}

func init() {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotter.DefaultFont = plot.DefaultFont
}

// curve is one setup's figures in a chart.
type curve struct {
	name   string
	x      []float64
	values []spread
}

// drawAll draws all charts that there are figures for.
func drawAll(d data) ([]chart, error) {
	var charts []chart
	for _, c := range []struct{ unit, title, file string }{
		{"commits/s", "Commits per second at %s", "throughput"},
		{"p99.9-µs", "p99.9 of commits at %s (ms, log scale)", "p999"},
	} {
		for _, level := range []string{"full", "normal"} {
			for _, group := range []struct {
				name   string
				curves []curve
			}{
				{"", setupCurves(d, level, c.unit)},
				{"-drivers", peerCurves(d, "Drivers", level, c.unit)},
				{"-stores", peerCurves(d, "Stores", level, c.unit)},
			} {
				if len(group.curves) == 0 {
					continue
				}
				title := fmt.Sprintf(c.title, strings.ToUpper(level))
				svg, err := byConnections(title, c.unit, group.curves)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", title, err)
				}
				charts = append(charts, chart{c.file + "-" + level + group.name + ".svg",
					"Rows of 100 bytes, one a commit. Points are medians, the bars reach from the least to the greatest of the runs.", svg})
			}
		}
	}
	overTime, err := drawSeries(d)
	if err != nil {
		return nil, err
	}
	grown, err := drawGrowth(d)
	return append(append(charts, overTime...), grown...), err
}

// insertKeys are of the workload that is charted.
func insertKeys(level string) map[string]string {
	return map[string]string{"kind": "insert", "rows": "1", "size": "100", "level": level}
}

// setupCurves returns a curve for each setup of the matrix, on the real disk.
func setupCurves(d data, level, unit string) []curve {
	keys := insertKeys(level)
	keys["disk"] = "real"
	byName := map[string]*curve{}
	for _, l := range d.find("Workloads", keys) {
		addTo(byName, l.keys["setup"], l, l.values[unit])
	}
	return sorted(byName)
}

// peerCurves returns a curve for each peer, and one for this VFS beside them.
func peerCurves(d data, base, level, unit string) []curve {
	byName := map[string]*curve{}
	seen := map[string]bool{}
	for _, l := range d.find(base, insertKeys(level)) {
		addTo(byName, l.keys["beside"], l, l.values["beside-"+unit])
		if conns := l.keys["conns"]; !seen[conns] {
			seen[conns] = true
			addTo(byName, "async", l, l.values[unit])
		}
	}
	return sorted(byName)
}

func addTo(byName map[string]*curve, name string, l *line, s spread) {
	conns, err := strconv.ParseFloat(l.keys["conns"], 64)
	if err != nil || s.Median <= 0 {
		return
	}
	if byName[name] == nil {
		byName[name] = &curve{name: name}
	}
	c := byName[name]
	if slices.Contains(c.x, conns) {
		return // two files have it
	}
	c.x, c.values = append(c.x, conns), append(c.values, s)
}

func sorted(byName map[string]*curve) (curves []curve) {
	for _, name := range []string{"async", "async-inline", "stock", "stock-wazero", "mattn", "modernc", "bbolt", "pebble"} {
		if c := byName[name]; c != nil {
			curves = append(curves, *c)
		}
	}
	return curves
}

// errorPoints are points with bars.
type errorPoints struct {
	plotter.XYs
	plotter.YErrors
}

// byConnections draws curves over the number of connections.
func byConnections(title, unit string, curves []curve) ([]byte, error) {
	p := newPlot(title, "connections (log scale)")
	by, least, greatest := 1.0, math.Inf(1), 0.0
	if strings.HasSuffix(unit, "-µs") {
		by = 1000
	}
	var xs []float64
	for _, c := range curves {
		var points errorPoints
		for i, s := range c.values {
			if by != 1 && s.Least <= 0 {
				s.Least = s.Median // a run without any; a logarithm has no place for it
			}
			points.XYs = append(points.XYs, plotter.XY{X: c.x[i], Y: s.Median / by})
			points.YErrors = append(points.YErrors, struct{ Low, High float64 }{(s.Median - s.Least) / by, (s.Greatest - s.Median) / by})
			least, greatest = min(least, s.Least/by), max(greatest, s.Greatest/by)
			if !slices.Contains(xs, c.x[i]) {
				xs = append(xs, c.x[i])
			}
		}
		slices.SortFunc(points.XYs, func(a, b plotter.XY) int { return int(a.X - b.X) })
		if err := addCurve(p, c.name, points); err != nil {
			return nil, err
		}
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ticksAt(xs)
	p.X.Min, p.X.Max = slices.Min(xs)*0.85, slices.Max(xs)*1.15
	if by != 1 {
		logY(p, least, greatest)
	} else {
		p.Y.Min, p.Y.Max = 0, greatest*1.05+greatest*0.08*float64(len(curves)) // with room for the legend
		p.Y.Tick.Marker = plot.TickerFunc(linearTicks)
	}
	return svg(p)
}

func addCurve(p *plot.Plot, name string, points errorPoints) error {
	line, dots, err := plotter.NewLinePoints(points.XYs)
	if err != nil {
		return err
	}
	bars, err := plotter.NewYErrorBars(points)
	if err != nil {
		return err
	}
	line.Color, dots.Color, bars.Color = colors[name], colors[name], colors[name]
	line.Width, dots.Radius, dots.Shape = vg.Points(1.5), vg.Points(3.5), marks[name]
	p.Add(line, dots, bars)
	p.Legend.Add(name, line, dots)
	return nil
}

func newPlot(title, x string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, x
	p.Title.TextStyle.Font.Size, p.Title.Padding = 13, vg.Points(8)
	p.BackgroundColor = color.White
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{225}
	p.Add(grid)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding, p.Legend.XOffs = vg.Points(2), vg.Points(6)
	return p
}

// logY makes the scale of y logarithmic, with room for the legend.
func logY(p *plot.Plot, least, greatest float64) {
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(logTicks)
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(least)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(greatest)+0.5))
}

func ticksAt(xs []float64) plot.Ticker {
	return plot.TickerFunc(func(float64, float64) (ticks []plot.Tick) {
		for _, x := range xs {
			ticks = append(ticks, plot.Tick{Value: x, Label: short(x)})
		}
		return ticks
	})
}

// linearTicks are five or so, at round numbers.
func linearTicks(least, greatest float64) (ticks []plot.Tick) {
	step := math.Pow(10, math.Floor(math.Log10(greatest-least)))
	for _, by := range []float64{0.1, 0.2, 0.5, 1} {
		if (greatest-least)/(step*by) <= 7 {
			step *= by
			break
		}
	}
	for i := math.Ceil(least / step); i*step <= greatest*1.001; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: short(i * step)})
	}
	return ticks
}

func logTicks(least, greatest float64) (ticks []plot.Tick) {
	for ten := math.Pow(10, math.Floor(math.Log10(least))); ten <= greatest*1.001; ten *= 10 {
		ticks = append(ticks, plot.Tick{Value: ten, Label: short(ten)})
		for i := 2.0; i < 10 && ten*i <= greatest; i++ {
			ticks = append(ticks, plot.Tick{Value: ten * i})
		}
	}
	return ticks
}

// svg returns the chart as SVG, for readers who may not have the font.
func svg(p *plot.Plot) ([]byte, error) {
	c := vgsvg.New(6.6*vg.Inch, 4*vg.Inch)
	p.Draw(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")), nil
}
