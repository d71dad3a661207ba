package clients_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// TestEncryptedShared: an encrypting VFS decrypts into a buffer of the handle, with a cipher of the connection, under locks of its own.
// Several connections, the syncs of the WAL, which look at its header, and checkpoints in the background get along with that.
func TestEncryptedShared(t *testing.T) {
	const key = "e01b0a2c3d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeef"
	require.NoError(t, vfs.Register("async-adiantum-shared", sqlitevfs.Find("adiantum")))
	path := filepath.Join(t.TempDir(), "test.db")
	dsn := "file:" + filepath.ToSlash(path) + "?hexkey=" + key + "&_pragma=busy_timeout(20000)" +
		"&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=wal_autocheckpoint(50)&vfs="
	var all sync.WaitGroup
	for i := range 4 {
		c, err := sqlite3.Open(dsn + "async-adiantum-shared")
		require.NoError(t, err)
		if i == 0 {
			require.NoError(t, c.Exec("CREATE TABLE t(i INTEGER PRIMARY KEY, x)"))
		}
		all.Go(func() {
			for range 150 {
				if err := c.Exec("INSERT INTO t(x) VALUES(randomblob(2000)); UPDATE t SET x=randomblob(2000) WHERE i=abs(random())%300"); err != nil {
					t.Error(err)
				}
			}
		})
		t.Cleanup(func() { c.Close() })
	}
	all.Wait()
	s, err := vfs.Stats(path)
	require.NoError(t, err)
	require.NotZero(t, s.Checkpoints)
	c, err := sqlite3.Open(dsn + "adiantum")
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, []string{"ok"}, query(t, c, "PRAGMA integrity_check"))
}
