package vfsmetrics

import (
	"context"
	"maps"

	"github.com/docusnap/asyncvfs/tasks"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// maxLabel is how long a label's value may be. A longer trace state is left out, as the standard allows.
//
// https://www.w3.org/TR/trace-context/#tracestate-limits
const maxLabel = 255

var traceContext propagation.TraceContext

// TraceLabels returns labels with the trace context of ctx added, as traceparent and tracestate: create a task with them,
//
//	st.Create(ctx, id, t, tasks.WithLabels(vfsmetrics.TraceLabels(ctx, labels)))
//
// and [Tracing] finds it. A task may have up to [tasks.MaxLabels] labels, these among them. labels may be nil, and isn't changed.
func TraceLabels(ctx context.Context, labels map[string]string) map[string]string {
	all := maps.Clone(labels)
	if all == nil {
		all = map[string]string{}
	}
	carrier := propagation.MapCarrier{}
	traceContext.Inject(ctx, carrier)
	for name, value := range carrier {
		if value != "" && len(value) <= maxLabel {
			all[name] = value
		}
	}
	return all
}

// Tracing returns middleware for [tasks.Middleware]: each attempt is a span of kind consumer, a child of the span in which the task
// was created with [TraceLabels], or else a root. The handler's context has it. A failed attempt's span has the error.
//
// The task's id is an attribute of the span, which is no metric.
func Tracing(p trace.TracerProvider) func(tasks.Handler) tasks.Handler {
	tracer := p.Tracer(scopeTasks)
	return func(next tasks.Handler) tasks.Handler {
		return func(ctx context.Context, task tasks.Info) (result any, err error) {
			if remote := remoteSpan(task.Labels); remote.IsValid() {
				ctx = trace.ContextWithRemoteSpanContext(ctx, remote)
			}
			ctx, span := tracer.Start(ctx, "process "+string(task.Type),
				trace.WithSpanKind(trace.SpanKindConsumer),
				trace.WithAttributes(
					attribute.String("tasks.id", task.ID),
					keyType.String(string(task.Type)),
					attribute.Int("tasks.attempt", task.Attempts),
				))
			returned := false
			defer func() {
				if !returned { // it panics, which is reported as an error
					span.SetStatus(codes.Error, "panic")
				}
				span.End()
			}()
			result, err = next(ctx, task)
			returned = true
			if err != nil {
				span.RecordError(err)
				span.SetStatus(codes.Error, err.Error())
			}
			return result, err
		}
	}
}

// remoteSpan returns the span in which a task was created, if its labels say.
func remoteSpan(labels tasks.Labels) trace.SpanContext {
	carrier := propagation.MapCarrier(labels.Map())
	return trace.SpanContextFromContext(traceContext.Extract(context.Background(), carrier))
}
