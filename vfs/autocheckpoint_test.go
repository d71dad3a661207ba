package vfs_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// fill makes n commits of a page each.
func fill(t testing.TB, c *sqlite3.Conn, table string, n int) {
	t.Helper()
	for range n {
		exec(t, c, "INSERT INTO "+table+" VALUES(zeroblob(3000))")
	}
}

// TestAutoCheckpointPragma: PRAGMA wal_autocheckpoint is what it is with the stock VFS,
// before and after the first commit, which is when this VFS takes over.
func TestAutoCheckpointPragma(t *testing.T) {
	script := []string{
		"PRAGMA wal_autocheckpoint",
		"PRAGMA wal_autocheckpoint=17",
		"PRAGMA main.wal_autocheckpoint",
		"PRAGMA wal_autocheckpoint(-3)",
		"PRAGMA wal_autocheckpoint",
		"PRAGMA WAL_AutoCheckpoint='40x'",
		"PRAGMA wal_autocheckpoint",
		"PRAGMA wal_autocheckpoint=x",
		"PRAGMA wal_autocheckpoint=99999999999",
		"PRAGMA wal_autocheckpoint=+1000",
		"PRAGMA wal_autocheckpoint",
	}
	run := func(vfsName string, commit bool, params ...string) (got []string) {
		c := open(t, filepath.Join(t.TempDir(), "test.db"), vfsName, append(params, wal)...)
		exec(t, c, "CREATE TABLE t(x)")
		if commit {
			exec(t, c, "INSERT INTO t VALUES(1)")
		}
		for _, sql := range script {
			got = append(got, query(t, c, sql))
		}
		return got
	}
	for _, commit := range []bool{false, true} {
		for _, params := range [][]string{nil, {"_pragma=wal_autocheckpoint(30)"}, {noAuto}} {
			want := run("os", commit, params...)
			for _, mode := range []string{"background", "inline"} {
				require.Equal(t, want, run("async", commit, append(params, "checkpoint="+mode)...), "%s %v", mode, params)
			}
		}
	}
	// With off it is 0 until the application sets it.
	require.Equal(t, "0", run("async", true, "checkpoint=off")[0])
}

// TestCheckpointThreshold: a checkpoint comes once so many frames are in the WAL, in each mode, and not without.
func TestCheckpointThreshold(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   []vfs.Option
		params []string
		sql    string
		comes  bool
	}{
		{"default", nil, nil, "PRAGMA wal_autocheckpoint=30", true},
		{"background", []vfs.Option{vfs.Checkpoint(vfs.CheckpointInline)}, []string{"checkpoint=background"}, "PRAGMA wal_autocheckpoint=30", true},
		{"inline", nil, []string{"checkpoint=inline"}, "PRAGMA wal_autocheckpoint=30", true},
		{"from-uri", nil, []string{"_pragma=wal_autocheckpoint(30)"}, "", true},
		{"option-off", []vfs.Option{vfs.Checkpoint(vfs.CheckpointOff)}, nil, "", false},
		{"off-then-set", nil, []string{"checkpoint=off"}, "INSERT INTO t VALUES(1); PRAGMA wal_autocheckpoint=30", true},
		{"zero", nil, nil, "PRAGMA wal_autocheckpoint=0", false},
		{"zero-later", nil, nil, "INSERT INTO t VALUES(1); PRAGMA wal_autocheckpoint=0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			c := open(t, path, register(t, sqlitevfs.Find(""), tt.opts...), append([]string{wal, normal}, tt.params...)...)
			exec(t, c, "CREATE TABLE t(x)")
			exec(t, c, tt.sql)
			before := stats(t, path)
			if !tt.comes {
				fill(t, c, "t", 1100)
				require.Equal(t, before.Checkpoints, stats(t, path).Checkpoints)
				require.Equal(t, before.WALRestarts, stats(t, path).WALRestarts)
				return
			}
			// Each commit has up to three frames.
			fill(t, c, "t", 5)
			require.Equal(t, before.Checkpoints, stats(t, path).Checkpoints)
			fill(t, c, "t", 20)
			eventually(t, func() bool { return stats(t, path).Checkpoints > before.Checkpoints })
		})
	}
}

// TestHookOfTheApplication: who sets a hook, or SQLite's own through the C API, gets what is asked for.
func TestHookOfTheApplication(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			c := open(t, path, "async", wal, normal)
			exec(t, c, "CREATE TABLE t(x)")
			if when == "after" {
				fill(t, c, "t", 1)
			}
			calls := 0
			c.WALHook(func(_ *sqlite3.Conn, schema string, pages int) error {
				require.Equal(t, "main", schema)
				calls++
				return nil
			})
			before := stats(t, path).Checkpoints
			fill(t, c, "t", 1100)
			require.Equal(t, 1100, calls)
			require.Equal(t, before, stats(t, path).Checkpoints)

			// In the commit itself, as SQLite does it.
			require.NoError(t, c.WALAutoCheckpoint(2000))
			fill(t, c, "t", 1000)
			require.Less(t, before, stats(t, path).Checkpoints)
			require.Equal(t, 1100, calls)
		})
	}
}

// TestCheckpointAttached: the databases of a connection are checkpointed, whichever VFS they are on.
func TestCheckpointAttached(t *testing.T) {
	for _, tt := range []struct{ main, aux string }{
		{"async", "async"}, {"async", "os"}, {"os", "async"},
	} {
		t.Run(tt.main+"+"+tt.aux, func(t *testing.T) {
			dir := t.TempDir()
			main, aux := filepath.Join(dir, "main.db"), filepath.Join(dir, "aux.db")
			c := open(t, main, tt.main, wal, normal)
			exec(t, c, "ATTACH '"+dsn(aux, tt.aux)+"' AS aux; PRAGMA aux.journal_mode=wal; PRAGMA aux.synchronous=normal")
			exec(t, c, "PRAGMA wal_autocheckpoint=20; CREATE TABLE t(x); CREATE TABLE aux.u(x)")
			size := func(path string) int64 {
				info, err := os.Stat(path)
				require.NoError(t, err)
				return info.Size()
			}
			for _, db := range []struct{ path, table string }{{main, "t"}, {aux, "aux.u"}} {
				before := size(db.path)
				fill(t, c, db.table, 30)
				eventually(t, func() bool { return size(db.path) > before })
			}
			if tt.main == "async" {
				require.Equal(t, "20", query(t, c, "PRAGMA wal_autocheckpoint"))
			}
			if tt.main == tt.aux {
				require.Equal(t, "20", query(t, c, "PRAGMA aux.wal_autocheckpoint"))
			}
			rows, err := strconv.Atoi(query(t, c, "SELECT (SELECT count(*) FROM t)+(SELECT count(*) FROM aux.u)"))
			require.NoError(t, err)
			require.Equal(t, 60, rows)
		})
	}
}
