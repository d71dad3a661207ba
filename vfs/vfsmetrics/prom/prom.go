// Package prom has the metrics of package vfsmetrics scraped by Prometheus.
package prom

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
)

// New returns a provider of meters, and the handler to serve as /metrics, in Prometheus's and OpenMetrics' formats.
// Collectors that are registered with reg are served too; a nil one is new and empty.
//
// Shut the provider down at the end.
func New(reg *prometheus.Registry) (*metric.MeterProvider, http.Handler, error) {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	reader, err := exporter.New(exporter.WithRegisterer(reg), exporter.WithoutScopeInfo())
	if err != nil {
		return nil, nil, err
	}
	handler := promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg, EnableOpenMetrics: true})
	return metric.NewMeterProvider(metric.WithReader(reader)), handler, nil
}
