package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// meter shows the progress of a run.
type meter struct {
	name           string
	total          int
	files, commits atomic.Int64
	start          time.Time

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
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.print()
			case <-stop:
				if m.terminal {
					fmt.Fprint(m.w, clearLine)
				}
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// clearLine goes to the start of the line and clears it.
const clearLine = "\r\x1b[K"

func (m *meter) print() {
	line := fmt.Sprintf("%-12s  %d of %d files, %.0f commits/s", m.name, m.files.Load(), m.total,
		float64(m.commits.Load())/time.Since(m.start).Seconds())
	if m.terminal {
		fmt.Fprint(m.w, clearLine+line)
	} else {
		fmt.Fprintln(m.w, line)
	}
}
