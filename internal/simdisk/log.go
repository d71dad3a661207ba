package simdisk

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
)

// lastLog keeps what package vfs has logged last: SQLite drops the causes of errors.
type lastLog struct{ text atomic.Pointer[string] }

// Logged is what package vfs has logged last.
var Logged lastLog

func (l *lastLog) String() string {
	if text := l.text.Load(); text != nil {
		return *text
	}
	return "nothing"
}

// Enabled implements [slog.Handler].
func (l *lastLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (l *lastLog) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%q", a.Key, a.Value)
		return true
	})
	l.text.Store(&text)
	return nil
}

// WithAttrs implements [slog.Handler].
func (l *lastLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements [slog.Handler].
func (l *lastLog) WithGroup(string) slog.Handler { return l }
