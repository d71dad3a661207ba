package vfsmetrics

import (
	"context"
	"errors"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// taskBounds are the bounds of the histograms of tasks, in seconds.
var taskBounds = []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}

// Tasks are the instruments of package tasks. Several stores may share them.
type Tasks struct {
	meter metric.Meter

	created, claimed, finished, attempts, leasesLost, stuck, trouble, hits metric.Int64Counter
	queue, attempt, whole                                                  metric.Float64Histogram
}

// NewTasks makes the instruments. The error is the provider's.
func NewTasks(p metric.MeterProvider) (*Tasks, error) {
	m := &Tasks{meter: p.Meter(scopeTasks)}
	var errs []error
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := m.meter.Int64Counter(name, metric.WithDescription(description), metric.WithUnit(unit))
		errs = append(errs, err)
		return c
	}
	histogram := func(name, description string) metric.Float64Histogram {
		h, err := m.meter.Float64Histogram(name, metric.WithDescription(description), metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(taskBounds...))
		errs = append(errs, err)
		return h
	}
	m.created = counter("tasks.created", "{task}", "Tasks that were created.")
	m.claimed = counter("tasks.claimed", "{task}", "Times that a task was claimed.")
	m.finished = counter("tasks.finished", "{task}", "Tasks that were completed or have failed for good.")
	m.attempts = counter("tasks.attempts", "{attempt}", "Attempts that have ended.")
	m.leasesLost = counter("tasks.leases.lost", "{lease}", "Tasks that weren't their handler's any more.")
	m.stuck = counter("tasks.handlers.stuck", "{handler}", "Handlers that didn't return though their context was done.")
	m.trouble = counter("tasks.trouble", "{error}", "Errors of claims and reports after which a worker goes on.")
	m.hits = counter("tasks.cache.hits", "{hit}", "Results that the cache had.")
	m.queue = histogram("tasks.queue.duration", "Time that tasks waited for a worker, since they were created or were to run.")
	m.attempt = histogram("tasks.attempt.duration", "Duration of handlers.")
	m.whole = histogram("tasks.duration", "Time from a task's creation to its end.")
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return m, nil
}

// What came of an attempt.
const (
	outcomeCompleted = "completed"
	outcomeFailed    = "failed"  // for good
	outcomeRetry     = "retry"   // it is tried again
	outcomeSnoozed   = "snoozed" // and that counts as no attempt
)

func outcome(i tasks.AttemptEndedInfo) string {
	switch {
	case i.Status == tasks.Completed:
		return outcomeCompleted
	case i.Status.Final():
		return outcomeFailed
	case i.Uncounted:
		return outcomeSnoozed
	default:
		return outcomeRetry
	}
}

// Hooks measures what a store does: set them by [tasks.WithHooks].
func (m *Tasks) Hooks() tasks.Hooks {
	return tasks.Hooks{
		Created: func(ctx context.Context, i tasks.CreatedInfo) { m.created.Add(ctx, 1, typed(i.Type)) },
		Claimed: func(ctx context.Context, i tasks.ClaimedInfo) {
			m.claimed.Add(ctx, 1, typed(i.Task.Type))
			m.queue.Record(ctx, i.Waited.Seconds(), typed(i.Task.Type))
		},
		AttemptEnded: func(ctx context.Context, i tasks.AttemptEndedInfo) {
			with := typed(i.Task.Type, keyOutcome.String(outcome(i)))
			m.attempts.Add(ctx, 1, with)
			if i.Took > 0 {
				m.attempt.Record(ctx, i.Took.Seconds(), with)
			}
			if i.Status.Final() {
				m.whole.Record(ctx, max(0, time.Since(i.Task.CreatedAt).Seconds()), with)
			}
		},
		Finished: func(ctx context.Context, i tasks.FinishedInfo) {
			m.finished.Add(ctx, 1, typed(i.Type, keyStatus.String(string(i.Status)), keyCancelled.Bool(i.Cancelled)))
		},
		LeaseLost: func(ctx context.Context, i tasks.LeaseLostInfo) { m.leasesLost.Add(ctx, 1, typed(i.Task.Type)) },
		CacheHit:  func(ctx context.Context, i tasks.CacheHitInfo) { m.hits.Add(ctx, 1, typed(i.Type)) },
		Stuck: func(ctx context.Context, i tasks.StuckInfo) {
			if !i.Returned {
				m.stuck.Add(ctx, 1, typed(i.Task.Type))
			}
		},
		Trouble: func(ctx context.Context, i tasks.TroubleInfo) {
			op := "claim"
			if i.Task != nil {
				op = "report"
			}
			m.trouble.Add(ctx, 1, metric.WithAttributes(attribute.String("tasks.operation", op)))
		},
	}
}

// typed returns the attributes of a task. Its id is none of them.
func typed(t tasks.Type, more ...attribute.KeyValue) metric.MeasurementOption {
	if t == "" {
		t = "unknown" // to the call
	}
	return metric.WithAttributeSet(attribute.NewSet(append(more, keyType.String(string(t)))...))
}

// Observe reads from a store, each time that somebody collects, how many tasks there are, how old the oldest is that could run,
// and how the cache does, until stop is called. attributes tell stores apart, where several are observed.
//
// It needs three statements of the store, within the collection's context. What fails is the collection's error.
func (m *Tasks) Observe(st *tasks.Store, attributes ...attribute.KeyValue) (stop func(), err error) {
	o := &storeObserver{store: st, attributes: attributes}
	if err := o.instruments(m.meter); err != nil {
		return nil, err
	}
	r, err := m.meter.RegisterCallback(o.collect, o.all...)
	if err != nil {
		return nil, err
	}
	return func() { r.Unregister() }, nil
}
