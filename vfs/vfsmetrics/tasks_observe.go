package vfsmetrics

import (
	"context"
	"errors"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// storeObserver reads what a store's table holds.
type storeObserver struct {
	store      *tasks.Store
	attributes []attribute.KeyValue

	count, entries, size              metric.Int64ObservableGauge
	age                               metric.Float64ObservableGauge
	misses, shared, computed, evicted metric.Int64ObservableCounter
	all                               []metric.Observable
}

func (o *storeObserver) instruments(meter metric.Meter) error {
	var errs []error
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithDescription(description), metric.WithUnit(unit))
		errs, o.all = append(errs, err), append(o.all, g)
		return g
	}
	counter := func(name, unit, description string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithDescription(description), metric.WithUnit(unit))
		errs, o.all = append(errs, err), append(o.all, c)
		return c
	}
	o.count = gauge("tasks.stored", "{task}", "Tasks in the table.")
	o.entries = gauge("tasks.cache.entries", "{entry}", "Results in the cache.")
	o.size = gauge("tasks.cache.size", "By", "Size of the results in the cache.")
	o.misses = counter("tasks.cache.misses", "{miss}", "Results that the cache didn't have.")
	o.shared = counter("tasks.cache.shared", "{miss}", "Misses that waited for the computation of another call.")
	o.computed = counter("tasks.cache.computed", "{computation}", "Computations that were begun.")
	o.evicted = counter("tasks.cache.evicted", "{entry}", "Results that were deleted to keep the limits.")
	age, err := meter.Float64ObservableGauge("tasks.pending.age", metric.WithUnit("s"),
		metric.WithDescription("Time since the oldest pending task could have run; 0 if there is none."))
	o.age, o.all = age, append(o.all, age)
	return errors.Join(append(errs, err)...)
}

// statuses are told also where there are no tasks: a series that comes and goes can't be alerted on.
var statuses = [...]tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed, tasks.Error}

func (o *storeObserver) collect(ctx context.Context, to metric.Observer) error {
	with := func(more ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(append(more, o.attributes...)...))
	}
	counts, err := o.store.Count(ctx)
	for t, by := range counts {
		for _, s := range statuses {
			to.ObserveInt64(o.count, int64(by[s]), with(keyType.String(string(t)), keyStatus.String(string(s))))
		}
	}
	age, ageErr := o.oldest(ctx, time.Now())
	if ageErr == nil {
		to.ObserveFloat64(o.age, age.Seconds(), with())
	}
	cache, cacheErr := o.store.CacheStats(ctx)
	if cacheErr == nil {
		to.ObserveInt64(o.misses, cache.Misses, with())
		to.ObserveInt64(o.shared, cache.Shared, with())
		to.ObserveInt64(o.computed, cache.Computed, with())
		to.ObserveInt64(o.evicted, cache.Evicted, with())
		to.ObserveInt64(o.entries, int64(cache.Entries), with())
		to.ObserveInt64(o.size, cache.Bytes, with())
	}
	return errors.Join(err, ageErr, cacheErr)
}

// oldestLook is how many of the oldest pending tasks are looked at for one that could run now.
const oldestLook = 100

// oldest returns how long ago the oldest pending task could have run. Where the oldest 100 all wait for their time, it is 0.
func (o *storeObserver) oldest(ctx context.Context, now time.Time) (age time.Duration, err error) {
	list, err := o.store.List(ctx, tasks.Query{Statuses: []tasks.Status{tasks.Pending}, Limit: oldestLook})
	for _, t := range list {
		since := t.CreatedAt
		if t.RunAt.After(since) {
			since = t.RunAt
		}
		age = max(age, now.Sub(since))
	}
	return age, err
}
