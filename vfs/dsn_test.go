package vfs_test

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

var _ testing.TB = (*testing.T)(nil)

// settings are what SQLite says of a connection.
type settings struct{ journal, level, busy, cacheSize, pageSize string }

func settingsOf(t *testing.T, c *sqlite3.Conn) settings {
	return settings{
		query(t, c, "PRAGMA journal_mode"), query(t, c, "PRAGMA synchronous"), query(t, c, "PRAGMA busy_timeout"),
		query(t, c, "PRAGMA cache_size"), query(t, c, "PRAGMA page_size"),
	}
}

// TestDSN: it sets what it says, through database/sql and go-sqlite3's own API, for each connection.
func TestDSN(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []vfs.DSNOption
		want settings
	}{
		{"recommended", nil, settings{"wal", "2", "10000", "-2000", "4096"}},
		{"normal", []vfs.DSNOption{vfs.Synchronous(vfs.Normal)}, settings{"wal", "1", "10000", "-2000", "4096"}},
		{"off", []vfs.DSNOption{vfs.Synchronous(vfs.Off)}, settings{"wal", "0", "10000", "-2000", "4096"}},
		{"extra", []vfs.DSNOption{vfs.Synchronous(vfs.Extra)}, settings{"wal", "3", "10000", "-2000", "4096"}},
		{"added", []vfs.DSNOption{vfs.Pragma("cache_size", "-7777"), vfs.Pragma("page_size", "8192")}, settings{"wal", "2", "10000", "-7777", "8192"}},
		{"replaced", []vfs.DSNOption{
			vfs.Pragma("Busy_Timeout", "7"), vfs.Pragma("main.journal_mode", "delete"), vfs.Parameter("_pragma", "synchronous = normal"),
		}, settings{"delete", "1", "7", "-2000", "4096"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := vfs.DSN(filepath.Join(t.TempDir(), "test.db"), tt.opts...)
			// The one that makes the file, and one that finds it.
			for range 2 {
				c, err := sqlite3.Open(name)
				require.NoError(t, err)
				exec(t, c, "CREATE TABLE IF NOT EXISTS t(x)")
				require.Equal(t, tt.want, settingsOf(t, c))
				pointer, err := c.FileControl("main", sqlite3.FCNTL_VFS_POINTER)
				require.NoError(t, err)
				require.NotNil(t, pointer)
				require.Equal(t, "ok", query(t, c, "SELECT async_wait()")) // which only a connection on this VFS has
				require.Equal(t, tt.want.busy != "0", vfs.BusyIsOurs(c))
				require.NoError(t, c.Close())
			}
			db, err := sql.Open("sqlite3", name)
			require.NoError(t, err)
			defer db.Close()
			for range 2 {
				conn, err := db.Conn(t.Context())
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.Raw(func(c any) error {
					require.Equal(t, tt.want, settingsOf(t, c.(driver.Conn).Raw()))
					return nil
				}))
			}
		})
	}
}

// TestDSNTransactions: those of database/sql have the write lock from the start, unless they only read or it is said otherwise.
func TestDSNTransactions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		opts    []vfs.DSNOption
		tx      *sql.TxOptions
		writers bool
	}{
		{"immediate", nil, nil, false},
		{"read-only", nil, &sql.TxOptions{ReadOnly: true}, true},
		{"deferred", []vfs.DSNOption{vfs.Parameter("_txlock", "deferred")}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := append(tt.opts, vfs.Pragma("busy_timeout", "0"))
			db, err := sql.Open("sqlite3", vfs.DSN(filepath.Join(t.TempDir(), "test.db"), opts...))
			require.NoError(t, err)
			defer db.Close()
			_, err = db.Exec("CREATE TABLE t(x)")
			require.NoError(t, err)
			tx, err := db.BeginTx(t.Context(), tt.tx)
			require.NoError(t, err)
			defer tx.Rollback()
			_, err = db.Exec("INSERT INTO t VALUES(1)")
			if tt.writers {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, sqlite3.BUSY)
			}
		})
	}
}

// TestDSNReadOnly: a connection that may only read can be opened, whatever the journal mode, and begin a transaction.
func TestDSNReadOnly(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		path := filepath.Join(t.TempDir(), "test.db")
		c := open(t, path, "async", "_pragma=journal_mode("+mode+")")
		exec(t, c, "CREATE TABLE t(x)")
		db, err := sql.Open("sqlite3", vfs.DSN(path, vfs.Parameter("mode", "ro")))
		require.NoError(t, err)
		defer db.Close()
		tx, err := db.Begin()
		require.NoError(t, err, mode)
		var got string
		require.NoError(t, tx.QueryRow("PRAGMA journal_mode").Scan(&got))
		require.Equal(t, mode, got)
		_, err = tx.Exec("INSERT INTO t VALUES(1)")
		require.ErrorIs(t, err, sqlite3.READONLY)
		require.NoError(t, tx.Rollback())
	}
}

// TestDSNPaths: whatever the path is, that file is opened.
func TestDSNPaths(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	names := []string{"plain.db", "with space.db", "a+b.db", "50%.db", "%41.db", "a&b=c.db", "a;b.db", "ä€𝄞.db", "#hash.db"}
	if runtime.GOOS != "windows" {
		names = append(names, "what?.db", "a:b.db", "file:x.db", `back\slash.db`, `"quoted'.db`, "line\nbreak.db")
	}
	for _, name := range names {
		paths := []string{name, "." + string(filepath.Separator) + name, filepath.Join(dir, name)}
		if runtime.GOOS != "windows" {
			paths = append(paths, "/"+filepath.Join(dir, name))
		}
		for _, path := range paths {
			c, err := sqlite3.Open(vfs.DSN(path, vfs.Parameter("max_delay", "1m")))
			require.NoError(t, err, path)
			exec(t, c, "CREATE TABLE t(x)")
			_, err = vfs.Stats(path)
			require.NoError(t, err, path)
			require.NoError(t, c.Close())
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, left, 1, path)
			require.Equal(t, name, left[0].Name())

			// database/sql reads the parameters with another parser.
			db, err := driver.Open(vfs.DSN(path))
			require.NoError(t, err, path)
			require.NoError(t, db.PingContext(context.Background()), path)
			require.NoError(t, db.Close())
			require.NoError(t, os.Remove(filepath.Join(dir, name)))
		}
	}
}

// TestDSNParameters: the VFS's own get to it, whatever their characters, and are checked by it.
func TestDSNParameters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	_, err := sqlite3.Open(vfs.DSN(path, vfs.Parameter("max_delay", "a +&=%?#é")))
	require.ErrorContains(t, err, `max_delay="a +&=%?#é" is not allowed`)
	require.NoFileExists(t, path)
	_, err = sqlite3.Open(vfs.DSN(path, vfs.Parameter("vfs", "no-such-vfs")))
	require.Error(t, err)
	name := register(t, nil)
	c, err := sqlite3.Open(vfs.DSN(path, vfs.Parameter("vfs", name)))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	c, err = sqlite3.Open(vfs.DSN(":memory:"))
	require.NoError(t, err)
	require.Equal(t, "memory", query(t, c, "PRAGMA journal_mode"))
	require.NoError(t, c.Close())
}

// TestTestDB: a database of its own for each call, with the parameters that are given, gone after the test.
func TestTestDB(t *testing.T) {
	var files []string
	t.Run("uses", func(t *testing.T) {
		for range 2 {
			db, err := sql.Open("sqlite3", vfs.TestDB(t,
				url.Values{"_pragma": {"cache_size(-7777)", "synchronous(normal)"}, "max_delay": {"7ms"}}, url.Values{"_timefmt": {"sqlite"}}))
			require.NoError(t, err)
			defer db.Close()
			_, err = db.Exec("CREATE TABLE t(x)")
			require.NoError(t, err)
			_, err = db.Exec("INSERT INTO t VALUES(?)", time.Unix(0, 0).UTC())
			require.NoError(t, err)
			var file, level, keys, at string
			require.NoError(t, db.QueryRow("SELECT file, (SELECT * FROM pragma_synchronous), (SELECT * FROM pragma_cache_size), (SELECT cast(x AS text) FROM t) FROM pragma_database_list").
				Scan(&file, &level, &keys, &at))
			require.Equal(t, []string{"1", "-7777", "1970-01-01 00:00:00"}, []string{level, keys, at})
			_, err = vfs.Stats(file)
			require.NoError(t, err)
			files = append(files, file)
		}
	})
	require.Len(t, files, 2)
	require.NotEqual(t, files[0], files[1])
	require.NoFileExists(t, files[0])
}
