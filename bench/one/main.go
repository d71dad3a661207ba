// Command one runs one workload once, through database/sql and go-sqlite3, in a new database,
// and writes the result as JSON. Module bench/peers starts it, since only one of two packages
// that register themselves as the driver "sqlite3" can be in a program, and for go-sqlite3 on another engine.
//
//	go run ./bench/one -job '{"Workload": {"Kind": "insert", "Rows": 1, "Size": 100, "Conns": 8}, "Driver": "async", "Level": "full", "Timing": {"Max": 1e9}}'
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/docusnap/asyncvfs/bench"
	_ "github.com/ncruces/go-sqlite3/driver"
)

func main() {
	text := flag.String("job", "", "what to run, as JSON")
	flag.Parse()
	if err := run(*text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(text string) error {
	var job bench.Job
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return fmt.Errorf("job %q: %w", text, err)
	}
	r, err := job.Run(context.Background(), func(dir string) (*sql.DB, error) {
		s := bench.Setup{Name: "stock", Disk: "real", Level: job.Level}
		if job.Driver == "async" {
			s.Name = "async"
		}
		return sql.Open("sqlite3", s.DSN(dir))
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
