package soakhttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
)

const (
	secret    = "soak-0123456789abcdef00"
	retention = 2 * time.Minute // of tasks that are done
	grace     = 20 * time.Second
	tooSlow   = 2 * time.Second // for a body to be sent, and for an event to be taken off
)

// input is what a task is created with, and its result.
type input struct {
	Text   string `json:"text"`
	Millis int    `json:"millis"` // that it takes
	Fails  int    `json:"fails"`  // attempts that fail before one succeeds
}

// serve is the server's process: it serves the tasks of a file until its input ends. To each line of it it answers with what it has left.
func serve(path, fault string) (err error) {
	ctx := context.Background()
	st, err := tasks.Open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	h, err := taskhttp.New(st, taskhttp.Tokens(taskhttp.Token{Secret: secret, Principal: taskhttp.Principal{Name: "soak", Rights: taskhttp.Admin}}),
		taskhttp.Logger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))),
		taskhttp.ClientTime(tooSlow, tooSlow), taskhttp.Heartbeat(500*time.Millisecond), taskhttp.MaxWait(5*time.Second),
		taskhttp.MaxStreams(5000, 5000), taskhttp.MaxWaiting(5000, 5000))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := taskhttp.NewServer("", h)
	server.Handler = faulty(fault, st, h)
	var conns atomic.Int64
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			conns.Add(-1)
		}
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	failed := make(chan error, 3)
	start := func(f func() error) {
		background.Go(func() {
			if err := f(); err != nil && running.Err() == nil {
				failed <- err
			}
		})
	}
	start(func() error { return server.Serve(listener) })
	start(func() error {
		return st.Run(running, map[tasks.Type]tasks.Handler{tasks.Document: work, tasks.Form: work}, 8, tasks.Grace(time.Second))
	})
	start(func() error {
		return st.RunJanitor(running, tasks.Janitor{Every: 5 * time.Second, Default: retention})
	})
	fmt.Printf("serves %s\n", listener.Addr())

	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("ended by itself: %w", err)
		case _, ok := <-lines:
			if ok {
				runtime.GC()
				runtime.GC()
				var mem runtime.MemStats
				runtime.ReadMemStats(&mem)
				fmt.Printf("left %d %d %d\n", conns.Load(), runtime.NumGoroutine(), mem.HeapAlloc)
				continue
			}
			ctx, cancel := context.WithTimeout(ctx, grace)
			defer cancel()
			stop()
			if err := server.Shutdown(ctx); err != nil {
				return fmt.Errorf("shut down: %w", err)
			}
			background.Wait()
			fmt.Println("shut down")
			return nil
		}
	}
}

// work is what workers do with a task.
func work(ctx context.Context, t tasks.Info) (any, error) {
	var in input
	if err := tasks.DecodeInput(ctx, &in); err != nil {
		return nil, tasks.Permanent(err)
	}
	if t.Attempts <= in.Fails {
		return nil, errors.New("this attempt fails")
	}
	if err := tasks.Report(ctx, 1, 2, "half"); err != nil {
		return nil, err
	}
	select {
	case <-time.After(time.Duration(in.Millis) * time.Millisecond):
		return in, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

var (
	kept   [][]byte
	keptMu sync.Mutex
)

// faulty has a server do what the soak is to notice.
func faulty(fault string, st *tasks.Store, h http.Handler) http.Handler {
	if fault == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch fault {
		case "goroutines":
			go func() { select {} }()
		case "descriptors":
			if f, err := os.Open(os.Args[0]); err == nil {
				keptMu.Lock()
				files = append(files, f)
				keptMu.Unlock()
			}
		case "heap":
			keptMu.Lock()
			kept = append(kept, make([]byte, 1<<20))
			keptMu.Unlock()
		case "hang":
			if strings.HasPrefix(r.URL.Path, "/stats") {
				select {}
			}
		case "events":
			w = &forgetful{w}
		case "tasks":
			if r.Method == http.MethodPost && r.URL.Path == "/tasks" {
				w = &loser{w, st}
			}
		}
		h.ServeHTTP(w, r)
	})
}

var files []*os.File

// forgotten is how many writes have told of a task that is done, of which every other one is left out.
var forgotten atomic.Int64

// forgetful leaves out events.
type forgetful struct{ http.ResponseWriter }

func (f *forgetful) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func (f *forgetful) Write(text []byte) (int, error) {
	if i := bytes.LastIndex(text, []byte("\nid: ")); i >= 0 && bytes.Contains(text, []byte(`"completed"`)) && forgotten.Add(1)%2 == 0 {
		if _, err := f.ResponseWriter.Write(text[i+1:]); err != nil {
			return 0, err
		}
		return len(text), nil
	}
	return f.ResponseWriter.Write(text)
}

// loser loses tasks that were acknowledged now and then.
type loser struct {
	http.ResponseWriter
	st *tasks.Store
}

func (l *loser) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func (l *loser) WriteHeader(status int) {
	if id := strings.TrimPrefix(l.Header().Get("Location"), "tasks/"); status == http.StatusCreated && rand.IntN(5) == 0 {
		_ = l.st.Delete(context.Background(), id)
	}
	l.ResponseWriter.WriteHeader(status)
}
