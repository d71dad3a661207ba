package clients_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// wait is for checkDurable.
func wait(t *testing.T, c *sqlite3.Conn) func() string {
	return func() string {
		all := query(t, c, "PRAGMA async_wait")
		require.Len(t, all, 1)
		return all[0]
	}
}

func TestSQLite3Transactions(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		c := open(t, dsn(path, level))
		other := open(t, dsn(path, level))
		require.NoError(t, c.Exec("CREATE TABLE t(x)"))
		start := commits(t, path)

		insert, _, err := c.Prepare("INSERT INTO t VALUES(?)")
		require.NoError(t, err)
		defer insert.Close()
		add := func(x int) error {
			return errors.Join(insert.BindInt(1, x), insert.Exec())
		}
		// The statement stays prepared through all of it.
		transact := func(result error, xs ...int) (err error) {
			tx, err := c.BeginImmediate()
			if err != nil {
				return err
			}
			defer tx.End(&err)
			for _, x := range xs {
				if err := add(x); err != nil {
					return err
				}
			}
			return result
		}
		require.NoError(t, transact(nil, 1, 2))
		require.ErrorIs(t, transact(errRefused, 3, 4), errRefused)
		require.Equal(t, start+1, commits(t, path))
		require.Equal(t, []string{"1", "2"}, query(t, other, "SELECT x FROM t"))

		// Savepoints: one within a transaction, and one that is the transaction.
		require.NoError(t, func() (err error) {
			outer := c.Savepoint()
			defer outer.Release(&err)
			if err := add(5); err != nil {
				return err
			}
			inner := c.Savepoint()
			if err := add(6); err != nil {
				return err
			}
			if err := inner.Rollback(); err != nil {
				return err
			}
			return add(7)
		}())
		require.Equal(t, start+2, commits(t, path))
		require.Equal(t, []string{"1", "2", "5", "7"}, query(t, other, "SELECT x FROM t"))

		// The application can still veto a commit.
		c.CommitHook(func() bool { return false })
		require.ErrorIs(t, add(8), sqlite3.CONSTRAINT_COMMITHOOK)
		c.CommitHook(nil)
		require.Equal(t, start+2, commits(t, path))

		require.NoError(t, insert.Close())
		checkDurable(t, path, level, wait(t, other))
		require.NoError(t, other.Close())
		require.NoError(t, c.Close())
		require.Equal(t, []string{"1", "2", "5", "7"}, query(t, reopen(t, path), "SELECT x FROM t"))
	})
}

func TestSQLite3Blobs(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		c := open(t, dsn(path, level))
		require.NoError(t, c.Exec("CREATE TABLE files(data BLOB)"))
		data := random(1 << 20)
		require.NoError(t, c.Exec(fmt.Sprintf("INSERT INTO files VALUES(zeroblob(%d))", len(data))))
		start := commits(t, path)

		blob, err := c.OpenBlob("main", "files", "data", c.LastInsertRowID(), true)
		require.NoError(t, err)
		defer blob.Close()
		n, err := io.Copy(blob, bytes.NewReader(data))
		require.NoError(t, err)
		require.EqualValues(t, len(data), n)
		// The transaction that OpenBlob began ends here.
		require.NoError(t, blob.Close())
		require.Equal(t, start+1, commits(t, path))

		blob, err = c.OpenBlob("main", "files", "data", 1, false)
		require.NoError(t, err)
		defer blob.Close()
		_, err = blob.Seek(-1000, io.SeekEnd)
		require.NoError(t, err)
		tail, err := io.ReadAll(blob)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[len(data)-1000:], tail), "the tail differs")
		require.NoError(t, blob.Close())

		checkDurable(t, path, level, wait(t, c))
		require.NoError(t, c.Close())
		all := query(t, reopen(t, path), "SELECT data FROM files")
		require.Len(t, all, 1)
		require.True(t, all[0] == string(data), "the blob differs")
	})
}

func TestSQLite3Backup(t *testing.T) {
	const fill = `
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 500)
		INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n`
	eachLevel(t, func(t *testing.T, path, level string) {
		dir := filepath.Dir(path)
		c := open(t, dsn(path, level))
		require.NoError(t, c.Exec("CREATE TABLE t(i INTEGER PRIMARY KEY, x)"))
		require.NoError(t, c.Exec(fill))

		// What is backed up is still in the WAL. To the stock VFS, and to this one.
		plain, async := filepath.Join(dir, "plain.db"), filepath.Join(dir, "async.db")
		require.NoError(t, c.Backup("main", stock(plain)))
		require.NoError(t, c.Backup("main", dsn(async, level)))

		// Step by step: the backup takes over what the connection writes meanwhile.
		steps := filepath.Join(dir, "steps.db")
		b, err := c.BackupInit("main", dsn(steps, level))
		require.NoError(t, err)
		defer b.Close()
		done, err := b.Step(5)
		require.NoError(t, err)
		require.False(t, done)
		require.Equal(t, b.PageCount()-5, b.Remaining())
		require.NoError(t, c.Exec("UPDATE t SET x = 'late' WHERE i IN (1, 500)"))
		done, err = b.Step(-1)
		require.NoError(t, err)
		require.True(t, done)
		s, err := vfs.Stats(steps)
		require.NoError(t, err, "the backup isn't written through the VFS")
		require.NotZero(t, s.Commits)
		require.NoError(t, b.Close())
		for path, late := range map[string]string{plain: "0", async: "0", steps: "2"} {
			c := reopen(t, path)
			require.Equal(t, []string{"500"}, query(t, c, "SELECT count(*) FROM t"), path)
			require.Equal(t, []string{late}, query(t, c, "SELECT count(*) FROM t WHERE x = 'late'"), path)
		}

		// Restore over a database that is open, and that another connection reads.
		start := commits(t, path)
		other := open(t, dsn(path, level))
		require.NoError(t, c.Exec("DELETE FROM t"))
		require.Equal(t, []string{"0"}, query(t, other, "SELECT count(*) FROM t"))
		require.NoError(t, c.Restore("main", stock(plain)))
		require.Equal(t, []string{"500"}, query(t, other, "SELECT count(*) FROM t WHERE x <> 'late'"))
		require.Equal(t, start+2, commits(t, path))
		require.NoError(t, c.Restore("main", dsn(steps, level)))
		require.Equal(t, []string{"2"}, query(t, other, "SELECT count(*) FROM t WHERE x = 'late'"))
		require.Equal(t, start+3, commits(t, path))

		checkDurable(t, path, level, wait(t, other))
		require.NoError(t, other.Close())
		require.NoError(t, c.Close())
		c = reopen(t, path)
		require.Equal(t, []string{"500"}, query(t, c, "SELECT count(*) FROM t"))
		require.Equal(t, []string{"2"}, query(t, c, "SELECT count(*) FROM t WHERE x = 'late'"))
	})
}

func TestSQLite3Concurrent(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		c := open(t, dsn(path, level))
		require.NoError(t, c.Exec("CREATE TABLE t(worker, round, PRIMARY KEY(worker, round))"))
		start := commits(t, path)

		// A connection for each goroutine, opened and closed while others write.
		work := func(worker int) (err error) {
			c, err := sqlite3.Open(dsn(path, level))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			insert, _, err := c.Prepare("INSERT INTO t VALUES(?, ?)")
			if err != nil {
				return err
			}
			defer insert.Close()
			for round := range rounds {
				err := errors.Join(insert.BindInt(1, worker), insert.BindInt(2, round), insert.Exec())
				if err != nil {
					return err
				}
			}
			return nil
		}
		errs := make(chan error, workers)
		for worker := range workers {
			go func() { errs <- work(worker) }()
		}
		for range workers {
			require.NoError(t, <-errs)
		}
		require.Equal(t, start+workers*rounds, commits(t, path))
		require.Equal(t, []string{fmt.Sprint(workers * rounds)}, query(t, c, "SELECT count(*) FROM t"))

		// Maintenance: a checkpoint that empties the WAL, and a new database file in place of the old.
		_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		require.NoError(t, err)
		s, err := vfs.Stats(path)
		require.NoError(t, err)
		require.NotZero(t, s.Checkpoints)
		require.Zero(t, s.WALBytes)
		require.NoError(t, c.Exec("DELETE FROM t WHERE round > 0; VACUUM"))

		checkDurable(t, path, level, wait(t, c))
		require.NoError(t, c.Close())
		require.Equal(t, []string{fmt.Sprint(workers)}, query(t, reopen(t, path), "SELECT count(*) FROM t"))
	})
}
