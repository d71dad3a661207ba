package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// openExample opens a store for an example.
func openExample(opts ...tasks.Option) (st *tasks.Store, end func()) {
	dir, err := os.MkdirTemp("", "tasks")
	if err == nil {
		st, err = tasks.Open(context.Background(), filepath.Join(dir, "tasks.db"), opts...)
	}
	if err != nil {
		panic(err)
	}
	return st, func() { st.Close(); os.RemoveAll(dir) }
}

// process runs a handler until a task is done.
func process(st *tasks.Store, id string, h tasks.Handler, opts ...tasks.RunOption) tasks.Result {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Document: h}, 1, opts...) }()
	r, err := st.Wait(ctx, id)
	cancel()
	if err := errors.Join(err, <-done); err != nil {
		panic(err)
	}
	return r
}

// A task carries its input, so that a worker on another machine needs nothing but the table.
func ExampleInput() {
	st, end := openExample()
	defer end()
	ctx := context.Background()
	type scan struct{ File string }
	if err := st.Create(ctx, "a", tasks.Document, tasks.Input(scan{"letter.pdf"}), tasks.Owner("client 7"), tasks.Priority(1)); err != nil {
		panic(err)
	}
	r := process(st, "a", func(ctx context.Context, _ tasks.Info) (any, error) {
		var in scan
		if err := tasks.DecodeInput(ctx, &in); err != nil {
			return nil, err
		}
		return "read " + in.File, nil
	})
	fmt.Println(r.Owner, string(r.Raw))
	// Output: client 7 "read letter.pdf"
}

// A client that doesn't know what became of its request makes it again.
func ExampleStore_CreateOrGet() {
	st, end := openExample()
	defer end()
	for _, page := range []int{1, 1, 2} {
		_, created, err := st.CreateOrGet(context.Background(), "a", tasks.Document, tasks.Input(page))
		fmt.Println(created, errors.Is(err, tasks.ErrInputDiffers))
	}
	// Output:
	// true false
	// false false
	// false true
}

// The OCR is kept when the LLM fails.
func ExampleStep() {
	st, end := openExample(tasks.Backoff(func(int) time.Duration { return 0 }))
	defer end()
	if err := st.Create(context.Background(), "a", tasks.Document); err != nil {
		panic(err)
	}
	r := process(st, "a", func(ctx context.Context, task tasks.Info) (any, error) {
		text, err := tasks.Step(ctx, "ocr", func(context.Context) (string, error) {
			fmt.Println("ocr")
			return "Invoice 7", nil
		})
		if err != nil {
			return nil, err
		}
		return tasks.Step(ctx, "llm", func(context.Context) (string, error) {
			fmt.Println("llm, attempt", task.Attempts)
			if task.Attempts == 1 {
				return "", errors.New("overloaded")
			}
			return "an " + text, nil
		})
	})
	fmt.Println(string(r.Raw))
	// Output:
	// ocr
	// llm, attempt 1
	// llm, attempt 2
	// "an Invoice 7"
}

// What can't succeed isn't tried again; what isn't the task's fault costs no attempt.
func ExamplePermanent() {
	st, end := openExample()
	defer end()
	if err := st.Create(context.Background(), "a", tasks.Document); err != nil {
		panic(err)
	}
	r := process(st, "a", func(_ context.Context, task tasks.Info) (any, error) {
		if task.Attempts == 1 {
			return nil, tasks.Snooze(time.Millisecond, errors.New("429 Too Many Requests"))
		}
		return nil, tasks.Permanent(errors.New("corrupt scan"))
	}, tasks.Timeout(time.Minute))
	fmt.Println(r.Status, r.Error, r.Attempts, r.Uncounted)
	// Output: error corrupt scan 2 1
}

// Metrics are built on hooks.
func ExampleWithHooks() {
	finished := map[tasks.Status]int{}
	st, end := openExample(tasks.WithHooks(tasks.Hooks{
		Finished: func(_ context.Context, i tasks.FinishedInfo) { finished[i.Status]++ },
	}))
	defer end()
	ctx := context.Background()
	for _, id := range []string{"a", "b"} {
		if err := errors.Join(st.Create(ctx, id, tasks.Document), st.Update(ctx, id, tasks.Completed, 1)); err != nil {
			panic(err)
		}
	}
	fmt.Println(finished)
	// Output: map[completed:2]
}

// After an outage, what failed for it is tried again.
func ExampleStore_RetryMany() {
	st, end := openExample()
	defer end()
	ctx := context.Background()
	for id, text := range map[string]string{"a": "llm: connection refused", "b": "no pages"} {
		if err := errors.Join(st.Create(ctx, id, tasks.Document), st.Update(ctx, id, tasks.Error, nil, tasks.ErrorText(text))); err != nil {
			panic(err)
		}
	}
	n, err := st.RetryMany(ctx, tasks.Filter{ErrorContains: "connection refused"})
	fmt.Println(n, err)
	// Output: 1 <nil>
}

// Not more than two of a type run at the same time, and not more than ten start a second, in all processes.
func ExampleStore_SetLimits() {
	st, end := openExample()
	defer end()
	ctx := context.Background()
	if err := st.SetLimits(ctx, tasks.Document, tasks.TypeLimits{Running: 2, PerSecond: 10}); err != nil {
		panic(err)
	}
	for i := range 3 {
		if err := st.Create(ctx, fmt.Sprint(i), tasks.Document); err != nil {
			panic(err)
		}
	}
	for range 3 {
		c, err := st.Claim(ctx, time.Minute)
		fmt.Println(c.ID, err)
	}
	// Output:
	// 0 <nil>
	// 1 <nil>
	//  no task to claim
}
