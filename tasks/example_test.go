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
	"github.com/docusnap/asyncvfs/tasks/internal/memory"
	"github.com/ncruces/go-sqlite3/driver"
)

// exampleStore opens a store in a folder of its own, which end removes.
func exampleStore(opts ...tasks.Option) (st *tasks.Store, path string, end func()) {
	dir, err := os.MkdirTemp("", "tasks")
	must(err)
	path = filepath.Join(dir, "tasks.db")
	st, err = tasks.Open(context.Background(), path, opts...)
	must(err)
	return st, path, func() {
		must(st.Close())
		must(os.RemoveAll(dir))
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "tasks")
	must(err)
	defer os.RemoveAll(dir)
	st, err := tasks.Open(context.Background(), filepath.Join(dir, "tasks.db"),
		tasks.Types("letter"),
		tasks.MaxResult(1<<20),
		tasks.MaxAttempts(3),
		tasks.CacheTTL(24*time.Hour),
	)
	must(err)
	must(st.Create(context.Background(), "t1", "letter"))
	fmt.Println(st.Create(context.Background(), "t2", "postcard"))
	must(st.Close())
	fmt.Println(st.Create(context.Background(), "t2", "letter"))
	// Output:
	// create task "t2": invalid input: type "postcard": want one of ["document" "form" "form_filling" "letter"]
	// create task "t2": store is closed
}

// A task from its creation to its result.
func ExampleStore_Update() {
	st, _, end := exampleStore()
	defer end()
	ctx := context.Background()
	must(st.Create(ctx, "invoice", tasks.Document))
	must(st.Update(ctx, "invoice", tasks.Processing, nil))
	must(st.Update(ctx, "invoice", tasks.Completed, map[string]any{"title": "Rechnung für 文件", "pages": 3}))

	info, err := st.Status(ctx, "invoice")
	must(err)
	fmt.Println(info.Status, info.UpdatedAt.Before(info.CreatedAt))
	res, err := st.Result(ctx, "invoice")
	must(err)
	fmt.Println(string(res.Raw))
	var v struct{ Pages int }
	must(res.Decode(&v))
	fmt.Println(v.Pages)
	_, err = st.Status(ctx, "letter")
	fmt.Println(err, errors.Is(err, tasks.ErrNotFound))
	// Output:
	// completed false
	// {"pages":3,"title":"Rechnung für 文件"}
	// 3
	// get task "letter": task not found true
}

// A task only goes forward, but one that failed can be tried again.
func ExampleStore_Retry() {
	st, _, end := exampleStore()
	defer end()
	ctx := context.Background()
	must(st.Create(ctx, "form", tasks.Form))
	must(st.Update(ctx, "form", tasks.Error, nil, tasks.ErrorText("page 2 is blank")))
	err := st.Update(ctx, "form", tasks.Processing, nil)
	fmt.Println(err)
	var te *tasks.TransitionError
	fmt.Println(errors.As(err, &te), te.From, te.To)

	must(st.Retry(ctx, "form"))
	info, err := st.Status(ctx, "form")
	must(err)
	fmt.Printf("%s, was: %s\n", info.Status, info.Error)
	must(st.Update(ctx, "form", tasks.Completed, "by hand"))
	must(st.Update(ctx, "form", tasks.Processing, nil, tasks.Force()))
	// Output:
	// task "form": transition not allowed: error to processing
	// true error processing
	// pending, was: page 2 is blank
}

func ExampleStore_Wait() {
	st, _, end := exampleStore()
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(st.Create(ctx, "form", tasks.Form))
	go func() { must(st.Update(context.Background(), "form", tasks.Completed, "done")) }()
	res, err := st.Wait(ctx, "form")
	must(err)
	fmt.Println(res.Status, string(res.Raw))
	// Output: completed "done"
}

// Page by page, the newest first.
func ExampleStore_List() {
	st, _, end := exampleStore()
	defer end()
	ctx := context.Background()
	for i := range 5 {
		must(st.Create(ctx, fmt.Sprint("task ", i), tasks.Form, tasks.Relaxed()))
	}
	q := tasks.Query{Statuses: []tasks.Status{tasks.Pending}, Newest: true, Limit: 2}
	for {
		page, err := st.List(ctx, q)
		must(err)
		for _, info := range page {
			fmt.Println(info.ID)
		}
		fmt.Println("--")
		if len(page) < q.Limit {
			break
		}
		q.After = page[len(page)-1]
	}
	// Output:
	// task 4
	// task 3
	// --
	// task 2
	// task 1
	// --
	// task 0
	// --
}

func ExampleStore_Count() {
	st, _, end := exampleStore()
	defer end()
	ctx := context.Background()
	must(st.Create(ctx, "a", tasks.Form))
	must(st.Create(ctx, "b", tasks.Form))
	must(st.Cancel(ctx, "b"))
	counts, err := st.Count(ctx)
	must(err)
	fmt.Println(counts[tasks.Form][tasks.Pending], counts[tasks.Form][tasks.Error], counts[tasks.Document][tasks.Pending])
	// Output: 1 1 0
}

// One that fails keeps none of the others from being made.
func ExampleStore_CreateMany() {
	st, _, end := exampleStore()
	defer end()
	ctx := context.Background()
	for _, err := range st.CreateMany(ctx, []tasks.NewTask{{ID: "a", Type: tasks.Form}, {ID: "a", Type: tasks.Form}, {ID: "b", Type: tasks.Form}}) {
		fmt.Println(err)
	}
	errs := st.UpdateMany(ctx, []tasks.NewStatus{{ID: "a", Status: tasks.Processing}, {ID: "b", Status: tasks.Completed, Result: 1}})
	fmt.Println(errs == nil)
	// Output:
	// <nil>
	// create task "a": task exists
	// <nil>
	// true
}

// The service's own row and the task are made together, or neither is.
func ExampleStore_InTx() {
	st, path, end := exampleStore()
	defer end()
	ctx := context.Background()
	db, err := driver.Open("file:" + filepath.ToSlash(path) + "?vfs=async&_txlock=immediate")
	must(err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE invoices(id INTEGER PRIMARY KEY, task TEXT)")
	must(err)

	tx, err := db.BeginTx(ctx, nil)
	must(err)
	defer tx.Rollback()
	_, err = tx.Exec("INSERT INTO invoices(task) VALUES('invoice 1')")
	must(err)
	in, err := st.InTx(tx)
	must(err)
	must(in.Create(ctx, "invoice 1", tasks.Document))
	_, err = st.Status(ctx, "invoice 1")
	fmt.Println(err)
	must(tx.Commit())
	info, err := st.Status(ctx, "invoice 1")
	fmt.Println(info.Status, err)
	// Output:
	// get task "invoice 1": task not found
	// pending <nil>
}

func ExampleStore_Cleanup() {
	now := time.Now()
	st, _, end := exampleStore(tasks.Clock(func() time.Time { return now }))
	defer end()
	ctx := context.Background()
	must(st.Create(ctx, "old", tasks.Form))
	now = now.Add(7 * 24 * time.Hour)
	must(st.Create(ctx, "new", tasks.Form))
	n, err := st.Cleanup(ctx, tasks.DefaultRetention)
	fmt.Println(n, err)
	// Output: 1 <nil>
}

// Completed tasks go after a day, those that failed stay for 30 days, and the others for a week.
func ExampleStore_RunJanitor() {
	st, _, end := exampleStore()
	defer end()
	ctx, stop := context.WithCancel(context.Background())
	err := st.RunJanitor(ctx, tasks.Janitor{
		Every: time.Millisecond, // leave it out for 24 hours
		Keep:  map[tasks.Status]time.Duration{tasks.Completed: 24 * time.Hour, tasks.Error: 30 * 24 * time.Hour},
		OnCleanup: func(deleted int, err error) {
			fmt.Println(deleted, err)
			stop()
		},
	})
	fmt.Println(err)
	// Output:
	// 0 <nil>
	// <nil>
}

// What a power cut may take back needn't wait for the disk, and what it may not does.
func ExampleRelaxed() {
	st, _, end := exampleStore()
	defer end()
	ctx := context.Background()
	must(st.Create(ctx, "scan", tasks.Document))
	must(st.Update(ctx, "scan", tasks.Processing, nil, tasks.Relaxed()))
	// Once this is durable, so is all before it.
	must(st.Update(ctx, "scan", tasks.Completed, "text"))
	res, err := st.Result(ctx, "scan")
	must(err)
	// Or many changes, and then one wait for all of them.
	must(st.Create(ctx, "form", tasks.Form, tasks.Relaxed()))
	err = st.Sync(ctx)
	fmt.Println(res.Status, err)
	// Output: completed <nil>
}

// counted is a backend that counts the changes which another one makes.
type counted struct {
	tasks.Backend
	changes int
}

func (b *counted) Write(ctx context.Context, changes []tasks.Change, durable bool) []error {
	b.changes += len(changes)
	return b.Backend.Write(ctx, changes, durable)
}

// A backend of one's own takes the place of SQLite; package backendtest says whether it does what it has to.
func ExampleNew() {
	b := &counted{Backend: memory.New(time.Now).Backend()}
	st, err := tasks.New(b)
	must(err)
	defer st.Close()
	must(st.Create(context.Background(), "a", tasks.Form))
	must(st.Cancel(context.Background(), "a"))
	fmt.Println(b.changes)
	// Output: 2
}
