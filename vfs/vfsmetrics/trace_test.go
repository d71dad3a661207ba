package vfsmetrics_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// TestTrace: an attempt is a child of the span in which its task was created, and so are the spans of its handler.
func TestTrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tracer := p.Tracer("test")
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), tasks.MaxAttempts(1))
	require.NoError(t, err)
	defer st.Close()

	ctx, request := tracer.Start(t.Context(), "request")
	own := map[string]string{"customer": "7"}
	require.NoError(t, st.Create(ctx, "traced", tasks.Document, tasks.WithLabels(vfsmetrics.TraceLabels(ctx, own))))
	request.End()
	require.Equal(t, map[string]string{"customer": "7"}, own)
	require.NoError(t, st.Create(ctx, "untraced", tasks.Form))
	require.NoError(t, st.Create(t.Context(), "panics", tasks.FormFilling, tasks.WithLabels(vfsmetrics.TraceLabels(t.Context(), nil))))
	require.NoError(t, st.Create(t.Context(), "forged", tasks.Form, tasks.WithLabels(map[string]string{"traceparent": "00-no-trace"})))

	run, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- st.Run(run, map[tasks.Type]tasks.Handler{
			tasks.Document: func(ctx context.Context, task tasks.Info) (any, error) {
				_, inner := tracer.Start(ctx, "inner")
				inner.End()
				return task.Labels.Get("customer"), nil
			},
			tasks.Form:        func(context.Context, tasks.Info) (any, error) { return nil, errors.New("no such form") },
			tasks.FormFilling: func(context.Context, tasks.Info) (any, error) { panic("no such field") },
		}, 1, tasks.Middleware(vfsmetrics.Tracing(p)))
	}()
	for _, id := range []string{"traced", "untraced", "panics", "forged"} {
		_, err := st.Wait(t.Context(), id)
		require.NoError(t, err)
	}
	cancel()
	<-done

	byTask := map[string]sdktrace.ReadOnlySpan{}
	var inner sdktrace.ReadOnlySpan
	for _, s := range spans.Ended() {
		for _, kv := range s.Attributes() {
			if kv.Key == "tasks.id" {
				byTask[kv.Value.AsString()] = s
			}
		}
		if s.Name() == "inner" {
			inner = s
		}
	}
	require.Len(t, byTask, 4)
	traced := byTask["traced"]
	require.Equal(t, request.SpanContext().TraceID(), traced.SpanContext().TraceID())
	require.Equal(t, request.SpanContext().SpanID(), traced.Parent().SpanID())
	require.True(t, traced.Parent().IsRemote())
	require.Equal(t, trace.SpanKindConsumer, traced.SpanKind())
	require.Equal(t, "process document", traced.Name())
	require.Equal(t, codes.Unset, traced.Status().Code)
	require.Equal(t, traced.SpanContext().SpanID(), inner.Parent().SpanID())

	require.False(t, byTask["untraced"].Parent().IsValid())
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: "no such form"}, byTask["untraced"].Status())
	require.Equal(t, codes.Error, byTask["panics"].Status().Code)
	require.False(t, byTask["forged"].Parent().IsValid())
}

// TestTraceLabels: a trace state that is longer than a label may be is left out, and the task can be created.
func TestTraceLabels(t *testing.T) {
	require.Empty(t, vfsmetrics.TraceLabels(t.Context(), nil))
	state, err := trace.ParseTraceState("short=1")
	require.NoError(t, err)
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state})
	labels := vfsmetrics.TraceLabels(trace.ContextWithSpanContext(t.Context(), sc), map[string]string{"a": "b"})
	require.Equal(t, map[string]string{"a": "b", "tracestate": "short=1", "traceparent": "00-01000000000000000000000000000000-0200000000000000-01"}, labels)
	long, err := trace.ParseTraceState("long=" + strings.Repeat("x", 251))
	require.NoError(t, err)
	labels = vfsmetrics.TraceLabels(trace.ContextWithSpanContext(t.Context(), sc.WithTraceState(long)), nil)
	require.Len(t, labels, 1)
}
