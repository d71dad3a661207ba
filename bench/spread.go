package bench

import (
	"slices"
	"strings"
)

// Spread is what several runs, or pairs of runs, came to, by unit.
type Spread map[string][]float64

// Add adds a run's metrics.
func (s *Spread) Add(prefix string, metrics map[string]float64) {
	if *s == nil {
		*s = Spread{}
	}
	for unit, v := range metrics {
		(*s)[prefix+unit] = append((*s)[prefix+unit], v)
	}
}

// Beside adds a pair of runs: the metrics of both, and the ratios of one to the other.
func (s *Spread) Beside(own, other Result) {
	s.Add("", own.Metrics())
	s.Add("beside-", other.Metrics())
	a, b := own.Main(), other.Main()
	for unit, pair := range map[string][2]float64{
		"x-rate":   {own.Rate(), other.Rate()},
		"x-p50":    {a.P50, b.P50},
		"x-p99.9":  {a.P999, b.P999},
		"x-p99.99": {a.P9999, b.P9999},
	} {
		if pair[1] > 0 { // else it was too slow for a single call
			s.Add(unit, map[string]float64{"": pair[0] / pair[1]})
		}
	}
}

// Report reports, of what is compared, the median under its unit, and the least and the greatest under min- and max-;
// of what has a bound, the greatest; of the rest, the median.
func (s Spread) Report(b interface{ ReportMetric(v float64, unit string) }) {
	for unit, values := range s {
		sorted := slices.Sorted(slices.Values(values))
		least, greatest := sorted[0], sorted[len(sorted)-1]
		switch base := strings.TrimPrefix(unit, "beside-"); {
		case slices.Contains([]string{"wal-MiB", "window-µs", "held-µs"}, base):
			b.ReportMetric(greatest, unit)
			continue
		case strings.HasPrefix(unit, "x-"), slices.Contains([]string{"commits/s", "reads/s", "p99.9-µs", "p99.99-µs", "slowest-µs"}, base):
			b.ReportMetric(least, "min-"+unit)
			b.ReportMetric(greatest, "max-"+unit)
		}
		b.ReportMetric(Percentile(sorted, 50), unit)
	}
}
