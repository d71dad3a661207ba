// Program replicator is Litestream as a library, to and from a folder. It is a process of its own:
// within the application's, the POSIX locks of Litestream's SQLite would be gone whenever go-sqlite3 closes a descriptor of the file.
//
//	replicator replicate DATABASE FOLDER    until a line comes or its input ends; then what is left is replicated
//	replicator restore FOLDER DATABASE
package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/benbjohnson/litestream"
	"github.com/benbjohnson/litestream/file"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: replicator replicate|restore FROM TO")
		os.Exit(2)
	}
	run := replicate
	if os.Args[1] == "restore" {
		run = restore
	}
	if err := run(context.Background(), os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// replicate prints "ready" once it is open, and what Litestream logs to stderr.
func replicate(ctx context.Context, path, folder string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	slog.SetDefault(log)
	db := litestream.NewDB(path)
	if os.Getenv("FAST") != "" { // the defaults are a second each
		db.MonitorInterval = 50 * time.Millisecond
	}
	client := file.NewReplicaClient(folder)
	replica := litestream.NewReplicaWithClient(db, client)
	if os.Getenv("FAST") != "" {
		replica.SyncInterval = 50 * time.Millisecond
	}
	db.Replica, client.Replica = replica, replica
	store := litestream.NewStore([]*litestream.DB{db}, litestream.CompactionLevels{{Level: 0}, {Level: 1, Interval: 2 * time.Second}})
	if os.Getenv("BARE") != "" { // no snapshots: one of the database itself would have what the WAL's lack
		store.CompactionMonitorEnabled = false
	}
	if err := store.Open(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	if err := db.SyncAndWait(ctx); err != nil {
		return fmt.Errorf("last sync: %w", err)
	}
	return store.Close(ctx)
}

func restore(ctx context.Context, folder, path string) error {
	replica := litestream.NewReplicaWithClient(nil, file.NewReplicaClient(folder))
	opt := litestream.NewRestoreOptions()
	opt.OutputPath = path
	return replica.Restore(ctx, opt)
}
