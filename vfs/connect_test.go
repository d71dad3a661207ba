package vfs_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

// TestNothingIsSeen: an application sees no statement of this VFS's, at the first commit or later,
// and has its timeout and its checkpoints in the background all the same.
func TestNothingIsSeen(t *testing.T) {
	for _, timeout := range []string{"", "_pragma=busy_timeout(5000)"} {
		for _, by := range []string{"authorizer", "trace"} {
			t.Run(by+timeout, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "test.db")
				c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?vfs=async&" + wal + "&" + normal + "&" + timeout)
				require.NoError(t, err)
				t.Cleanup(func() { c.Close() })
				exec(t, c, "CREATE TABLE t(x)")
				require.NoError(t, c.BusyTimeout(3*time.Second)) // as package driver does
				var seen []string
				if by == "authorizer" {
					require.NoError(t, c.SetAuthorizer(func(action sqlite3.AuthorizerActionCode, name, arg, _, _ string) sqlite3.AuthorizerReturnCode {
						if action == sqlite3.AUTH_PRAGMA {
							seen = append(seen, name+arg)
						}
						return sqlite3.AUTH_OK
					}))
				} else {
					require.NoError(t, c.Trace(sqlite3.TRACE_STMT, func(_ sqlite3.TraceEvent, stmt, _ any) error {
						if s, ok := stmt.(*sqlite3.Stmt); ok && s != nil && s.SQL() != "" && s.SQL()[0] == 'P' {
							seen = append(seen, s.SQL())
						}
						return nil
					}))
				}
				before := stats(t, path).Checkpoints
				fill(t, c, "t", 1100)
				require.Empty(t, seen)
				eventually(t, func() bool { return stats(t, path).Checkpoints > before })

				// Its own, once each.
				for _, pragma := range []string{"busy_timeout", "wal_autocheckpoint"} {
					query(t, c, "PRAGMA "+pragma)
					require.Len(t, seen, 1)
					seen = nil
				}
			})
		}
	}
}

// TestLaterSettings: PRAGMAs say what the stock VFS says after the application has used the Go API, before its first commit or after.
func TestLaterSettings(t *testing.T) {
	for name, set := range map[string]func(c *sqlite3.Conn) error{
		"no-handler":   func(c *sqlite3.Conn) error { return c.BusyHandler(nil) },
		"own-handler":  func(c *sqlite3.Conn) error { return c.BusyHandler(func(context.Context, int) bool { panic("called") }) },
		"no-timeout":   func(c *sqlite3.Conn) error { return c.BusyTimeout(0) },
		"long-timeout": func(c *sqlite3.Conn) error { return c.BusyTimeout(70 * time.Second) },
		"handler-then-timeout": func(c *sqlite3.Conn) error {
			return errors.Join(c.BusyHandler(func(context.Context, int) bool { panic("called") }), c.BusyTimeout(time.Second))
		},
		"no-hook": func(c *sqlite3.Conn) error { c.WALHook(nil); return nil },
		"own-hook": func(c *sqlite3.Conn) error {
			c.WALHook(func(*sqlite3.Conn, string, int) error { return nil })
			return nil
		},
		"sqlites-hook":  func(c *sqlite3.Conn) error { return c.WALAutoCheckpoint(2000) },
		"then-a-pragma": func(c *sqlite3.Conn) error { c.WALHook(nil); return c.Exec("PRAGMA wal_autocheckpoint=77") },
	} {
		t.Run(name, func(t *testing.T) {
			run := func(vfsName string, committed bool, timeout string) (got []string) {
				c, err := sqlite3.Open("file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "test.db")) + "?vfs=" + vfsName + "&" + wal + timeout)
				require.NoError(t, err)
				defer c.Close()
				exec(t, c, "CREATE TABLE t(x)")
				if committed {
					exec(t, c, "INSERT INTO t VALUES(1)")
				}
				require.NoError(t, set(c))
				for range 2 {
					got = append(got, query(t, c, "PRAGMA busy_timeout"), query(t, c, "PRAGMA wal_autocheckpoint"))
					exec(t, c, "INSERT INTO t VALUES(1)")
				}
				return got
			}
			for _, committed := range []bool{false, true} {
				for _, timeout := range []string{"", "&_pragma=busy_timeout(100)"} {
					require.Equal(t, run("os", committed, timeout), run("async", committed, timeout), "%v %q", committed, timeout)
				}
			}
		})
	}
}

// TestTurnIsTaken: the timeouts that this VFS promises to wait for with turns, and those that it leaves alone.
func TestTurnIsTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	open(t, path, "async", wal, normal)
	for _, tt := range []struct {
		name string
		open func() *sqlite3.Conn
		ours bool
	}{
		{"uri", func() *sqlite3.Conn { return open(t, path, "async") }, true},
		{"pragma", func() *sqlite3.Conn {
			c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?vfs=async")
			require.NoError(t, err)
			exec(t, c, "PRAGMA busy_timeout=1000")
			return c
		}, true},
		{"none", func() *sqlite3.Conn {
			c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?vfs=async")
			require.NoError(t, err)
			return c
		}, false},
		{"go-before-commit", func() *sqlite3.Conn {
			c := open(t, path, "async")
			require.NoError(t, c.BusyTimeout(time.Second))
			exec(t, c, "PRAGMA user_version=1")
			return c
		}, true},
		{"go-after-commit", func() *sqlite3.Conn {
			c := open(t, path, "async")
			exec(t, c, "PRAGMA user_version=1")
			require.NoError(t, c.BusyTimeout(time.Second))
			exec(t, c, "PRAGMA user_version=2")
			return c
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.open()
			defer c.Close()
			require.Equal(t, tt.ours, vfs.BusyIsOurs(c))
		})
	}
}

// TestExtensions: extensions of the application's that fail an open, set hooks or deny PRAGMAs, are left to it.
func TestExtensions(t *testing.T) {
	var extension atomic.Pointer[func(*sqlite3.Conn) error]
	sqlite3.AutoExtension(func(c *sqlite3.Conn) error {
		if f := extension.Load(); f != nil {
			return (*f)(c)
		}
		return nil
	})
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal)
	exec(t, c, "CREATE TABLE t(x)")
	with := func(f func(*sqlite3.Conn) error, do func()) {
		extension.Store(&f)
		defer extension.Store(nil)
		do()
	}
	with(func(*sqlite3.Conn) error { return sqlite3.AUTH }, func() {
		_, err := sqlite3.Open(dsn(path, "async"))
		require.ErrorIs(t, err, sqlite3.AUTH)
	})
	calls := 0
	with(func(c *sqlite3.Conn) error {
		c.WALHook(func(*sqlite3.Conn, string, int) error { calls++; return nil })
		return c.SetAuthorizer(func(action sqlite3.AuthorizerActionCode, _, _, _, _ string) sqlite3.AuthorizerReturnCode {
			if action == sqlite3.AUTH_PRAGMA {
				return sqlite3.AUTH_DENY
			}
			return sqlite3.AUTH_OK
		})
	}, func() {
		c := open(t, path, "async")
		exec(t, c, "INSERT INTO t VALUES(1)")
	})
	require.Equal(t, 1, calls)
}

// TestOtherConnections: those that have nothing to do with this VFS are opened as ever.
func TestOtherConnections(t *testing.T) {
	for _, name := range []string{
		":memory:", "", "file::memory:?vfs=async", "file:/x?vfs=memdb", "file:?vfs=async",
		"file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "test.db")),
	} {
		db, err := driver.Open(name)
		require.NoError(t, err, name)
		_, err = db.Exec("CREATE TABLE t(x); INSERT INTO t VALUES(1); PRAGMA busy_timeout; PRAGMA wal_autocheckpoint")
		require.NoError(t, err, name)
		require.NoError(t, db.Close())
	}
}

// TestCommitWhileOpening: a parameter of the database's name may commit, before the connection is open.
func TestCommitWhileOpening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, "_pragma=user_version(7)", "_pragma=wal_autocheckpoint(30)", "_pragma=wal_checkpoint(truncate)", "_pragma=user_version(8)")
	require.Equal(t, "8", query(t, c, "PRAGMA user_version"))
	require.True(t, vfs.BusyIsOurs(c))
	exec(t, c, "CREATE TABLE t(x)")
	before := stats(t, path).Checkpoints
	fill(t, c, "t", 60)
	eventually(t, func() bool { return stats(t, path).Checkpoints > before })
}

// TestConnFields: a go-sqlite3 that names them otherwise is to be found here.
func TestConnFields(t *testing.T) {
	require.True(t, vfs.ConnFields(open(t, filepath.Join(t.TempDir(), "test.db"), "async")))
}
