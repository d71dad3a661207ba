package tasks_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// The same page is read once, however often it is uploaded.
func ExampleStore_Do() {
	dir, err := os.MkdirTemp("", "tasks")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	st, err := tasks.Open(ctx, filepath.Join(dir, "tasks.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()

	page := []byte("an image")
	for range 2 {
		res, err := st.Do(ctx, tasks.Document, page, func(context.Context) (any, error) {
			fmt.Println("reading the page")
			return map[string]string{"title": "Rechnung"}, nil
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(res.Raw), res.Hit)
	}
	// Output:
	// reading the page
	// {"title":"Rechnung"} false
	// {"title":"Rechnung"} true
}

func ExampleStore_Invalidate() {
	st, _, end := exampleStore()
	defer end()
	ctx := context.Background()
	read := func(context.Context) (any, error) { return "read again", nil }
	page := []byte("an image")
	must(st.Warm(ctx, tasks.Document, page, "known"))
	for range 2 {
		res, err := st.Do(ctx, tasks.Document, page, read, tasks.TTL(time.Hour))
		must(err)
		fmt.Println(string(res.Raw), res.Hit)
		must(st.Invalidate(ctx, tasks.Document, page))
	}
	stats, err := st.CacheStats(ctx)
	must(err)
	fmt.Println(stats.Hits, stats.Misses, stats.Entries)
	// Output:
	// "known" true
	// "read again" false
	// 1 1 0
}
