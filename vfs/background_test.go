package vfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// logs keeps what is logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// extension is what the application loads into each of its connections.
var extension struct {
	sync.Once
	opened atomic.Int32
	fail   atomic.Bool
}

// TestNoConnectionOfItsOwn: a checkpoint in the background opens nothing,
// and so nothing of the application's can fail it, hold it up, or be seen by it.
func TestNoConnectionOfItsOwn(t *testing.T) {
	extension.Do(func() {
		sqlite3.AutoExtension(func(*sqlite3.Conn) error {
			extension.opened.Add(1)
			if extension.fail.Load() {
				return errors.New("not now")
			}
			return nil
		})
	})
	rec := newRecorder()
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, rec), wal, normal, often)
	exec(t, c, "CREATE TABLE t(x)")
	opened := extension.opened.Load()
	rec.take()
	extension.fail.Store(true)
	defer extension.fail.Store(false)
	eventually(t, func() bool {
		fill(t, c, "t", 10)
		return stats(t, path).WALRestarts > 3
	})
	require.Equal(t, opened, extension.opened.Load())
	require.Zero(t, count(rec.take(), "open", "db"))
	require.Zero(t, stats(t, path).FailedCheckpoints)
	require.NoError(t, c.Close())
}

// TestWriteLockIsFree: a checkpoint in the background never has the write lock, also while commits of this process wait for it.
// At each of its operations another process writes that has no patience.
func TestWriteLockIsFree(t *testing.T) {
	for n := 0; ; n++ {
		rec := newRecorder()
		var armed atomic.Bool
		var ops atomic.Int32
		started, goOn := make(chan op, 1), make(chan struct{})
		release := sync.OnceFunc(func() { close(goOn) })
		defer release()
		rec.before = func(o op) error {
			if o.own && armed.Load() && ops.Add(1) == int32(n+1) {
				started <- o
				<-goOn
			}
			return nil
		}
		path := filepath.Join(t.TempDir(), "test.db")
		name := fmt.Sprintf("%s-%d", t.Name(), n)
		require.NoError(t, vfs.Register(name, rec))
		c := open(t, path, name, wal, normal, often)
		stock := open(t, path, "os", impatient, off, "_pragma=wal_autocheckpoint(0)")
		exec(t, c, "CREATE TABLE t(x)")
		done := make(chan struct{})
		exec(t, c, "BEGIN")
		fill(t, c, "t", 60)
		// The library has nothing else to do than the checkpoint that this commit waits for.
		require.NoError(t, vfs.Flush(t.Context()))
		armed.Store(true)
		go func() {
			defer close(done)
			exec(t, c, "COMMIT")
		}()
		select {
		case o := <-started:
			t.Log(o.kind, o.file)
			if o.file != "wal" || ops.Load() > 1 { // at the first, the commit itself may have begun it
				for range 20 {
					exec(t, stock, "INSERT INTO t VALUES(0)")
				}
			}
			release()
			<-done
		case <-done:
			require.Greater(t, n, 4)
			return
		}
		require.NoError(t, c.Close())
		require.NoError(t, stock.Close())
	}
}

// TestHeldCommitCancelled: a commit whose context ends while it waits for a checkpoint leaves no lock behind.
func TestHeldCommitCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal, often, impatient)
	exec(t, c, "CREATE TABLE t(x)")
	stop, done := make(chan struct{}), make(chan error)
	readers := []*sqlite3.Conn{open(t, path, "async"), open(t, path, "async")}
	for _, r := range readers {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if err := r.Exec("SELECT count(*) FROM t"); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for i := range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		c.SetInterrupt(ctx)
		if i%3 == 0 {
			go cancel()
		}
		err := c.Exec("INSERT INTO t VALUES(zeroblob(3000))")
		// A reader of SQLite's that finds the WAL-index's header half written takes the write lock, for a moment.
		for tries := 0; errors.Is(err, sqlite3.BUSY) && tries < 1000; tries++ {
			runtime.Gosched()
			err = c.Exec("INSERT INTO t VALUES(zeroblob(3000))")
		}
		cancel()
		if err != nil {
			require.ErrorIs(t, err, sqlite3.INTERRUPT)
		}
	}
	c.SetInterrupt(context.Background())
	close(stop)
	for range readers {
		require.NoError(t, <-done)
	}
	require.NotZero(t, stats(t, path).Checkpoints)
}

// TestCheckpointAfterBulkLoad: the only connection can checkpoint as it likes
// after a transaction that has filled the WAL.
func TestCheckpointAfterBulkLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal, impatient)
	exec(t, c, "CREATE TABLE t(x)")
	for i := range 20 {
		exec(t, c, "BEGIN")
		fill(t, c, "t", 2000)
		exec(t, c, "COMMIT")
		_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		require.NoError(t, err, i)
	}
	require.NotZero(t, stats(t, path).Checkpoints)
}

// TestWALCheckpoint: it isn't in the way of the library's own checkpoints, nor they in its way.
func TestWALCheckpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal, impatient)
	exec(t, c, "CREATE TABLE t(x)")
	var busy int
	for i := range 80 {
		for range 1500 { // so that a checkpoint is running, or has just been asked for
			exec(t, c, "INSERT INTO t VALUES(randomblob(5000))")
			if stats(t, path).Checkpoints > uint64(i) {
				break
			}
		}
		frames, done, err := vfs.WALCheckpoint(c, "", sqlite3.CHECKPOINT_TRUNCATE)
		if errors.Is(err, sqlite3.BUSY) {
			busy++
			continue
		}
		require.NoError(t, err)
		require.Zero(t, frames)
		require.Zero(t, done)
	}
	require.Zero(t, busy)
	require.NotZero(t, stats(t, path).Checkpoints)

	other := open(t, filepath.Join(t.TempDir(), "other.db"), "os", wal)
	_, _, err := vfs.WALCheckpoint(other, "main", sqlite3.CHECKPOINT_PASSIVE)
	require.NoError(t, err)
	_, _, err = vfs.WALCheckpoint(c, "none", sqlite3.CHECKPOINT_PASSIVE)
	require.Error(t, err)
}

// TestWALIsKept where the application says so.
func TestWALIsKept(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*sqlite3.Conn) error
	}{
		{"persist-wal", func(c *sqlite3.Conn) error {
			_, err := c.FileControl("main", sqlite3.FCNTL_PERSIST_WAL, true)
			return err
		}},
		{"no-checkpoint-on-close", func(c *sqlite3.Conn) error {
			_, err := c.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true)
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range 30 {
				path := filepath.Join(t.TempDir(), "test.db")
				c := open(t, path, "async", wal, normal, often)
				require.NoError(t, tt.set(c))
				exec(t, c, "CREATE TABLE t(x)")
				fill(t, c, "t", 7+i)
				require.NoError(t, c.Close())
				require.FileExists(t, path+"-wal")
			}
		})
	}
}

// TestBackfill: what it brings over is what SQLite would, for every size of page, also where the database shrinks.
func TestBackfill(t *testing.T) {
	for _, size := range []string{"512", "1024", "4096", "65536"} {
		t.Run(size, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			c := open(t, path, "async", "_pragma=page_size("+size+")", wal, normal, often)
			exec(t, c, "CREATE TABLE t(i INTEGER PRIMARY KEY, x); CREATE INDEX tx ON t(x)")
			rows := func(c *sqlite3.Conn) string {
				return query(t, c, "SELECT count(*)||' '||total(length(x))||' '||max(hex(x)) FROM t")
			}
			for i := range 12 {
				fillBlobs(t, c, 60)
				exec(t, c, "DELETE FROM t WHERE i % 3 = 0")
				if i%5 == 4 {
					exec(t, c, "VACUUM")
				}
			}
			before := stats(t, path)
			require.NotZero(t, before.Checkpoints)
			require.NotZero(t, before.WALRestarts)
			require.Zero(t, before.FailedCheckpoints)
			want := rows(c)
			require.NoError(t, c.Close())
			stock := open(t, path, "os")
			require.Equal(t, want, rows(stock))
			require.Equal(t, "ok", query(t, stock, "PRAGMA integrity_check"))
		})
	}
}

func fillBlobs(t *testing.T, c *sqlite3.Conn, n int) {
	for range n {
		exec(t, c, "INSERT INTO t(x) VALUES(randomblob(1+abs(random())%2000))")
	}
}

// TestBackfillOfChecksums: a database with checksums is left to SQLite, whose VFS for them computes those.
func TestBackfillOfChecksums(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	var log logs
	name := register(t, sqlitevfs.Find(""), vfs.Logger(log.logger()))
	c := open(t, path, name, normal, often)
	_, err := c.FileControl("main", sqlite3.FCNTL_RESERVE_BYTES, 8)
	require.NoError(t, err)
	exec(t, c, "VACUUM; PRAGMA journal_mode=wal; CREATE TABLE t(x)")
	eventually(t, func() bool {
		fill(t, c, "t", 1)
		s := stats(t, path)
		return s.WALRestarts > 1 && s.FailedCheckpoints > 0
	})
	require.NoError(t, c.Close())
	require.Equal(t, 1, log.count("checksums"))
	c = open(t, path, name)
	require.Equal(t, "1", query(t, c, "PRAGMA checksum_verification"))
	require.Equal(t, "ok", query(t, c, "PRAGMA integrity_check"))
}

// TestOverlappingReaders: the WAL is started over although there is always somebody who reads it,
// as long as none of them goes on.
func TestOverlappingReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal, often)
	exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	stop, done := make(chan struct{}), make(chan error)
	// Each begins to read before the other one ends.
	turns := []chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}
	for i := range turns {
		r := open(t, path, "async")
		go func() {
			for {
				err := r.Exec("BEGIN; SELECT x FROM t LIMIT 1")
				select {
				case turns[1-i] <- struct{}{}:
				default: // the other one has ended
				}
				select {
				case <-stop:
					done <- err
					return
				case <-turns[i]:
				}
				if err := errors.Join(err, r.Exec("COMMIT")); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	eventually(t, func() bool {
		fill(t, c, "t", 100)
		return stats(t, path).WALRestarts > 3
	})
	close(stop)
	for range turns {
		require.NoError(t, <-done)
	}
}
