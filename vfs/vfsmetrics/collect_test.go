package vfsmetrics_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// meters are a provider whose metrics are collected when the test wants to.
func meters(t testing.TB) (*metric.MeterProvider, *metric.ManualReader) {
	reader := metric.NewManualReader()
	p := metric.NewMeterProvider(metric.WithReader(reader))
	t.Cleanup(func() { p.Shutdown(context.Background()) })
	return p, reader
}

// point is a series' name, with its attributes.
func point(name string, set attribute.Set) string {
	var parts []string
	for _, kv := range set.ToSlice() {
		parts = append(parts, string(kv.Key)+"="+kv.Value.String())
	}
	return name + "{" + strings.Join(parts, ",") + "}"
}

// collected is what was collected: values, and, of histograms, counts.
type collected struct {
	values map[string]float64
	sums   map[string]float64 // of histograms
	sets   []attribute.Set
	units  map[string]string // by instrument
}

func collect(t testing.TB, reader *metric.ManualReader) collected {
	t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &data))
	c := collected{map[string]float64{}, map[string]float64{}, nil, map[string]string{}}
	add := func(name string, set attribute.Set, value float64) {
		c.values[point(name, set)] = value
		c.sets = append(c.sets, set)
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			c.units[m.Name] = m.Unit
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Count))
					c.sums[point(m.Name, p.Attributes)] = p.Sum
				}
			default:
				require.Failf(t, "unexpected kind", "%s: %T", m.Name, d)
			}
		}
	}
	return c
}

// openDB opens a connection that the test's end closes.
func openDB(t testing.TB, path string, opts ...vfs.DSNOption) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open(vfs.DSN(path, opts...))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func exec(t testing.TB, c *sqlite3.Conn, sql string) {
	t.Helper()
	require.NoError(t, c.Exec(sql))
}

func stats(t testing.TB, path string) vfs.Statistics {
	t.Helper()
	s, err := vfs.Stats(path)
	require.NoError(t, err)
	return s
}

func tempDB(t testing.TB) string { return filepath.Join(t.TempDir(), "test.db") }

// useDatabase makes every instrument of a database have a value.
func useDatabase(t testing.TB, path string) *sqlite3.Conn {
	t.Helper()
	c := openDB(t, path, vfs.Parameter("max_delay", "1m"), vfs.Parameter("max_pending", "64KiB"))
	exec(t, c, "CREATE TABLE t(x)")
	exec(t, c, "INSERT INTO t VALUES(1)")
	exec(t, c, "PRAGMA wal_checkpoint")
	exec(t, c, "PRAGMA synchronous=normal; INSERT INTO t VALUES(randomblob(100000))") // more than may be pending
	exec(t, c, "INSERT INTO t VALUES(2)")
	return c
}
