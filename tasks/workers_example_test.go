package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

func ExampleStore_Run() {
	dir, err := os.MkdirTemp("", "tasks")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	st, err := tasks.Open(ctx, filepath.Join(dir, "tasks.db"), tasks.MaxAttempts(1))
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	for _, id := range []string{"invoice", "letter"} {
		if err := st.Create(ctx, id, tasks.Document); err != nil {
			log.Fatal(err)
		}
	}

	handlers := map[tasks.Type]tasks.Handler{
		tasks.Document: func(ctx context.Context, task tasks.Info) (any, error) {
			if task.ID == "letter" {
				return nil, errors.New("no pages")
			}
			return map[string]int{"pages": 3}, nil
		},
	}
	done := make(chan error)
	go func() { done <- st.Run(ctx, handlers, 2) }()
	for _, id := range []string{"invoice", "letter"} {
		res, err := st.Wait(ctx, id)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s: %s%s\n", res.ID, res.Status, res.Raw, res.Error)
	}
	stop()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output:
	// invoice: completed: {"pages":3}
	// letter: error: no pages
}

// A worker without Run: it claims a task, keeps it, and reports what came of it.
func ExampleStore_Claim() {
	st, _, end := exampleStore(tasks.MaxAttempts(2), tasks.Backoff(func(int) time.Duration { return 0 }))
	defer end()
	ctx := context.Background()
	must(st.Create(ctx, "form", tasks.Form))
	for {
		task, err := st.Claim(ctx, time.Minute, tasks.Form)
		if errors.Is(err, tasks.ErrNoTask) {
			break
		}
		must(err)
		must(st.Progress(ctx, task.ID, "page 1"))
		must(st.Extend(ctx, &task, time.Minute))
		if task.Attempts == 1 {
			must(st.Fail(ctx, task, errors.New("the scanner is busy")))
			continue
		}
		must(st.Complete(ctx, task, "done"))
		fmt.Println(st.Complete(ctx, task, "again"))
	}
	attempts, err := st.Attempts(ctx, "form")
	must(err)
	for _, a := range attempts {
		fmt.Printf("%d %q\n", a.Number, a.Error)
	}
	// Output:
	// complete task "form": lease lost
	// 1 "the scanner is busy"
	// 2 ""
}

// A worker reports what it has so far, and a client watches.
func ExampleStore_Progress() {
	st, _, end := exampleStore()
	defer end()
	ctx := context.Background()
	must(st.Create(ctx, "book", tasks.Document))
	for res, err := range st.Watch(ctx, "book") {
		must(err)
		fmt.Printf("%s %q\n", res.Status, res.Raw)
		switch {
		case res.Status == tasks.Pending:
			must(st.Update(ctx, "book", tasks.Processing, nil))
		case res.Raw == nil:
			must(st.Progress(ctx, "book", map[string]int{"pages": 40, "of": 100}))
		case res.Status == tasks.Processing:
			must(st.Update(ctx, "book", tasks.Completed, map[string]int{"pages": 100}))
		}
		if res.Status.Final() {
			break
		}
	}
	// Output:
	// pending ""
	// processing ""
	// processing "{\"of\":100,\"pages\":40}"
	// completed "{\"pages\":100}"
}
