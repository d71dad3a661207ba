//go:build !wazero && (linux || darwin || freebsd)

package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// MemoryMapper makes the fake forward this too, which the engine on wazero doesn't have.
func (f *fakeFile) MemoryMapper() sqlitevfs.MemoryMapper {
	f.called("MemoryMapper")
	return vfsutil.WrapMemoryMapper(f.File)
}

var _ sqlitevfs.FileMemoryMapper = (*fakeFile)(nil)

// TestMemoryMap: PRAGMA mmap_size works as without this VFS.
func TestMemoryMap(t *testing.T) {
	base := newFakeVFS()
	run := func(vfsName string) (answers []string) {
		path := filepath.Join(t.TempDir(), "test.db")
		c := open(t, path, vfsName, wal, full)
		exec(t, c, "CREATE TABLE t(x); "+passthroughFill)
		_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		require.NoError(t, err)
		base.take()
		for _, sql := range []string{
			"PRAGMA mmap_size", "PRAGMA mmap_size=65536", "SELECT sum(length(x)) FROM t", "PRAGMA mmap_size",
		} {
			answers = append(answers, query(t, c, sql))
		}
		exec(t, c, "UPDATE t SET x=x'01'; VACUUM")
		_, _, err = c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		require.NoError(t, err)
		answers = append(answers, query(t, c, "SELECT sum(length(x)) FROM t"))
		require.NoError(t, c.Close())
		checkIntegrity(t, path)
		return answers
	}
	want := run("os")
	require.Equal(t, []string{"0", "65536", "200000", "65536", "200"}, want)
	require.Equal(t, want, run(register(t, base)))
	require.NotZero(t, base.take()["db MemoryMapper"])
}
