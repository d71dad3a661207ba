package taskd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/docusnap"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/docusnap/asyncvfs/vfs"
)

// serve runs until the context is done, or something fails that can't go on.
func serve(ctx context.Context, stores Openers, c *config, stdout, stderr io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: c.logLevel}))
	defer flushOnPowerFailure()()
	// What was begun is never interrupted by the signal itself.
	working := context.WithoutCancel(ctx)
	counts := newTally(append([]tasks.Type{tasks.Document, tasks.Form, tasks.FormFilling}, c.types...))
	st, err := stores.open(ctx, c.store, tasks.Types(c.types...), tasks.Logger(log), tasks.WithHooks(counts.hooks()))
	if err != nil {
		return err
	}
	defer func() {
		if e := st.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close the store: %w", e))
		}
	}()
	h, err := taskhttp.New(st, c.authorizer(), taskhttp.Logger(log), taskhttp.Metrics(&metrics{counts, st, log}),
		taskhttp.MaxStreams(c.streams.ofClient, c.streams.inAll), taskhttp.MaxWaiting(c.polls.ofClient, c.polls.inAll))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return err
	}
	server := taskhttp.NewServer(c.listen, h)
	if c.docusnap {
		if server.Handler, err = withDocuSnap(st, h, log); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var background sync.WaitGroup
	start := func(what string, f func(context.Context) error) {
		background.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	start("serve", func(context.Context) error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	if c.keep > 0 {
		start("clean up", func(ctx context.Context) error {
			return st.RunJanitor(ctx, tasks.Janitor{Default: c.keep, Every: min(c.keep, time.Hour)})
		})
	}
	if c.demo {
		if err := startDemo(ctx, c, st, start); err != nil {
			listener.Close()
			stop(err)
			background.Wait()
			return err
		}
	}
	c.announce(stdout, listener.Addr())
	<-ctx.Done()
	failed := context.Cause(ctx)
	if errors.Is(failed, context.Canceled) {
		failed = nil // that was the signal
	}
	return errors.Join(failed, c.end(working, log, server, &background))
}

// announce says where it is to be found.
func (c *config) announce(w io.Writer, at net.Addr) {
	fmt.Fprintf(w, "http://%s/\n", at)
	if c.printed != "" {
		fmt.Fprintf(w, "token: %s\n", c.printed)
	}
}

// end has everything come to its end, within the grace period.
func (c *config) end(ctx context.Context, log *slog.Logger, server *http.Server, background *sync.WaitGroup) error {
	log.Info("ending", "grace", c.grace)
	ctx, cancel := context.WithTimeout(ctx, c.grace)
	defer cancel()
	// Power may be about to fail: what was told or not, from here on all of it is durable as soon as it is made.
	flushed := make(chan error, 1)
	go func() { flushed <- vfs.SetMode(ctx, vfs.Sync) }()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests are cut off")
		err = server.Close()
	}
	background.Wait()
	return errors.Join(err, <-flushed)
}

// docusnapPath is where the API of DocuSnap's app is, as on its own server.
const docusnapPath = "/api/v1"

// withDocuSnap serves the API of DocuSnap's app beside a handler.
func withDocuSnap(st *tasks.Store, h http.Handler, log *slog.Logger) (http.Handler, error) {
	d, err := docusnap.New(st, docusnap.Open(), docusnap.Logger(log))
	if err != nil {
		return nil, err
	}
	api := http.StripPrefix(docusnapPath, d)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, docusnapPath+"/") {
			api.ServeHTTP(w, r)
		} else {
			h.ServeHTTP(w, r) // which a ServeMux would clean the path for
		}
	}), nil
}
