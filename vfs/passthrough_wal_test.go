package vfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestVacuum: VACUUM is one commit of a WAL database, and VACUUM INTO makes another database.
func TestVacuum(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 2, nil, full, slow)
	c := conns[0]
	exec(t, c, passthroughFill+passthroughFill+"DELETE FROM t WHERE rowid%2")
	size := func() int64 {
		_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Size()
	}
	before, big := stats(t, path), size()
	exec(t, c, "VACUUM")
	s := stats(t, path)
	require.Equal(t, before.Commits+1, s.Commits)
	require.Equal(t, s.Commits, s.DurableCommits)
	require.Equal(t, "200", query(t, conns[1], "SELECT count(*) FROM t"))
	require.Less(t, size(), big*2/3)

	require.Empty(t, brokenRules(rec.take()))

	into := filepath.Join(filepath.Dir(path), "into.db")
	commits := stats(t, path).Commits
	exec(t, c, "VACUUM INTO '"+into+"'")
	require.Equal(t, commits, stats(t, path).Commits)
	require.Zero(t, handlesListed(into))
	require.ErrorContains(t, c.Exec("VACUUM INTO '"+into+"'"), "already exists")
	for _, p := range []string{path, into} {
		checkIntegrity(t, p)
		require.Equal(t, "200", query(t, open(t, p, "os"), "SELECT count(*) FROM t"))
	}
}

// TestModeChanges goes in and out of WAL mode and exclusive locking.
func TestModeChanges(t *testing.T) {
	for _, level := range []string{full, normal, off} {
		t.Run(level, func(t *testing.T) {
			rec := newRecorder()
			path := filepath.Join(handlesDir(t), "test.db")
			c := open(t, path, register(t, rec), level, noAuto, slow)
			rows := 0
			add := func() {
				t.Helper()
				exec(t, c, "INSERT INTO t VALUES(1)")
				rows++
				require.Equal(t, rows, passthroughInt(t, query(t, c, "SELECT count(*) FROM t")))
			}
			mode := func(want, sql string) {
				t.Helper()
				require.Equal(t, want, query(t, c, sql))
			}
			exec(t, c, "CREATE TABLE t(x)")
			for range 3 {
				mode("wal", "PRAGMA journal_mode=wal")
				before := stats(t, path).Commits
				add()
				add()
				require.Equal(t, before+2, stats(t, path).Commits)
				require.FileExists(t, path+"-wal")
				mode("delete", "PRAGMA journal_mode=delete")
				require.NoFileExists(t, path+"-wal")
				before = stats(t, path).Commits
				add()
				require.Equal(t, before, stats(t, path).Commits) // not in WAL mode
			}

			// WAL without shared memory.
			other := open(t, path, "os", "_pragma=busy_timeout(0)")
			mode("exclusive", "PRAGMA locking_mode=exclusive")
			mode("wal", "PRAGMA journal_mode=wal")
			before := stats(t, path).Commits
			for range 3 {
				add()
				_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
				require.NoError(t, err)
			}
			add()
			require.Equal(t, before+4, stats(t, path).Commits)
			exec(t, c, "PRAGMA async_wait")
			require.Zero(t, stats(t, path).PendingBytes)
			require.FileExists(t, path+"-wal")
			require.NoFileExists(t, path+"-shm")
			require.ErrorIs(t, other.Exec("SELECT * FROM t"), sqlite3.BUSY)
			mode("delete", "PRAGMA journal_mode=delete")
			mode("normal", "PRAGMA locking_mode=normal")
			add()
			require.Equal(t, rows, passthroughInt(t, query(t, other, "SELECT count(*) FROM t")))
			require.NoError(t, other.Close())

			// WAL with shared memory, held exclusively for a while.
			mode("wal", "PRAGMA journal_mode=wal")
			add()
			require.FileExists(t, path+"-shm")
			mode("exclusive", "PRAGMA locking_mode=exclusive")
			add()
			other = open(t, path, "os", "_pragma=busy_timeout(0)")
			require.ErrorIs(t, other.Exec("SELECT * FROM t"), sqlite3.BUSY)
			mode("normal", "PRAGMA locking_mode=normal")
			add()
			require.Equal(t, rows, passthroughInt(t, query(t, other, "SELECT count(*) FROM t")))
			require.NoError(t, other.Close())
			require.NoError(t, c.Close())
			require.NoFileExists(t, path+"-wal")
			checkIntegrity(t, path)
			require.Empty(t, brokenRules(rec.take()))
		})
	}
}

// TestBackup copies with the backup API, in each direction.
func TestBackup(t *testing.T) {
	ours := register(t, newRecorder())
	fill := func(path, vfsName string) *sqlite3.Conn {
		c := open(t, path, vfsName, wal, full, noAuto)
		exec(t, c, "CREATE TABLE t(x); "+passthroughFill)
		return c
	}
	rows := func(path, want string) {
		t.Helper()
		checkIntegrity(t, path)
		require.Equal(t, want, query(t, open(t, path, "os"), "SELECT count(*) FROM t"))
	}
	for _, tt := range []struct{ name, from, to string }{
		{"out", ours, "os"}, {"in", "os", ours}, {"both", ours, ours},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := handlesDir(t)
			src, dst := filepath.Join(dir, "src.db"), filepath.Join(dir, "dst.db")
			c := fill(src, tt.from)
			require.NoError(t, c.Backup("main", dsn(dst, tt.to)))
			rows(dst, "200")

			// Into a WAL database that others have open.
			to := open(t, dst, tt.to, wal, full, noAuto)
			exec(t, to, "DELETE FROM t; INSERT INTO t VALUES(1)")
			if tt.to == ours {
				before := stats(t, dst)
				require.NoError(t, c.Backup("main", dsn(dst, tt.to, full)))
				require.Equal(t, before.Commits+1, stats(t, dst).Commits)
				require.Zero(t, stats(t, dst).PendingBytes)
			} else {
				require.NoError(t, c.Backup("main", dsn(dst, tt.to, full)))
			}
			require.Equal(t, "200", query(t, to, "SELECT count(*) FROM t"))

			// Step by step, while others write.
			b, err := c.BackupInit("main", dsn(filepath.Join(dir, "steps.db"), tt.to))
			require.NoError(t, err)
			done, err := b.Step(3)
			require.NoError(t, err)
			require.False(t, done)
			exec(t, open(t, src, tt.from), "INSERT INTO t VALUES(1)")
			done, err = b.Step(-1)
			require.NoError(t, err)
			require.True(t, done)
			require.NoError(t, b.Close())
			rows(filepath.Join(dir, "steps.db"), "201")

			// The other way round.
			require.NoError(t, to.Restore("main", dsn(src, tt.from)))
			require.Equal(t, "201", query(t, to, "SELECT count(*) FROM t"))
			require.NoError(t, to.Close())
			rows(dst, "201")
			require.Zero(t, handlesListed(dst))
		})
	}
}

// TestChecksums: go-sqlite3 puts its checksums over this VFS.
func TestChecksums(t *testing.T) {
	path := filepath.Join(handlesDir(t), "test.db")
	c := open(t, path, "async", wal, full)
	require.Equal(t, "0", query(t, c, "PRAGMA checksum_verification"))
	exec(t, c, "CREATE TABLE t(x)")
	require.NoError(t, c.EnableChecksums("main"))
	exec(t, c, "INSERT INTO t VALUES('what is to be found in the file')")
	require.Equal(t, "1", query(t, c, "PRAGMA checksum_verification"))
	s := stats(t, path)
	require.GreaterOrEqual(t, s.Commits, uint64(3))
	require.Equal(t, s.Commits, s.DurableCommits)
	require.NoError(t, c.Close())
	checkIntegrity(t, path)

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	i := bytes.Index(b, []byte("to be found"))
	require.Positive(t, i)
	b[i] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o600))
	c = open(t, path, "async")
	require.ErrorIs(t, c.Exec("SELECT * FROM t"), sqlite3.IOERR_DATA)
	exec(t, c, "PRAGMA checksum_verification=off")
	require.Equal(t, "what is uo be found in the file", query(t, c, "SELECT x FROM t"))
}

func passthroughInt(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}
