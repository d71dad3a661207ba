package taskd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/docusnap/asyncvfs/internal/demo/files"
	"github.com/docusnap/asyncvfs/tasks"
)

// fileInput is the input of a task of the demo.
type fileInput struct {
	File string `json:"file"`
}

// missingEvery is how often a task of the demo names a file that isn't there, so that there are failures to look at.
const missingEvery = 20

// startDemo creates tasks of a folder's files at a rate, again and again, and has them processed.
func startDemo(ctx context.Context, c *config, st *tasks.Store, start func(string, func(context.Context) error)) error {
	folder, parts, err := files.OpenFolder(ctx, c.folder)
	if err != nil {
		return err
	}
	src, err := files.Scan(ctx, os.DirFS(folder), folder, parts)
	if err != nil {
		return err
	}
	start("create tasks", func(ctx context.Context) error { return createFiles(ctx, c, st, src) })
	start("process tasks", func(ctx context.Context) error {
		return st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Document: analyzeFile(st, src)}, c.workers, tasks.Grace(c.grace/2))
	})
	return nil
}

func createFiles(ctx context.Context, c *config, st *tasks.Store, src *files.Source) error {
	tick := time.NewTicker(time.Duration(float64(time.Second) / c.rate))
	defer tick.Stop()
	run := time.Now().UTC().Format("20060102-150405")
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		name := src.Files[n%len(src.Files)]
		if n%missingEvery == missingEvery-1 {
			name += ".missing"
		}
		err := st.Create(ctx, fmt.Sprintf("demo-%s-%d", run, n), tasks.Document,
			tasks.Input(fileInput{name}), tasks.WithLabels(map[string]string{"file": name}), tasks.TaskBackoff(time.Second))
		if err != nil && !errors.Is(err, tasks.ErrBusy) {
			return err
		}
	}
}

// analyzeFile returns a handler that reads a file and analyzes it, which takes a moment.
func analyzeFile(st *tasks.Store, src *files.Source) tasks.Handler {
	return func(ctx context.Context, t tasks.Info) (any, error) {
		var in fileInput
		if err := tasks.DecodeInput(ctx, &in); err != nil {
			return nil, tasks.Permanent(err) // it isn't one of the demo's
		}
		text, err := src.Read(in.File)
		if err != nil {
			if t.Attempts > 1 {
				err = tasks.Permanent(err)
			}
			return nil, err
		}
		const parts = 4
		for i := range parts {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(time.Duration(50+rand.IntN(200)) * time.Millisecond):
			}
			if err := tasks.Report(ctx, float64(i+1), parts, "reading "+in.File); err != nil {
				return nil, err
			}
		}
		answer, err := st.Do(ctx, tasks.Document, text, func(context.Context) (any, error) { return files.Analyze(text), nil })
		return answer.Raw, err
	}
}
