package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/internal/demo/files"
	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
)

// errDone ends the workers once all tasks are handled.
var errDone = errors.New("all tasks are handled")

// runTasks makes the files tasks of a store, and has them processed.
func runTasks(ctx context.Context, path string, src *files.Source, counting *countingVFS, r *result, m *meter) (err error) {
	// Never interrupted, so that there is a table to look at after Ctrl-C.
	// One attempt: a file that can't be read ends the demo.
	st, err := tasks.Open(context.WithoutCancel(ctx), path, tasks.VFS(asyncVFS), tasks.MaxAttempts(1))
	if err != nil {
		return err
	}
	defer func() {
		if e := st.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close %s: %w", path, e))
		}
	}()
	before, err := countTasks(context.WithoutCancel(ctx), st)
	if err != nil {
		return err
	}
	m.count = func(ctx context.Context) (all, done int, err error) {
		now, err := countTasks(ctx, st)
		return now.all - before.all, now.completed - before.completed, err
	}
	defer m.show()()
	stats, err := vfs.Stats(path)
	if err != nil {
		return fmt.Errorf("statistics of %s: %w", path, err)
	}
	commits := stats.Commits

	counting.reset()
	start := time.Now()
	if err := createAll(ctx, st, src, r); err != nil {
		return err
	}
	if err := processAll(ctx, st, src, r); err != nil {
		return err
	}
	// Every result is durable, and so is all that was made before it.
	r.elapsed = time.Since(start)
	r.syncs, r.syncTime = counting.counted()
	if stats, err = vfs.Stats(path); err != nil {
		return fmt.Errorf("statistics of %s: %w", path, err)
	}
	r.commits = stats.Commits - commits
	r.window = time.Duration(stats.MaxWindowMicros) * time.Microsecond
	cache, err := st.CacheStats(context.WithoutCancel(ctx))
	r.cache = &cache
	return err
}

// taskCount is how many tasks a store has.
type taskCount struct{ all, completed int }

func countTasks(ctx context.Context, st *tasks.Store) (n taskCount, err error) {
	counts, err := st.Count(ctx)
	for status, k := range counts[tasks.Document] {
		n.all += k
		if status == tasks.Completed {
			n.completed += k
		}
	}
	return n, err
}

// createAll creates the tasks durably, as the clients of a service do that wait for it.
func createAll(ctx context.Context, st *tasks.Store, src *files.Source, r *result) error {
	creates := r.addCalls("Create")
	return parallel(ctx, len(src.Files), func(ctx context.Context, i int) error {
		err := creates.timed(func() error { return st.Create(ctx, r.prefix+src.Files[i], tasks.Document) })
		if err == nil {
			r.reported[i] = created
		}
		return err
	})
}

// processAll has the workers process the tasks.
func processAll(ctx context.Context, st *tasks.Store, src *files.Source, r *result) error {
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	index := make(map[string]int, len(src.Files))
	for i, name := range src.Files {
		index[r.prefix+name] = i
	}
	var (
		does    = r.addCalls("Do")
		handled = make([]atomic.Bool, len(src.Files))
		left    atomic.Int64
	)
	left.Store(int64(len(src.Files)))
	handler := func(ctx context.Context, task tasks.Info) (any, error) {
		i, ok := index[task.ID]
		if !ok {
			return nil, fmt.Errorf("task %q is none of this run", task.ID)
		}
		text, err := src.Read(src.Files[i])
		if err != nil {
			stop(err)
			return nil, err
		}
		var answer tasks.Cached
		err = does.timed(func() (err error) {
			answer, err = st.Do(ctx, tasks.Document, text, func(context.Context) (any, error) { return files.Analyze(text), nil })
			return err
		})
		if err != nil {
			stop(err)
			return nil, err
		}
		// A task may be handed out again, though hardly within the minute that is its lease.
		if !handled[i].Swap(true) && left.Add(-1) == 0 {
			// Run lets the handlers end and stores their results before it returns.
			stop(errDone)
		}
		return answer.Raw, nil
	}
	err := st.Run(working, map[tasks.Type]tasks.Handler{tasks.Document: handler}, goroutines)
	if err != nil {
		return fmt.Errorf("process tasks: %w", err)
	}
	for i := range handled {
		if handled[i].Load() {
			r.reported[i] = completed
		}
	}
	if cause := context.Cause(working); cause != errDone {
		return cause
	}
	return nil
}
