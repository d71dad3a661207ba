package simdisk

import (
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// openDB opens a database, and returns the connection and its file.
func openDB(t *testing.T, name string) (*sqlite3.Conn, sqlitevfs.FileLockState) {
	c := must(sqlite3.Open(name))
	t.Cleanup(func() { c.Close() })
	f := must(c.FileControl("main", sqlite3.FCNTL_FILE_POINTER)).(sqlitevfs.File)
	locks, ok := vfsutil.UnwrapFile[sqlitevfs.FileLockState](f)
	require.True(t, ok)
	return c, locks
}

// TestDiskSQLite runs SQLite on the stock VFS.
func TestDiskSQLite(t *testing.T) {
	d := testDisk(t, nil, Config{Powersafe: true})
	name := "file:" + d.Path("a.db") + "?vfs=" + Stock
	w, _ := openDB(t, name)
	require.NoError(t, w.Exec("PRAGMA journal_mode=wal; CREATE TABLE t(x); PRAGMA synchronous=normal; INSERT INTO t VALUES(1)"))
	r, _ := openDB(t, name)
	count := func(c *sqlite3.Conn) string { return must(text(c, "SELECT count(*) FROM t")) }
	require.Equal(t, "1", count(r))
	// With a WAL-index of its own the reader wouldn't see this, nor would it be kept from writing.
	require.NoError(t, w.Exec("BEGIN IMMEDIATE; INSERT INTO t VALUES(2)"))
	require.ErrorIs(t, r.Exec("BEGIN IMMEDIATE"), sqlite3.BUSY)
	require.Equal(t, "1", count(r))
	require.NoError(t, w.Exec("COMMIT"))
	require.Equal(t, "2", count(r))

	// The commit isn't durable until the WAL is synced, and its name not until the directory is.
	after := func(choice Choice) string {
		d := testDisk(t, crash(d, nil).Image(choice), Config{})
		c, _ := openDB(t, "file:"+d.Path("a.db")+"?vfs="+Stock)
		n, err := text(c, "SELECT count(*) FROM t")
		if err != nil {
			return err.Error()
		}
		return n
	}
	require.Equal(t, "2", after(All))
	require.Contains(t, after(None), "no such table")
	require.NoError(t, w.Exec("PRAGMA synchronous=full; INSERT INTO t VALUES(3)"))
	require.Equal(t, "3", after(None))

	require.NoError(t, w.Close())
	require.True(t, exists(d, "a.db-wal"))
	require.Equal(t, "3", count(r))
	require.NoError(t, r.Close())
	require.False(t, exists(d, "a.db-wal"))
	require.Equal(t, "3", after(All))
	require.Equal(t, "3", after(None))
	require.Empty(t, must(filepath.Glob(filepath.Join(d.cfg.ShmDir, "*"))))
}

// text returns the first column of the first row.
func text(c *sqlite3.Conn, sql string) (string, error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return "", err
	}
	defer s.Close()
	s.Step()
	return s.ColumnText(0), s.Err()
}
