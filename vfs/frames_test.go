package vfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFrames: every frame gets to the WAL whole, before COMMIT returns: also where SQLite pads commits to sectors and
// a frame's header ends one, where a transaction changes pages that it has written before, and where one is rolled back.
func TestFrames(t *testing.T) {
	for _, psow := range []string{"psow=1", "psow=0"} {
		for _, pageSize := range []int{512, 1024, 4096, 16384} {
			for _, level := range []string{full, normal} {
				t.Run(fmt.Sprint(psow, "-", pageSize, "-", level), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "test.db")
					c := open(t, path, "async", "_pragma=page_size("+strconv.Itoa(pageSize)+")", wal, level, noAuto, psow, slow)
					exec(t, c, "PRAGMA cache_size=5; CREATE TABLE t(x)")
					for i := range 60 {
						// Of many sizes, and too large for the cache.
						exec(t, c, fmt.Sprintf("BEGIN; INSERT INTO t VALUES(zeroblob(%d)); SAVEPOINT s; INSERT INTO t VALUES(randomblob(%d)); UPDATE t SET x=zeroblob(20); ROLLBACK TO s; UPDATE t SET x=zeroblob(%d) WHERE rowid=%d; COMMIT",
							i*97%700, pageSize*i%20000, i*53%900, 1+i/2))
						if i%6 != 5 {
							continue
						}
						// As after a crash of the process.
						dir := t.TempDir()
						for _, suffix := range []string{"", "-wal"} {
							b, err := os.ReadFile(path + suffix)
							require.NoError(t, err)
							require.NoError(t, os.WriteFile(filepath.Join(dir, "copy.db"+suffix), b, 0o600))
						}
						copied := open(t, filepath.Join(dir, "copy.db"), "os")
						require.Equal(t, strconv.Itoa(i+1), query(t, copied, "SELECT count(*) FROM t"))
						require.Equal(t, "ok", query(t, copied, "PRAGMA integrity_check"))
						require.Equal(t, query(t, c, "SELECT sum(length(x)) FROM t"), query(t, copied, "SELECT sum(length(x)) FROM t"))
						require.NoError(t, copied.Close())
					}
				})
			}
		}
	}
}
