package postgres_test

import (
	"context"
	"fmt"
	"log"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

// url is that of the tests' server; a service has its own.
func url() string { return server.URL("postgres") }

func Example() {
	ctx := context.Background()
	st, err := postgres.Config{Schema: "example"}.Open(ctx, url())
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	if err := st.Create(ctx, "scan 1", tasks.Document, tasks.Input("scan1.png")); err != nil {
		log.Fatal(err)
	}
	// Here or in any other process:
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	go st.Run(work, map[tasks.Type]tasks.Handler{tasks.Document: func(ctx context.Context, t tasks.Info) (any, error) {
		var file string
		err := tasks.DecodeInput(ctx, &file)
		return "text of " + file, err
	}}, 4)
	r, err := st.Wait(ctx, "scan 1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Status, string(r.Raw))
	// Output: completed "text of scan1.png"
}

// A task is created if, and only if, what it is about is stored.
func ExampleInTx() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, url())
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	st, err := postgres.Config{Schema: "example_tx"}.New(ctx, pool)
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	tx, err := pool.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, "CREATE TABLE example_tx.scans(name text)"); err != nil {
		log.Fatal(err)
	}
	in, err := postgres.InTx(st, tx)
	if err != nil {
		log.Fatal(err)
	}
	if err := in.Create(ctx, "scan", tasks.Document); err != nil {
		log.Fatal(err)
	}
	_, err = st.Status(ctx, "scan")
	fmt.Println("before:", err)
	if err := tx.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	info, err := st.Status(ctx, "scan")
	fmt.Println("after:", info.Status, err)
	// Output:
	// before: get task "scan": task not found
	// after: pending <nil>
}
