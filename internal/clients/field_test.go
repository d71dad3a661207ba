package clients_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// What people do with SQLite in services, as public reports tell it: each is done through the stock VFS and through this one,
// and must come to the same.

// besideStock runs a case on a new database with each VFS, and compares what it returns.
func besideStock(t *testing.T, do func(t *testing.T, dir, params string) []string) {
	t.Helper()
	results := map[string][]string{}
	for _, name := range []string{"os", "async"} {
		t.Run(name, func(t *testing.T) {
			results[name] = do(t, t.TempDir(), "?vfs="+name+"&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
		})
	}
	require.NotEmpty(t, results["os"])
	require.Equal(t, results["os"], results["async"])
}

func file(dir, name string) string { return "file:" + filepath.ToSlash(filepath.Join(dir, name)) }

const many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000) INSERT INTO t SELECT i, randomblob(500) FROM n"

func TestFieldReadersBesideAWriter(t *testing.T) {
	besideStock(t, func(t *testing.T, dir, params string) []string {
		w := open(t, file(dir, "app.db")+params)
		require.NoError(t, w.Exec("CREATE TABLE t(a, b)"))
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			r := open(t, file(dir, "app.db")+params)
			wg.Go(func() {
				last := 0
				for {
					select {
					case <-stop:
						return
					default:
					}
					s, _, err := r.Prepare("SELECT count(*) FROM t")
					if err != nil || !s.Step() || s.ColumnInt(0) < last {
						t.Errorf("a reader goes back: %v", err)
						return
					}
					last = s.ColumnInt(0)
					s.Close()
				}
			})
		}
		for i := range 3000 {
			require.NoError(t, w.Exec(fmt.Sprintf("INSERT INTO t VALUES(%d, randomblob(500))", i)))
		}
		close(stop)
		wg.Wait()
		return query(t, w, "SELECT count(*) FROM t")
	})
}

func TestFieldBackupWhileWriting(t *testing.T) {
	besideStock(t, func(t *testing.T, dir, params string) []string {
		c, other := open(t, file(dir, "app.db")+params), open(t, file(dir, "app.db")+params)
		require.NoError(t, c.Exec("CREATE TABLE t(a, b);"+many))
		b, err := c.BackupInit("main", file(dir, "copy.db"))
		require.NoError(t, err)
		writes := 0
		for done := false; !done; {
			done, err = b.Step(50)
			require.NoError(t, err)
			if writes < 3 { // each has the backup begin anew
				writes++
				require.NoError(t, other.Exec("INSERT INTO t VALUES(0, 0)"))
			}
		}
		require.NoError(t, b.Close())
		require.NoError(t, c.Exec("VACUUM INTO '"+filepath.ToSlash(filepath.Join(dir, "into.db"))+"'"))
		var all []string
		for _, name := range []string{"app.db", "copy.db", "into.db"} {
			d := open(t, file(dir, name))
			all = append(append(all, query(t, d, "PRAGMA integrity_check")...), query(t, d, "SELECT sum(a) FROM t")...)
		}
		return all
	})
}

func TestFieldAttach(t *testing.T) {
	besideStock(t, func(t *testing.T, dir, params string) []string {
		c := open(t, file(dir, "one.db")+params)
		require.NoError(t, c.Exec("ATTACH '"+file(dir, "two.db")+params+"' AS two; PRAGMA two.journal_mode=wal; CREATE TABLE t(a, b); CREATE TABLE two.t(a, b)"))
		require.NoError(t, c.Exec("BEGIN; "+many+"; INSERT INTO two.t SELECT * FROM t; COMMIT; DETACH two"))
		return query(t, open(t, file(dir, "two.db")+params), "SELECT count(*) FROM t")
	})
}

func TestFieldKilledThenReadOnly(t *testing.T) {
	besideStock(t, func(t *testing.T, dir, params string) []string {
		c := open(t, file(dir, "app.db")+params)
		require.NoError(t, c.Exec("CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 2)"))
		// As a killed process leaves them.
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(filepath.Join(dir, "app.db"+suffix))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "left.db"+suffix), b, 0o600))
		}
		ro := open(t, file(dir, "left.db")+params+"&mode=ro")
		rows := query(t, ro, "SELECT a + b FROM t")
		require.ErrorIs(t, ro.Exec("DELETE FROM t"), sqlite3.READONLY)
		return append(rows, query(t, open(t, file(dir, "left.db")+params), "SELECT count(*) FROM t")...)
	})
}

// TestFieldCheckpointAfterLoad: from the only connection, in each mode.
func TestFieldCheckpointAfterLoad(t *testing.T) {
	for _, mode := range []sqlite3.CheckpointMode{sqlite3.CHECKPOINT_PASSIVE, sqlite3.CHECKPOINT_FULL, sqlite3.CHECKPOINT_RESTART, sqlite3.CHECKPOINT_TRUNCATE} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			besideStock(t, func(t *testing.T, dir, params string) []string {
				c := open(t, file(dir, "app.db")+params)
				require.NoError(t, c.Exec("CREATE TABLE t(a, b)"))
				var all []string
				for range 5 {
					require.NoError(t, c.Exec(many))
					_, _, err := c.WALCheckpoint("main", mode)
					all = append(all, fmt.Sprint(mode, err))
				}
				return all
			})
		})
	}
}

// TestFieldKeptWAL: a WAL that the application wants to keep is kept when the last connection is closed.
func TestFieldKeptWAL(t *testing.T) {
	for _, how := range []string{"persist", "no-checkpoint"} {
		t.Run(how, func(t *testing.T) {
			besideStock(t, func(t *testing.T, dir, params string) []string {
				c := open(t, file(dir, "app.db")+params)
				require.NoError(t, c.Exec("CREATE TABLE t(a, b)"))
				for range 3 {
					require.NoError(t, c.Exec(many)) // begins checkpoints in the background
				}
				if how == "persist" {
					_, err := c.FileControl("main", sqlite3.FCNTL_PERSIST_WAL, true)
					require.NoError(t, err)
				} else {
					_, err := c.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true)
					require.NoError(t, err)
				}
				require.NoError(t, c.Close())
				_, err := os.Stat(filepath.Join(dir, "app.db-wal"))
				return []string{how, fmt.Sprint(err == nil)}
			})
		})
	}
}

func TestFieldLargeSchema(t *testing.T) {
	besideStock(t, func(t *testing.T, dir, params string) []string {
		c := open(t, file(dir, "app.db")+params)
		require.NoError(t, c.Exec("BEGIN"))
		for i := range 4000 {
			require.NoError(t, c.Exec(fmt.Sprintf("CREATE TABLE t%d(a PRIMARY KEY, b)", i)))
		}
		require.NoError(t, c.Exec("COMMIT; CREATE TABLE t(a, b)"))
		require.NoError(t, c.Exec(many))
		return query(t, c, "SELECT count(*) FROM sqlite_schema")
	})
}
