package moving

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// try begins such transactions, in a database with a rollback journal and in one with a WAL.
func (c Begin) try(t *testing.T, driver, params string) {
	params += "&" + c.DSN
	for _, journal := range []string{"delete", "wal"} {
		want := c.Want
		if journal == "wal" {
			want = strings.Replace(want, "exclusive", "immediate", 1)
		}
		require.Equal(t, want, begun(t, driver, params, journal, func(db *sql.DB) (*sql.Tx, error) {
			return db.BeginTx(t.Context(), &c.Options)
		}), journal)
		if c.Plain {
			require.Equal(t, want, begun(t, driver, params, journal, (*sql.DB).Begin), journal)
		}
	}
}

// begun returns what has begun: "deferred", "immediate" or "exclusive", with ", read-only" behind it if a write in it is an error; or "error" if none has.
func begun(t *testing.T, driver, params, journal string, begin func(*sql.DB) (*sql.Tx, error)) (what string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	db := OpenPath(t, driver, path, params)
	db.SetMaxOpenConns(1)
	got, err := Ask(db, "PRAGMA journal_mode="+journal)
	require.NoError(t, err)
	require.Equal(t, journal, got)
	_, err = db.Exec("CREATE TABLE t(a)")
	require.NoError(t, err)

	tx, err := begin(db)
	if err != nil {
		require.ErrorContains(t, err, "isolation")
		return "error"
	}
	defer tx.Rollback()
	other := OpenPath(t, driver, path, params+"&_pragma=busy_timeout(0)&_busy_timeout=0")
	locked := func(query string) bool {
		_, err := other.Exec(query)
		if err != nil {
			require.ErrorContains(t, err, "locked")
		}
		return err != nil
	}
	switch {
	case locked("SELECT count(*) FROM t"):
		what = "exclusive"
	case locked("INSERT INTO t VALUES(1)"):
		what = "immediate"
	default:
		what = "deferred"
	}
	require.NoError(t, other.Close())

	if _, err = tx.Exec("INSERT INTO t VALUES(2)"); err != nil {
		require.ErrorContains(t, err, "readonly")
		what += ", read-only"
	}
	require.NoError(t, tx.Commit())
	_, err = db.Exec("INSERT INTO t VALUES(3)") // the connection is as it was
	require.NoError(t, err)
	return what
}
