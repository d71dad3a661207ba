//go:build wazero

package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// go-sqlite3 has dropped FCNTL_NULL_IO since.
// TestNullIO: SQLITE_FCNTL_NULL_IO closes the database file early.
func TestNullIO(t *testing.T) {
	path := filepath.Join(handlesDir(t), "test.db")
	c := open(t, path, "async", wal, normal, slow)
	exec(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	exec(t, c, "INSERT INTO t VALUES(1)")
	var syncers int
	eventually(t, func() bool { syncers = handlesSyncers(); return syncers > 0 })
	_, err := c.FileControl("main", sqlite3.FCNTL_NULL_IO)
	require.NoError(t, err)
	require.Zero(t, handlesListed(path))
	c.Close()
	eventually(t, func() bool { return handlesSyncers() < syncers })
	require.Equal(t, "2", query(t, open(t, path, "async"), "SELECT count(*) FROM t"))
}
