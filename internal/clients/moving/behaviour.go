package moving

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// MattnTime is how mattn writes times.
const MattnTime = "2006-01-02 15:04:05.999999999-07:00"

// At is a time that is not in UTC, and not of whole seconds.
var At = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600))

// BeginLocks reports whether nobody else can write while a transaction has begun and done nothing yet.
func BeginLocks(t testing.TB, driver, params string) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	db := OpenPath(t, driver, path, params)
	_, err := db.Exec("PRAGMA journal_mode=wal")
	require.NoError(t, err)
	_, err = db.Exec("CREATE TABLE t(a)")
	require.NoError(t, err)
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	other := OpenPath(t, driver, path, params+"&_pragma=busy_timeout(0)&_busy_timeout=0")
	_, err = other.Exec("INSERT INTO t VALUES(1)")
	if err != nil {
		require.ErrorContains(t, err, "locked")
	}
	return err != nil
}

// Several runs several statements in one Exec, one that inserts 1, and then two with the arguments 2 and 3.
// It returns what was inserted, and the error of the second Exec.
func Several(t testing.TB, driver, params string) (inserted string, err error) {
	t.Helper()
	db := Open(t, driver, params)
	_, err = db.Exec("CREATE TABLE t(a); INSERT INTO t VALUES(1)")
	require.NoError(t, err)
	_, with := db.Exec("INSERT INTO t VALUES(?); INSERT INTO t VALUES(?)", 2, 3)
	inserted, err = Ask(db, "SELECT group_concat(a, ' ' ORDER BY a) FROM t")
	require.NoError(t, err)
	return inserted, with
}

// UniqueError returns the error of a row that is there already.
func UniqueError(t testing.TB, driver, params string) error {
	t.Helper()
	db := Open(t, driver, params)
	_, err := db.Exec("CREATE TABLE t(a UNIQUE)")
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO t VALUES(1)")
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO t VALUES(1)")
	require.Error(t, err)
	return err
}
