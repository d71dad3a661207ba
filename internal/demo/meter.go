package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// meter shows the progress of a run.
type meter struct {
	name  string
	total int
	// count returns how many tasks there are of the run, and how many of them are completed.
	count func(context.Context) (all, done int, err error)
	start time.Time

	w        io.Writer
	terminal bool
}

// isTerminal reports whether w is one: there, a line can be rewritten.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show starts to show the progress. The function that it returns ends it.
func (m *meter) show() (end func()) {
	interval := 2 * time.Second
	if m.terminal {
		interval = 200 * time.Millisecond
	}
	m.start = time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.print(ctx)
			case <-ctx.Done():
				if m.terminal {
					fmt.Fprint(m.w, clearLine)
				}
				return
			}
		}
	}()
	return func() {
		cancel()
		<-stopped
	}
}

// clearLine goes to the start of the line and clears it.
const clearLine = "\r\x1b[K"

func (m *meter) print(ctx context.Context) {
	all, done, err := m.count(ctx)
	if err != nil {
		return // the run itself reports what is wrong
	}
	line := fmt.Sprintf("%-14s  %d tasks created, %d completed of %d, %.0f completed/s", m.name, all, done, m.total,
		float64(done)/time.Since(m.start).Seconds())
	if m.terminal {
		fmt.Fprint(m.w, clearLine+line)
	} else {
		fmt.Fprintln(m.w, line)
	}
}
