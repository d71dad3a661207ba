// Package taskd is the body of the programs that serve a table of tasks over HTTP: flags, a store, workers if any, an orderly end.
// A program says which stores it opens by a URL.
package taskd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Main is all of a program, given the stores that it opens by a URL, by the scheme of that. It doesn't return.
func Main(stores Openers) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// From then on a second signal kills at once.
	context.AfterFunc(ctx, stop)
	os.Exit(Run(ctx, stores, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// Run is [Main] until the context is done. It returns the exit status.
func Run(ctx context.Context, stores Openers, args []string, env func(string) (string, bool), stdout, stderr io.Writer) int {
	c, err := configure(stores, args, env, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "taskd:", err)
		return 2
	}
	if err := serve(ctx, stores, c, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "taskd:", err)
		return 1
	}
	return 0
}
