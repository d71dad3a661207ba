package litestream

import (
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestStartedOverWhileDown: Litestream ends, then more is committed, all of it is checkpointed, and a commit starts the WAL over.
// Then Litestream starts, and finds the frame where it ended, which the new WAL doesn't reach yet. It takes this for
// "all that was in the old WAL is replicated", and what was committed in between isn't in the replica until its next snapshot.
// No lock could keep it from that, since nobody holds any. The stock VFS is the peer: its checkpoints do the same.
// Where nobody checkpoints, or the WAL is cut when it is started over, nothing is lacking.
func TestStartedOverWhileDown(t *testing.T) {
	exe := build(t)
	for _, c := range []struct {
		name       string
		opts       []vfs.DSNOption
		checkpoint func(t *testing.T, c *sqlite3.Conn) // nil if nothing but commits is done
		whole      bool
	}{
		{"stock, PASSIVE", []vfs.DSNOption{vfs.Parameter("vfs", "os")}, passive, false},
		{"stock, by itself", []vfs.DSNOption{vfs.Parameter("vfs", "os")}, byItself, false},
		{"stock, nobody", []vfs.DSNOption{vfs.Parameter("vfs", "os"), vfs.Pragma("wal_autocheckpoint", "0")}, nil, true},
		{"stock, PASSIVE, journal_size_limit=0", []vfs.DSNOption{vfs.Parameter("vfs", "os"), vfs.Pragma("journal_size_limit", "0")}, passive, true},
		{"inline, by itself", []vfs.DSNOption{vfs.Parameter("checkpoint", "inline")}, byItself, false},
		{"background", nil, passive, false},
		{"background, journal_size_limit=0", []vfs.DSNOption{vfs.Pragma("journal_size_limit", "0")}, passive, true},
		{"off", []vfs.DSNOption{vfs.Parameter("checkpoint", "off")}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := &litestream{exe: exe, path: filepath.Join(dir, "app.db"), folder: filepath.Join(dir, "replica"), bare: true}
			db, err := sqlite3.Open(vfs.DSN(l.path, c.opts...))
			require.NoError(t, err)
			defer db.Close()
			last := int64(0)
			insert := func(n int) {
				t.Helper()
				for range n {
					require.NoError(t, db.Exec("INSERT INTO t(pair, pad) VALUES(1, randomblob(100)), (2, randomblob(100))"))
					last += 2
				}
			}
			require.NoError(t, db.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, pair, pad)"))
			insert(40)
			r := l.start(t)
			insert(10)
			r.stop(t)
			require.Equal(t, last, l.check(t))

			// Pages that the next commits don't write.
			for range 60 {
				require.NoError(t, db.Exec("UPDATE t SET pad = randomblob(100) WHERE id IN (1, 40)"))
			}
			if c.checkpoint != nil {
				c.checkpoint(t, db)
			}
			insert(1)
			r = l.start(t)
			insert(1)
			r.stop(t)
			_, err = l.restore(t)
			if c.whole {
				require.NoError(t, err)
			} else {
				require.Error(t, err, "has Litestream mended it? Then say so in the README")
				t.Log(err)
			}
			require.Equal(t, "<nil>", state(l.path), "the database itself")
		})
	}
}

// passive has all of the WAL brought over.
func passive(t *testing.T, c *sqlite3.Conn) {
	t.Helper()
	frames, done, err := vfs.WALCheckpoint(c, "main", sqlite3.CHECKPOINT_PASSIVE)
	require.NoError(t, err)
	require.Equal(t, frames, done)
}

// byItself has a commit do that, as each does that fills the WAL.
func byItself(t *testing.T, c *sqlite3.Conn) {
	t.Helper()
	require.NoError(t, c.Exec("PRAGMA wal_autocheckpoint=1; UPDATE t SET pad = randomblob(100) WHERE id=1; PRAGMA wal_autocheckpoint=1000"))
}
