package clients_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

func TestSQLTransactions(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db := openSQL(t, dsn(path, level)+"&_txlock=deferred") // two transactions begin at once
		_, err := db.Exec("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
		require.NoError(t, err)
		start := commits(t, path)

		// Commit: one for both rows.
		tx, err := db.Begin()
		require.NoError(t, err)
		for _, name := range []string{"Ada", "Grace"} {
			_, err := tx.Exec("INSERT INTO users(name) VALUES(?)", name)
			require.NoError(t, err)
		}
		require.Zero(t, scan[int](t, db, "SELECT count(*) FROM users"), "others see it before the commit")
		require.NoError(t, tx.Commit())
		require.Equal(t, 2, scan[int](t, db, "SELECT count(*) FROM users"))
		require.Equal(t, start+1, commits(t, path))

		// Rollback.
		tx, err = db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec("DELETE FROM users")
		require.NoError(t, err)
		require.Zero(t, scan[int](t, tx, "SELECT count(*) FROM users"))
		require.NoError(t, tx.Rollback())
		require.Equal(t, 2, scan[int](t, db, "SELECT count(*) FROM users"))

		// A statement that fails, and a transaction that may not write.
		_, err = db.Exec("INSERT INTO users(name) VALUES('Edith'), ('Ada')")
		require.ErrorIs(t, err, sqlite3.CONSTRAINT_UNIQUE)
		tx, err = db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
		require.NoError(t, err)
		_, err = tx.Exec("DELETE FROM users")
		require.ErrorIs(t, err, sqlite3.READONLY)
		require.NoError(t, tx.Rollback())
		require.Equal(t, start+1, commits(t, path))

		// A reader keeps its snapshot.
		tx, err = db.Begin()
		require.NoError(t, err)
		require.Equal(t, 2, scan[int](t, tx, "SELECT count(*) FROM users"))
		res, err := db.Exec("INSERT INTO users(name) VALUES('Edith')")
		require.NoError(t, err)
		id, err := res.LastInsertId()
		require.NoError(t, err)
		require.EqualValues(t, 3, id)
		require.Equal(t, 2, scan[int](t, tx, "SELECT count(*) FROM users"))
		require.NoError(t, tx.Commit())
		require.Equal(t, 3, scan[int](t, db, "SELECT count(*) FROM users"))
		require.Equal(t, start+2, commits(t, path))

		checkDurable(t, path, level, func() string { return scan[string](t, db, "PRAGMA async_wait") })
		require.NoError(t, db.Close())
		require.Equal(t, []string{"Ada", "Grace", "Edith"}, query(t, reopen(t, path), "SELECT name FROM users ORDER BY id"))
	})
}

func TestSQLSavepoints(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db := openSQL(t, dsn(path, level))
		_, err := db.Exec("CREATE TABLE t(x)")
		require.NoError(t, err)
		start := commits(t, path)

		tx, err := db.Begin()
		require.NoError(t, err)
		insert, err := tx.Prepare("INSERT INTO t VALUES(?)")
		require.NoError(t, err)
		add := func(x int) {
			_, err := insert.Exec(x)
			require.NoError(t, err)
		}
		add(1)
		undone := driver.Savepoint(tx)
		add(2)
		require.NoError(t, undone.Rollback())
		add(3)
		// A savepoint is kept or undone by the error that Release is given.
		nested := func(x int, result error) (err error) {
			savepoint := driver.Savepoint(tx)
			defer savepoint.Release(&err)
			add(x)
			return result
		}
		require.NoError(t, nested(4, nil))
		require.ErrorIs(t, nested(5, errRefused), errRefused)
		require.NoError(t, insert.Close())
		require.NoError(t, tx.Commit())
		// A savepoint in a transaction is no commit.
		require.Equal(t, start+1, commits(t, path))

		checkDurable(t, path, level, func() string { return scan[string](t, db, "PRAGMA async_wait") })
		require.NoError(t, db.Close())
		require.Equal(t, []string{"1", "3", "4"}, query(t, reopen(t, path), "SELECT x FROM t ORDER BY x"))
	})
}

func TestSQLConcurrent(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db := openSQL(t, dsn(path, level)+"&_txlock=deferred") // two transactions begin at once
		_, err := db.Exec("CREATE TABLE t(worker, round, payload BLOB, PRIMARY KEY(worker, round))")
		require.NoError(t, err)
		// Shared by the goroutines, as applications do: database/sql prepares it on each connection.
		insert, err := db.Prepare("INSERT INTO t VALUES(:worker, :round, :payload)")
		require.NoError(t, err)
		start := commits(t, path)
		payload := random(10_000)

		work := func(worker int, all *sync.WaitGroup) error {
			// Has each worker use a connection of its own: a transaction holds it, and no lock yet.
			tx, err := db.Begin()
			all.Done()
			if err != nil {
				return err
			}
			all.Wait()
			for round := range rounds {
				if round > 0 {
					tx, err = db.Begin()
					if err != nil {
						return err
					}
				}
				_, err = tx.Stmt(insert).Exec(sql.Named("worker", worker), sql.Named("round", round), sql.Named("payload", payload))
				if err != nil {
					return errors.Join(err, tx.Rollback())
				}
				if round%2 == 0 {
					err = tx.Commit()
				} else {
					err = tx.Rollback()
				}
				if err != nil {
					return err
				}
				// Not in a transaction, while others write.
				var n int
				err = db.QueryRow("SELECT count(*) FROM t WHERE worker = ?", worker).Scan(&n)
				if err != nil {
					return err
				}
				if n != round/2+1 {
					return fmt.Errorf("worker %d sees %d of its rows after round %d", worker, n, round)
				}
			}
			return nil
		}
		var all sync.WaitGroup
		all.Add(workers)
		errs := make(chan error, workers)
		for worker := range workers {
			go func() { errs <- work(worker, &all) }()
		}
		all.Wait()
		for range workers {
			require.NoError(t, <-errs)
		}
		require.Equal(t, start+workers*rounds/2, commits(t, path))

		require.NoError(t, insert.Close())
		checkDurable(t, path, level, func() string { return scan[string](t, db, "PRAGMA async_wait") })
		require.NoError(t, db.Close())
		c := reopen(t, path)
		require.Equal(t, []string{fmt.Sprint(workers * rounds / 2)}, query(t, c, "SELECT count(*) FROM t WHERE round % 2 = 0"))
		require.Equal(t, []string{string(payload)}, query(t, c, "SELECT DISTINCT payload FROM t"))
	})
}

func TestSQLPreparedAndBlobs(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db := openSQL(t, dsn(path, level))
		_, err := db.Exec("CREATE TABLE files(name TEXT PRIMARY KEY, data BLOB)")
		require.NoError(t, err)
		insert, err := db.Prepare("INSERT INTO files VALUES(?, ?)")
		require.NoError(t, err)
		get, err := db.Prepare("SELECT data FROM files WHERE name = ?")
		require.NoError(t, err)
		start := commits(t, path)

		// From none to more than a WAL that SQLite checkpoints, of 1000 pages.
		all := random(5 << 20)
		sizes := []int{0, 1, 4096, 100_000, len(all)}
		for _, n := range sizes {
			_, err := insert.Exec(fmt.Sprint(n), all[:n])
			require.NoError(t, err)
		}
		require.Equal(t, start+len(sizes), commits(t, path))
		for _, n := range sizes {
			var data []byte
			require.NoError(t, get.QueryRow(fmt.Sprint(n)).Scan(&data))
			require.True(t, bytes.Equal(all[:n], data), "%d bytes differ", n)
		}
		var data []byte
		require.ErrorIs(t, get.QueryRow("none").Scan(&data), sql.ErrNoRows)
		s, err := vfs.Stats(path)
		require.NoError(t, err)
		require.NotZero(t, s.Checkpoints)

		require.NoError(t, insert.Close())
		require.NoError(t, get.Close())
		checkDurable(t, path, level, func() string { return scan[string](t, db, "PRAGMA async_wait") })
		require.NoError(t, db.Close())
		last := query(t, reopen(t, path), "SELECT data FROM files ORDER BY length(data) DESC LIMIT 1")
		require.Len(t, last, 1)
		require.True(t, last[0] == string(all), "the largest differs")
	})
}
