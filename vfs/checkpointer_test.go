package vfs_test

import (
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

const (
	often     = "_pragma=wal_autocheckpoint(10)" // the limit is at 30 frames
	impatient = "_pragma=busy_timeout(0)"
)

// TestWALStaysBounded: with many writers, none of which ever pauses.
func TestWALStaysBounded(t *testing.T) {
	for _, level := range []string{full, normal} {
		t.Run(level, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			name := register(t, sqlitevfs.Find(""))
			var conns []*sqlite3.Conn
			for range 8 {
				conns = append(conns, open(t, path, name, wal, level, often))
			}
			exec(t, conns[0], "CREATE TABLE t(x)")
			done := make(chan error)
			for _, c := range conns {
				go func() {
					for range 300 {
						if err := c.Exec("INSERT INTO t VALUES(zeroblob(3000))"); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range conns {
				require.NoError(t, <-done)
			}
			s := stats(t, path)
			t.Log(s)
			require.Greater(t, s.WALRestarts, uint64(3))
			require.Less(t, s.WALBytes, int64(1500*4120), "of some 7000 frames written")
			require.Equal(t, "2400", query(t, conns[0], "SELECT count(*) FROM t"))
		})
	}
}

// TestReaderHoldsUpCheckpoint: a long reader makes the WAL grow, and commits don't wait for it.
// When it ends, the WAL is restarted.
func TestReaderHoldsUpCheckpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c, reader := open(t, path, "async", wal, normal, often), open(t, path, "async")
	exec(t, c, "CREATE TABLE t(x)")
	exec(t, reader, "BEGIN; SELECT * FROM t")
	before := stats(t, path)
	fill(t, c, "t", 300)
	grown := stats(t, path)
	require.Equal(t, before.WALRestarts, grown.WALRestarts)
	require.Greater(t, grown.WALBytes, int64(300*4096))
	require.Equal(t, "0", query(t, reader, "SELECT count(*) FROM t"))

	exec(t, reader, "COMMIT")
	fill(t, c, "t", 300)
	require.Greater(t, stats(t, path).WALRestarts, grown.WALRestarts)
	require.Equal(t, "600", query(t, reader, "SELECT count(*) FROM t"))
}

// TestCheckpointerIsNotSeen: with a single connection nothing is ever busy, as without it.
func TestCheckpointerIsNotSeen(t *testing.T) {
	for _, tt := range []struct{ name, sql, want string }{
		{"leave-wal", "PRAGMA journal_mode=delete", "delete"},
		{"truncate", "PRAGMA wal_checkpoint(TRUNCATE)", "0"},
		{"passive", "PRAGMA wal_checkpoint", "0"},
		{"exclusive", "PRAGMA locking_mode=exclusive; BEGIN IMMEDIATE; COMMIT", ""},
		{"vacuum", "VACUUM", ""},
		{"immediate", "BEGIN IMMEDIATE; INSERT INTO t VALUES(1); COMMIT", ""},
		{"exclusive-transaction", "BEGIN EXCLUSIVE; COMMIT", ""},
		{"schema", "ALTER TABLE t ADD COLUMN y; ALTER TABLE t DROP COLUMN y", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			c := open(t, path, "async", wal, normal, often, impatient)
			exec(t, c, "CREATE TABLE t(x)")
			for i := range 60 {
				// Up to anywhere in the checkpointer's cycle.
				fill(t, c, "t", 7+i%30)
				if tt.want != "" {
					require.Equal(t, tt.want, query(t, c, tt.sql))
				} else {
					exec(t, c, tt.sql)
				}
				exec(t, c, "PRAGMA locking_mode=normal; PRAGMA journal_mode=wal; DELETE FROM t")
			}
			require.NotZero(t, stats(t, path).Checkpoints)
		})
	}
}

// TestNeverBusy: nor while checkpoints begin all the time.
func TestNeverBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal, "_pragma=wal_autocheckpoint(2)", impatient)
	exec(t, c, "CREATE TABLE t(x)")
	for range 5000 {
		exec(t, c, "INSERT INTO t VALUES(1)")
	}
	s := stats(t, path)
	require.Greater(t, s.Checkpoints, uint64(100))
	require.Zero(t, s.FailedCheckpoints)
}

// TestCheckpointHangs: commits wait only so long for a checkpoint whose disk hangs, and then go on without it,
// also where handles of the base VFS have something in common.
func TestCheckpointHangs(t *testing.T) {
	plain, cipher := newRecorder(), newCipherBase()
	for _, tt := range []struct {
		name string
		base sqlitevfs.VFS
		rec  *recorder
	}{
		{"plain", plain, plain},
		{"cipher", cipher, cipher.recorder},
	} {
		t.Run(tt.name, func(t *testing.T) { checkpointHangs(t, tt.base, tt.rec) })
	}
}

func checkpointHangs(t *testing.T, base sqlitevfs.VFS, rec *recorder) {
	hang, goOn := atomic.Bool{}, make(chan struct{})
	rec.before = func(o op) error {
		if o.kind == "write" && o.file == "db" && o.own && hang.Load() {
			<-goOn
		}
		return nil
	}
	path := filepath.Join(t.TempDir(), "test.db")
	var log logs
	c := open(t, path, register(t, base, vfs.Logger(log.logger())), wal, normal, often)
	exec(t, c, "CREATE TABLE t(x)")
	hang.Store(true)
	fill(t, c, "t", 300)
	s := stats(t, path)
	require.Greater(t, s.WALBytes, int64(300*4096), "the checkpoint lock is taken")
	require.NotZero(t, s.MaxHeldMicros)
	require.Equal(t, 1, log.count("takes very long"))
	hang.Store(false)
	close(goOn)
	eventually(t, func() bool {
		fill(t, c, "t", 1)
		return stats(t, path).WALRestarts > s.WALRestarts
	})
	require.Equal(t, 1, log.count("takes very long"))
}

// TestCheckpointOfAll: PRAGMA wal_checkpoint without a schema means all databases, and none of them is busy.
func TestCheckpointOfAll(t *testing.T) {
	dir := t.TempDir()
	aux := filepath.Join(dir, "aux.db")
	c := open(t, filepath.Join(dir, "main.db"), "async", wal, normal, often, impatient)
	exec(t, c, "ATTACH '"+dsn(aux, "async")+"' AS aux; PRAGMA aux.journal_mode=wal; PRAGMA aux.synchronous=normal")
	exec(t, c, "CREATE TABLE t(x); CREATE TABLE aux.u(x)")
	for i := range 100 {
		fill(t, c, "aux.u", 7+i%30)
		require.Equal(t, "0", query(t, c, "PRAGMA wal_checkpoint(TRUNCATE)"), "busy")
		exec(t, c, "DELETE FROM aux.u")
	}
	require.NotZero(t, stats(t, aux).Checkpoints)
}

// TestLastCloseEndsCheckpointer checkpoints and deletes the WAL, and returns after that,
// whatever the checkpointer is at.
func TestLastCloseEndsCheckpointer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "test.db")
	rows := 0
	for i := range 60 {
		c, err := sqlite3.Open(dsn(path, "async", wal, full, often))
		require.NoError(t, err)
		other, err := sqlite3.Open(dsn(path, "async"))
		require.NoError(t, err)
		exec(t, c, "CREATE TABLE IF NOT EXISTS t(x)")
		fill(t, c, "t", 7+i%30)
		rows += 7 + i%30
		if i%2 == 0 {
			query(t, other, "SELECT count(*) FROM t")
		}
		done := make(chan error)
		if i%3 == 0 {
			go func() { done <- other.Close() }()
			require.NoError(t, c.Close())
			require.NoError(t, <-done)
		} else {
			require.NoError(t, c.Close())
			require.NoError(t, other.Close())
		}
		_, err = vfs.Stats(path)
		require.ErrorIs(t, err, vfs.ErrNotOpen)
		if i%2 == 1 || i%3 != 0 {
			// Where two close at the same time, SQLite may leave the WAL behind.
			files, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, files, 1, "%v", files)
		}
		stock, err := sqlite3.Open("file:" + filepath.ToSlash(path))
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(rows), query(t, stock, "SELECT count(*) FROM t"))
		require.NoError(t, stock.Close())
	}
}

// TestNoOwnHandle: where the library can't open the database, commits do the checkpointer's work.
func TestNoOwnHandle(t *testing.T) {
	rec := newRecorder()
	rec.before = func(o op) error {
		if o.kind == "open" && o.file == "db" && o.own {
			return sqlite3.CANTOPEN
		}
		return nil
	}
	path := filepath.Join(t.TempDir(), "test.db")
	var log logs
	c := open(t, path, register(t, rec, vfs.Logger(log.logger())), wal, normal, often)
	exec(t, c, "CREATE TABLE t(x)")
	eventually(t, func() bool {
		fill(t, c, "t", 1)
		s := stats(t, path)
		return s.FailedCheckpoints > 0 && s.WALRestarts > 1
	})
	require.Equal(t, 1, log.count("no checkpoint in the background"))
}

// TestRenamed: the checkpointer never takes another file for the database that had its name.
func TestRenamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "test.db")
	c := open(t, path, "async", wal, normal, often)
	exec(t, c, "CREATE TABLE t(x)")
	require.NoError(t, os.Rename(path, filepath.Join(dir, "other.db")))
	fill(t, c, "t", 100)
	eventually(t, func() bool {
		fill(t, c, "t", 1)
		return stats(t, filepath.Join(dir, "other.db")).WALRestarts > 1
	})
	require.NoFileExists(t, path)
}

// TestCheckpointIsOffTheCommitPath: commits go on while a checkpoint in the background syncs the database file,
// and wait for one inline.
func TestCheckpointIsOffTheCommitPath(t *testing.T) {
	for _, mode := range []string{"background", "inline"} {
		t.Run(mode, func(t *testing.T) {
			rec := newRecorder()
			hold, started, release := atomic.Bool{}, make(chan struct{}), make(chan struct{})
			rec.before = func(o op) error {
				if o.kind == "write" && o.file == "db" && hold.CompareAndSwap(true, false) {
					close(started)
					<-release
				}
				return nil
			}
			path := filepath.Join(t.TempDir(), "test.db")
			c := open(t, path, register(t, rec), wal, normal, often, "checkpoint="+mode)
			exec(t, c, "CREATE TABLE t(x)")
			hold.Store(true)
			done := make(chan struct{})
			go func() {
				defer close(done)
				fill(t, c, "t", 12)
			}()
			<-started
			if mode == "background" {
				<-done
				close(release)
				return
			}
			require.Less(t, stats(t, path).Commits, uint64(12))
			close(release)
			<-done
		})
	}
}
