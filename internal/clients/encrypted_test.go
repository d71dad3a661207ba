package clients_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	_ "github.com/ncruces/go-sqlite3/vfs/adiantum"
	_ "github.com/ncruces/go-sqlite3/vfs/xts"
	"github.com/stretchr/testify/require"
)

// TestEncryptedBase: over an encrypting VFS, checkpoints in the background have the key,
// whether it comes in the URI or by PRAGMA, and the database is whole with that VFS alone.
func TestEncryptedBase(t *testing.T) {
	const key = "e01b0a2c3d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeef"
	for _, base := range []string{"adiantum", "xts"} {
		require.NoError(t, vfs.Register("async-"+base, sqlitevfs.Find(base), vfs.Logger(slog.New(slog.DiscardHandler))))
		hexkey := key
		if base == "xts" {
			hexkey += "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
		}
		for _, given := range []string{"hexkey=" + hexkey, "_pragma=hexkey('" + hexkey + "')"} {
			for _, pageSize := range []string{"4096", "512"} {
				t.Run(base+"/"+given[:7]+"/"+pageSize, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "test.db")
					dsn := "file:" + filepath.ToSlash(path) + "?" + given +
						"&_pragma=page_size(" + pageSize + ")&_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=wal_autocheckpoint(20)&vfs="
					c, err := sqlite3.Open(dsn + "async-" + base)
					require.NoError(t, err)
					require.NoError(t, c.Exec("CREATE TABLE t(x)"))
					for range 500 {
						require.NoError(t, c.Exec("INSERT INTO t VALUES(randomblob(2000))"))
					}
					s, err := vfs.Stats(path)
					require.NoError(t, err)
					require.NotZero(t, s.Checkpoints)
					require.NotZero(t, s.WALRestarts)
					// Blocks larger than pages are left to SQLite.
					require.Equal(t, pageSize == "512", s.FailedCheckpoints > 0, s)
					require.NoError(t, c.Close())

					c, err = sqlite3.Open(dsn + base)
					require.NoError(t, err)
					defer c.Close()
					require.Equal(t, []string{"500"}, query(t, c, "SELECT count(*) FROM t"))
					require.Equal(t, []string{"ok"}, query(t, c, "PRAGMA integrity_check"))
				})
			}
		}
	}
}
