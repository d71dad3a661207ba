package vfs_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver"
)

// A blank import of package vfs and ?vfs=async are all that is needed.
func Example() {
	dir, err := os.MkdirTemp("", "asyncvfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := sql.Open("sqlite3", "file:"+filepath.ToSlash(dir)+"/app.db?vfs=async"+
		"&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE users(name TEXT)"); err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO users VALUES('Ada')"); err != nil {
		log.Fatal(err)
	}
	// Until here a power cut may lose the last 50 ms. From here on it can't lose Ada.
	if _, err := db.Exec("PRAGMA async_wait"); err != nil {
		log.Fatal(err)
	}
	stats, err := vfs.Stats(filepath.Join(dir, "app.db"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stats.Commits, "commits,", stats.PendingCommits, "of them not durable")
	// Output:
	// 2 commits, 0 of them not durable
}

func ExampleRegister() {
	err := vfs.Register("strict", nil,
		vfs.MaxDelay(5*time.Millisecond),
		vfs.OnSync(func(e vfs.SyncEvent) {
			if e.Err != nil {
				log.Print("stop taking orders: ", e.Err)
			}
		}))
	fmt.Println(err)

	err = vfs.Register("absurd", nil, vfs.MaxDelay(24*time.Hour))
	fmt.Println(err)
	// Output:
	// <nil>
	// asyncvfs: MaxDelay="24h0m0s" is not allowed: want a Go duration from 1ms to 1m0s
}

func ExampleWaitDurable() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println(vfs.WaitDurable(ctx, "nobody-has-opened.db"))
	// Output:
	// asyncvfs: database is not open: nobody-has-opened.db
}

// One goroutine commits, another answers the clients once what they wrote is durable.
func ExampleToken() {
	dir, err := os.MkdirTemp("", "asyncvfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c, err := sqlite3.Open("file:" + filepath.ToSlash(dir) + "/app.db?vfs=async" +
		"&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("CREATE TABLE orders(what TEXT)"); err != nil {
		log.Fatal(err)
	}

	type answer struct {
		to    string
		token vfs.CommitToken
	}
	answers := make(chan answer, 3)
	for _, who := range []string{"Ada", "Grace", "Edsger"} {
		// It returns at once.
		if err := c.Exec("INSERT INTO orders VALUES('tea')"); err != nil {
			log.Fatal(err)
		}
		token, err := vfs.Token(c, "main")
		if err != nil {
			log.Fatal(err)
		}
		answers <- answer{who, token}
	}
	close(answers)
	for a := range answers {
		if err := vfs.WaitToken(context.Background(), a.token); err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.to + "'s order is safe")
	}
	// Output:
	// Ada's order is safe
	// Grace's order is safe
	// Edsger's order is safe
}
