package vfs

import (
	"context"
	"os"
	"os/signal"
	"sync"
)

// FlushOnSignal makes every commit durable when the process is told to end, or the power is failing:
// on the first SIGTERM, SIGINT or, on Linux, SIGPWR it calls [SetMode] with [Sync] and then lets the signal
// do what it would have done. A second signal doesn't wait for the flush to end.
// Other signals than these three may be given.
//
// To let the signal go its way it sends it again, to who else handles it too: a program that
// handles the signal itself calls SetMode in its handler instead.
// A signal that the process ignores is still ignored. On systems other than Unix the process exits with status 1.
//
// stop ends it.
func FlushOnSignal(signals ...os.Signal) (stop func()) {
	if len(signals) == 0 {
		signals = endSignals
	}
	ignored := map[os.Signal]bool{}
	for _, s := range signals {
		ignored[s] = signal.Ignored(s)
	}
	c := make(chan os.Signal, 2)
	stopped := make(chan struct{})
	signal.Notify(c, signals...)
	go func() {
		for {
			select {
			case <-stopped:
				return
			case s := <-c:
				done := make(chan struct{})
				go func() {
					defer close(done)
					// An error is logged where it happens, and there is nobody to tell.
					SetMode(context.Background(), Sync)
				}()
				select {
				case <-done:
				case s = <-c:
				}
				if !ignored[s] {
					signal.Stop(c)
					raise(s)
					return
				}
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(c)
		close(stopped)
	})
}
