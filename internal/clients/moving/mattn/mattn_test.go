// Package mattn tries what the page says of mattn/go-sqlite3, whose driver has the same name as go-sqlite3's.
package mattn

import (
	"database/sql"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/internal/clients/moving"
	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func TestPage(t *testing.T) {
	moving.Read(t, "../../../../vfs/MOVING.md", moving.Mattn).Try(t, "sqlite3", "")
}

func TestTimes(t *testing.T) {
	db := moving.Open(t, "sqlite3", "")
	_, err := db.Exec("CREATE TABLE t(at DATETIME)")
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO t VALUES(?)", moving.At)
	require.NoError(t, err)
	got, err := moving.Ask(db, "SELECT at || '' FROM t")
	require.NoError(t, err)
	require.Equal(t, moving.At.Format(moving.MattnTime), got)
	var at time.Time
	require.NoError(t, db.QueryRow("SELECT at FROM t").Scan(&at))
	require.True(t, at.Equal(moving.At))
}

func TestPathWithoutScheme(t *testing.T) {
	t.Chdir(t.TempDir())
	db, err := sql.Open("sqlite3", "app.db?_busy_timeout=4000")
	require.NoError(t, err)
	defer db.Close()
	got, err := moving.Ask(db, "PRAGMA busy_timeout")
	require.NoError(t, err)
	require.Equal(t, "4000", got)
	_, err = db.Exec("CREATE TABLE t(a)")
	require.NoError(t, err)
	_, err = os.Stat("app.db")
	require.NoError(t, err)
}

func TestBegin(t *testing.T) {
	require.False(t, moving.BeginLocks(t, "sqlite3", ""))
	require.False(t, moving.BeginLocks(t, "sqlite3", "_txlock=deferred"))
	require.True(t, moving.BeginLocks(t, "sqlite3", "_txlock=immediate"))
	require.True(t, moving.BeginLocks(t, "sqlite3", "_txlock=exclusive"))
}

func TestSeveralStatements(t *testing.T) {
	inserted, err := moving.Several(t, "sqlite3", "")
	require.NoError(t, err)
	require.Equal(t, "1 2 3", inserted)
}

func TestUnknownParameter(t *testing.T) {
	require.NoError(t, moving.Open(t, "sqlite3", "_no_such=1").Ping())
}

func TestErrors(t *testing.T) {
	var e sqlite3.Error
	require.True(t, errors.As(moving.UniqueError(t, "sqlite3", ""), &e))
	require.Equal(t, sqlite3.ErrConstraintUnique, e.ExtendedCode)
}
