package clients_test

import (
	"database/sql"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Enough writers to have commits wait for each other, and few enough for a slow disk.
const (
	workers = 8
	rounds  = 10
)

var errRefused = errors.New("refused by the application")

// eachLevel runs a test on a new database, once for each level.
func eachLevel(t *testing.T, test func(t *testing.T, path, level string)) {
	for _, level := range []string{"full", "normal"} {
		t.Run(level, func(t *testing.T) {
			test(t, filepath.Join(t.TempDir(), "app.db"), level)
		})
	}
}

// dsn is the DSN that the VFS's documentation shows, with foreign keys on.
func dsn(path, level string) string {
	return "file:" + filepath.ToSlash(path) + "?vfs=async&_pragma=busy_timeout(5000)" +
		"&_pragma=journal_mode(wal)&_pragma=synchronous(" + level + ")&_pragma=foreign_keys(on)"
}

// stock is for go-sqlite3 without this VFS.
func stock(path string) string { return "file:" + filepath.ToSlash(path) }

// commits returns how many commits went through the VFS so far.
// It fails the test if the database isn't open through the VFS.
func commits(t *testing.T, path string) int {
	t.Helper()
	s, err := vfs.Stats(path)
	require.NoError(t, err)
	return int(s.Commits)
}

// checkDurable checks that commits are durable when the level says so.
// It comes after the last commit, before close; wait is what PRAGMA async_wait returns.
func checkDurable(t *testing.T, path, level string, wait func() string) {
	t.Helper()
	s, err := vfs.Stats(path)
	require.NoError(t, err)
	require.NotZero(t, s.Commits)
	if level == "full" {
		require.Equal(t, s.Commits, s.DurableCommits)
	}

	require.Equal(t, "ok", wait())
	s, err = vfs.Stats(path)
	require.NoError(t, err)
	require.Equal(t, s.Commits, s.DurableCommits)
	require.Zero(t, s.PendingBytes)
	require.Empty(t, s.Failed)
	// The time for which a commit was acknowledged and not durable.
	if level == "full" {
		require.Zero(t, s.MaxWindowMicros)
	} else {
		require.NotZero(t, s.MaxWindowMicros)
	}
}

// reopen opens a database with the stock VFS, after all its connections were closed:
// what this VFS leaves behind is a plain SQLite database.
func reopen(t *testing.T, path string) *sqlite3.Conn {
	t.Helper()
	_, err := vfs.Stats(path)
	require.ErrorIs(t, err, vfs.ErrNotOpen, "a connection is left open")
	require.NoFileExists(t, path+"-wal")

	c, err := sqlite3.Open(stock(path))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	// Only this VFS knows the PRAGMA; SQLite ignores those that it doesn't know.
	require.Empty(t, query(t, c, "PRAGMA async_stats"))
	require.Equal(t, []string{"ok"}, query(t, c, "PRAGMA integrity_check"))
	require.Empty(t, query(t, c, "PRAGMA foreign_key_check"))
	require.Equal(t, []string{"wal"}, query(t, c, "PRAGMA journal_mode"))
	return c
}

// open opens a connection with go-sqlite3's own API.
func open(t *testing.T, dsn string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open(dsn)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// query returns the first column of all rows.
func query(t *testing.T, c *sqlite3.Conn, sql string) (all []string) {
	t.Helper()
	s, _, err := c.Prepare(sql)
	require.NoError(t, err)
	defer s.Close()
	for s.Step() {
		all = append(all, s.ColumnText(0))
	}
	require.NoError(t, s.Err())
	return all
}

// openSQL opens a pool with database/sql.
func openSQL(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// scan returns the only value of the only row.
func scan[T any](t *testing.T, db interface {
	QueryRow(string, ...any) *sql.Row
}, query string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRow(query, args...).Scan(&v))
	return v
}

// openGORM opens a pool with GORM.
func openGORM(t *testing.T, dsn string) (*gorm.DB, *sql.DB) {
	t.Helper()
	db, err := gorm.Open(gormlite.Open(dsn), &gorm.Config{
		Logger:         logger.Discard, // some statements are meant to fail
		TranslateError: true,
	})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { pool.Close() })
	return db, pool
}

// random returns bytes that no page of SQLite's own looks like.
func random(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// TestStock shows that the other tests can tell whether the VFS was used.
func TestStock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	c := open(t, stock(path)+"?_pragma=journal_mode(wal)")
	require.NoError(t, c.Exec("CREATE TABLE t(x)"))
	_, err := vfs.Stats(path)
	require.ErrorIs(t, err, vfs.ErrNotOpen)
}

// TestBadParameter shows that a mistake in the DSN reaches the application in each client.
func TestBadParameter(t *testing.T) {
	for client, connect := range map[string]func(dsn string) error{
		"sql": func(dsn string) error {
			return openSQL(t, dsn).Ping()
		},
		"gorm": func(dsn string) error {
			_, err := gorm.Open(gormlite.Open(dsn), &gorm.Config{Logger: logger.Discard})
			return err
		},
		"sqlite3": func(dsn string) error {
			_, err := sqlite3.Open(dsn)
			return err
		},
	} {
		t.Run(client, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			err := connect(dsn(path, "normal") + "&max_delay=1h")
			require.ErrorIs(t, err, sqlite3.CANTOPEN)
			require.ErrorContains(t, err, "max_delay")
			require.NoFileExists(t, path)
		})
	}
}
