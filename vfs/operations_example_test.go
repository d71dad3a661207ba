package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
)

// tempDir returns a folder for an example's database.
func tempDir() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "asyncvfs")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// mustExec executes a statement.
func mustExec(db *sql.DB, query string, args ...any) {
	if _, err := db.Exec(query, args...); err != nil {
		log.Fatal(err)
	}
}

func ExampleDSN() {
	fmt.Println(vfs.DSN("app.db"))
	fmt.Println(vfs.DSN("50% off?.db", vfs.Synchronous(vfs.Normal), vfs.Parameter("max_delay", "10ms"), vfs.Pragma("page_size", "8192")))
	// Output:
	// file:app.db?_pragma=busy_timeout%2810000%29&_pragma=journal_mode%28wal%29&_pragma=synchronous%28full%29&_txlock=immediate&vfs=async
	// file:50%25%20off%3F.db?_pragma=busy_timeout%2810000%29&_pragma=page_size%288192%29&_pragma=journal_mode%28wal%29&_pragma=synchronous%28normal%29&_txlock=immediate&max_delay=10ms&vfs=async
}

// Before a backup of the disk, or a planned cut of the power: nothing that was committed can be lost after this.
func ExampleFlush() {
	dir, remove := tempDir()
	defer remove()
	path := filepath.Join(dir, "app.db")
	db, err := sql.Open("sqlite3", vfs.DSN(path, vfs.Synchronous(vfs.Normal), vfs.Parameter("max_delay", "1m")))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	mustExec(db, "CREATE TABLE t(x)")
	for range 100 {
		mustExec(db, "INSERT INTO t VALUES(1)")
	}

	if err := vfs.Flush(context.Background()); err != nil {
		log.Fatal(err)
	}
	stats, err := vfs.Stats(path)
	fmt.Println(stats.DurableCommits, "of", stats.Commits, "commits are durable", err)
	// Output:
	// 101 of 101 commits are durable <nil>
}

// In main: what a service that is told to stop, or a computer on its battery, has committed is made durable before it ends.
func ExampleFlushOnSignal() {
	stop := vfs.FlushOnSignal()
	defer stop()

	// Serve until the signal comes. A program that handles signals itself calls SetMode in its handler.
	err := vfs.SetMode(context.Background(), vfs.Sync)
	fmt.Println("nothing can be lost from here on:", err)
	vfs.SetMode(context.Background(), vfs.Async)
	// Output:
	// nothing can be lost from here on: <nil>
}

func ExampleStats() {
	dir, remove := tempDir()
	defer remove()
	path := filepath.Join(dir, "app.db")
	db, err := sql.Open("sqlite3", vfs.DSN(path))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	mustExec(db, "CREATE TABLE t(x)")
	before, err := vfs.Stats(path)
	if err != nil {
		log.Fatal(err)
	}
	for range 10 {
		mustExec(db, "INSERT INTO t VALUES(1)")
	}
	after, err := vfs.Stats(path)
	if err != nil {
		log.Fatal(err)
	}
	waits := after.CommitWait.Since(before.CommitWait)
	fmt.Println(waits.Count, "commits waited for their sync")
	fmt.Println("none longer than the longest:", waits.Quantile(0.99) <= waits.Quantile(1))
	fmt.Println("commits that a power cut would lose:", after.PendingCommits)
	// Output:
	// 10 commits waited for their sync
	// none longer than the longest: true
	// commits that a power cut would lose: 0
}

// Functions for one database, whichever VFS it is opened by, before it is opened.
func ExampleAddEvents() {
	dir, remove := tempDir()
	defer remove()
	path := filepath.Join(dir, "app.db")

	var commits int
	stop := vfs.AddEvents(vfs.Events{
		DatabaseOpened: func(i vfs.DatabaseOpenedInfo) { fmt.Println("opened", filepath.Base(i.Database)) },
		CommitWaited:   func(i vfs.CommitWaitedInfo) { commits++ }, // one connection commits here
		DatabaseFailed: func(i vfs.DatabaseFailedInfo) { fmt.Println("page somebody:", i.Err) },
		DatabaseClosed: func(i vfs.DatabaseClosedInfo) { fmt.Println("closed after", i.Statistics.Commits, "commits") },
	}, path)
	defer stop()

	c, err := sqlite3.Open(vfs.DSN(path))
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Exec("CREATE TABLE t(x); INSERT INTO t VALUES(1); INSERT INTO t VALUES(2)"); err != nil {
		log.Fatal(err)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("waited for a sync:", commits)
	// Output:
	// opened app.db
	// closed after 3 commits
	// waited for a sync: 3
}

func ExampleSetLogger() {
	vfs.SetLogger(slog.New(slog.NewJSONHandler(os.Stderr, nil)))                       // for all databases
	vfs.SetLogger(slog.New(slog.NewTextHandler(io.Discard, nil)), "/var/lib/cache.db") // but this one
	defer vfs.SetLogger(nil)
	defer vfs.SetLogger(nil, "/var/lib/cache.db")
	// Output:
}

// A commit that was cancelled while it waited is made, and maybe not durable: look, or wait, before it is repeated.
func ExampleErrDurabilityUnknown() {
	dir, remove := tempDir()
	defer remove()
	// A disk for this example: its syncs hang until somebody lets them go on.
	disk := newHeldSyncs()
	if err := vfs.Register("slow-disk", disk.recorder); err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "app.db")
	db, err := sql.Open("sqlite3", vfs.DSN(path, vfs.Parameter("vfs", "slow-disk")))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	mustExec(db, "CREATE TABLE orders(what TEXT)")
	disk.hold.Store(true)

	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-disk.started
		cancel() // the client has gone
	}()
	_, err = db.ExecContext(ctx, "INSERT INTO orders VALUES('tea')")
	if errors.Is(err, vfs.ErrDurabilityUnknown) {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM orders").Scan(&n); err != nil {
			log.Fatal(err)
		}
		fmt.Println("it isn't known whether a power cut would take back the order; it is made:", n == 1)
	}

	disk.hold.Store(false)
	disk.release <- nil // the disk goes on
	fmt.Println("now it is durable:", vfs.WaitDurable(context.Background(), path) == nil)
	// Output:
	// it isn't known whether a power cut would take back the order; it is made: true
	// now it is durable: true
}

// After a failed sync no commit is taken. SQLite's error has the code, and Failure the cause.
func ExampleFailure() {
	dir, remove := tempDir()
	defer remove()
	// A disk for this example, whose syncs can be made to fail.
	broken := &failing{kind: "sync", file: "wal", err: syscall.EIO}
	disk := newRecorder()
	disk.before = broken.hook
	if err := vfs.Register("broken-disk", disk, vfs.Logger(slog.New(slog.DiscardHandler))); err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "app.db")
	open := func() *sql.DB {
		db, err := sql.Open("sqlite3", vfs.DSN(path, vfs.Parameter("vfs", "broken-disk")))
		if err != nil {
			log.Fatal(err)
		}
		return db
	}
	db := open()
	mustExec(db, "CREATE TABLE orders(what TEXT)")

	broken.on.Store(true)
	_, err := db.Exec("INSERT INTO orders VALUES('tea')")
	fmt.Println("code:", errors.Is(err, sqlite3.IOERR_FSYNC))
	var failure *vfs.SyncError
	if errors.As(vfs.Failure(path), &failure) {
		fmt.Println("cause:", failure.Err, "of the", failure.File)
		fmt.Println("durable:", failure.DurableCommits, "of", failure.Commits, "commits")
	}
	broken.on.Store(false)
	_, err = db.Exec("INSERT INTO orders VALUES('coffee')")
	fmt.Println("it stays failed:", strings.Contains(fmt.Sprint(err), "disk I/O error"))

	// Close it everywhere in the process, and open it anew: what the kernel may have dropped is written once more.
	db.Close()
	db = open()
	defer db.Close()
	mustExec(db, "INSERT INTO orders VALUES('coffee')")
	fmt.Println("after it was opened anew:", vfs.Failure(path))
	// Output:
	// code: true
	// cause: input/output error of the wal
	// durable: 1 of 2 commits
	// it stays failed: true
	// after it was opened anew: <nil>
}
