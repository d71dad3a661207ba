package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
)

const (
	workers  = 4               // connections of a process
	roundFor = 2 * time.Second // until a process closes all of them and counts what it has left
)

// worker is a process that uses the database.
type worker struct {
	dir, vfs, name string
	mu             sync.Mutex // of the output
}

func (w *worker) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// run works until it is killed, or the context ends.
func (w *worker) run(ctx context.Context) error {
	next := make([]int, workers) // rows that each connection has written
	for round := 0; ctx.Err() == nil; round++ {
		var wg sync.WaitGroup
		errs := make(chan error, workers)
		deadline := time.Now().Add(roundFor)
		for i := range workers {
			wg.Go(func() {
				if err := w.use(i, &next[i], deadline); err != nil {
					errs <- fmt.Errorf("connection %d: %w", i, err)
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			return err
		}
		runtime.GC()
		runtime.GC()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		fds, _ := os.ReadDir("/proc/self/fd")
		w.say("left %d %d %d", len(fds), runtime.NumGoroutine(), mem.HeapAlloc)
	}
	return nil
}

// use uses connections, one after the other.
func (w *worker) use(i int, rows *int, deadline time.Time) error {
	for time.Now().Before(deadline) {
		c, err := sqlite3.Open("file:" + filepath.ToSlash(filepath.Join(w.dir, "soak.db")) + "?vfs=" + w.vfs +
			"&_pragma=busy_timeout(20000)&_pragma=journal_mode(wal)&_pragma=wal_autocheckpoint(200)")
		if err := unlessBusy(err); err != nil {
			return err
		}
		if err != nil {
			continue
		}
		err = w.useOne(c, fmt.Sprintf("%s-%d", w.name, i), rows, deadline)
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) useOne(c *sqlite3.Conn, writer string, rows *int, deadline time.Time) error {
	for range 20 + rand.IntN(300) {
		if time.Now().After(deadline) {
			return nil
		}
		level := [...]string{"off", "normal", "full", "extra"}[rand.IntN(4)]
		if err := c.Exec("PRAGMA synchronous=" + level); err != nil {
			return err
		}
		err := c.Exec(fmt.Sprintf("INSERT INTO t VALUES('%s', %d, randomblob(%d))", writer, *rows+1, rand.IntN(3000)))
		if err == nil {
			*rows++
			w.say("ack %s %d", writer, *rows)
		} else if err := unlessBusy(err); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		if rand.IntN(20) == 0 {
			what, err := w.other(c, writer)
			if err := unlessBusy(err); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			w.say("did %s", what)
		}
	}
	return nil
}

// other does something else than a commit.
func (w *worker) other(c *sqlite3.Conn, writer string) (what string, err error) {
	switch rand.IntN(12) {
	case 0:
		mode := [...]string{"passive", "full", "restart", "truncate"}[rand.IntN(4)]
		return "checkpoint " + mode, c.Exec("PRAGMA wal_checkpoint(" + mode + ")")
	case 1:
		// SQLite says that the database is locked unless this is its only connection.
		return "journal_mode", errors.Join(unlessBusy(c.Exec("PRAGMA busy_timeout=0; PRAGMA journal_mode=delete")),
			unlessBusy(c.Exec("PRAGMA busy_timeout=20000; PRAGMA journal_mode=wal")))
	case 2:
		if rand.IntN(10) > 0 {
			return "nothing", nil
		}
		return "vacuum", c.Exec("VACUUM")
	case 3:
		if rand.IntN(10) > 0 {
			return "nothing", nil
		}
		name := filepath.Join(w.dir, "backup-"+writer)
		defer os.Remove(name)
		return "backup", c.Backup("main", "file:"+filepath.ToSlash(name))
	case 4, 5:
		if w.vfs != "async" {
			return "nothing", nil
		}
		return "async_wait", c.Exec("SELECT async_wait()")
	case 6, 7:
		if w.vfs != "async" {
			return "nothing", nil
		}
		token, err := vfs.Token(c, "main")
		if err != nil {
			return "token", err
		}
		err = vfs.WaitToken(context.Background(), token)
		if errors.Is(err, vfs.ErrWALNotOpen) {
			err = nil // another process has come back to WAL mode, and this one hasn't looked since
		}
		return "token", err
	case 8:
		return "rollback", c.Exec("BEGIN IMMEDIATE; DELETE FROM t; ROLLBACK")
	case 9:
		// What is older than that keeps its row, and nothing else: the database mustn't grow until a VACUUM takes minutes.
		return "clean", c.Exec("UPDATE t SET data = NULL WHERE length(data) > 0 AND rowid BETWEEN (SELECT max(rowid) FROM t) - 50000 AND (SELECT max(rowid) FROM t) - 3000")
	}
	return "read", c.Exec("SELECT count(*), sum(length(data)) FROM t")
}

// unlessBusy leaves out what SQLite may say to one of several who use a database.
func unlessBusy(err error) error {
	if errors.Is(err, sqlite3.BUSY) || errors.Is(err, sqlite3.LOCKED) {
		return nil
	}
	return err
}
