package vfs_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// brokenRules follows what the operating system was asked to do
// and returns how each of the rules H1 to H4 is broken, in the order in which it was.
//
// It knows the disk's side only: what was written and is not yet synced.
func brokenRules(ops []op) (broken []string) {
	var walDirty, dbDirty bool // written since the last sync
	var header bool            // the WAL's header was written, and not synced
	var newWAL, gone bool      // the WAL's directory entry was made, or removed, and not synced
	breaks := func(rule string, o op) { broken = append(broken, rule+": "+o.String()) }
	for _, o := range ops {
		if o.err != nil {
			continue
		}
		switch o.kind + " " + o.file {
		case "open wal":
			newWAL = newWAL || !o.own
		case "write wal":
			switch {
			case o.off == 0 && o.size == 32:
				if dbDirty {
					breaks("H2", o)
				}
				header = true
			case header:
				breaks("H3", o)
			}
			walDirty = true
		case "truncate wal":
			if dbDirty {
				breaks("H2", o)
			}
		case "sync wal":
			walDirty, header = false, false
		case "syncdir wal":
			newWAL, gone = false, false
		case "write db":
			if walDirty {
				breaks("H1", o)
			}
			if gone {
				breaks("H4 delete", o)
			}
			dbDirty = true
		case "sync db":
			dbDirty = false
		case "delete wal":
			if dbDirty {
				breaks("H2", o)
			}
			gone, walDirty, header = true, false, false
		case "returned commit":
			if walDirty {
				breaks("FULL", o)
			}
			if newWAL {
				breaks("H4 create", o)
			}
		case "returned close":
			if gone {
				breaks("H4 delete", o)
			}
		}
	}
	return broken
}

// workload commits at FULL, lets the WAL restart a few times, and closes.
func workload(t *testing.T, rec *recorder, level string) []op {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, rec), wal, level, noAuto)
	returned := func(what string) { rec.do(op{kind: "returned", file: what}, func() error { return nil }) }
	exec(t, c, "CREATE TABLE t(x)")
	for range 4 {
		for range 3 {
			exec(t, c, "INSERT INTO t VALUES(zeroblob(9000))")
			if level == full {
				returned("commit")
			}
		}
		_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
		require.NoError(t, err)
	}
	_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	require.NoError(t, err)
	exec(t, c, "INSERT INTO t VALUES(1)")
	exec(t, c, "PRAGMA journal_mode=delete")
	exec(t, c, "INSERT INTO t VALUES(2)")
	exec(t, c, "PRAGMA journal_mode=wal")
	exec(t, c, "INSERT INTO t VALUES(3)")
	require.NoError(t, c.Close())
	returned("close")
	checkIntegrity(t, path)
	return rec.take()
}

func TestRules(t *testing.T) {
	for _, level := range []string{full, normal, off} {
		t.Run(level, func(t *testing.T) {
			require.Empty(t, brokenRules(workload(t, newRecorder(), level)))
		})
	}
}

// TestRulesControl shows that each rule does something:
// with the rule switched off, the same workload breaks it.
func TestRulesControl(t *testing.T) {
	for _, tt := range []struct {
		name     string
		disabled rules.Set
		level    string
		broken   string
	}{
		// At FULL a commit makes the WAL durable before any checkpoint.
		{"H1", rules.WALBeforeDB, normal, "H1: "},
		{"H2", rules.DBBeforeReuse, full, "H2: "},
		{"H3", rules.HeaderBeforeFrames, full, "H3: "},
		{"H3-off", rules.HeaderBeforeFrames, off, "H3: "},
		{"H4-create", rules.EntryBeforeCommit, full, "H4 create: "},
		{"H4-delete", rules.RemovalBeforeReturn, full, "H4 delete: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := newRecorder()
			rec.disabled = tt.disabled
			broken := brokenRules(workload(t, rec, tt.level))
			require.NotEmpty(t, broken)
			for _, b := range broken {
				require.Contains(t, b, tt.broken)
			}
		})
	}
}

// TestForeignWrites: another process may have written the WAL,
// and this one's checkpoint makes it durable all the same (H1).
func TestForeignWrites(t *testing.T) {
	for _, disabled := range []rules.Set{0, rules.ForeignWrites} {
		t.Run(fmt.Sprint(disabled), func(t *testing.T) {
			rec := newRecorder()
			rec.disabled = disabled
			path := filepath.Join(t.TempDir(), "test.db")
			ours := open(t, path, register(t, rec), wal, normal, noAuto)
			exec(t, ours, "CREATE TABLE t(x)")
			_, _, err := ours.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
			require.NoError(t, err)

			// The stock VFS stands for the other process.
			theirs := open(t, path, "os", normal, noAuto)
			exec(t, theirs, "INSERT INTO t VALUES(1)")
			rec.take()
			_, _, err = ours.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
			require.NoError(t, err)

			synced := false
			for _, o := range rec.take() {
				if o.kind == "sync" && o.file == "wal" {
					synced = true
				}
				if o.kind == "write" && o.file == "db" {
					require.Equal(t, disabled == 0, synced)
				}
			}
			require.Equal(t, disabled == 0, synced)
		})
	}
}

// TestWriteIsGated: the gate of H1 is at the write too.
func TestWriteIsGated(t *testing.T) {
	rec := newRecorder()
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, rec), wal, normal, noAuto, slow)
	exec(t, c, "CREATE TABLE t(x)")
	f, err := c.FileControl("main", sqlite3.FCNTL_FILE_POINTER)
	require.NoError(t, err)
	rec.take()

	// As if SQLite had not told of the start of the checkpoint.
	file := f.(sqlitevfs.File)
	page := make([]byte, 4096)
	_, err = file.ReadAt(page, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(page, 0)
	require.NoError(t, err)
	ops := rec.take()
	require.Equal(t, "sync(wal)", ops[0].kind+"("+ops[0].file+")")
	require.Equal(t, 1, count(ops, "write", "db"))
}

// TestSequentialIsHidden: with IOCAP_SEQUENTIAL, SQLite wouldn't sync the header (H7).
func TestSequentialIsHidden(t *testing.T) {
	rec := newRecorder()
	rec.characteristics = sqlitevfs.IOCAP_SEQUENTIAL
	path := filepath.Join(t.TempDir(), "test.db")
	stock := "sequential-" + t.Name()
	sqlitevfs.Register(stock, rec)
	t.Cleanup(func() { sqlitevfs.Unregister(stock) })

	headerSyncs := func(vfsName string) (n int) {
		rec.take()
		c := open(t, path, vfsName, wal, normal, noAuto)
		exec(t, c, "CREATE TABLE IF NOT EXISTS t(x)")
		exec(t, c, "INSERT INTO t VALUES(1)")
		ops := rec.take()
		require.NoError(t, c.Close())
		for i, o := range ops {
			if o.kind == "write" && o.file == "wal" && o.size == 32 && ops[i+1].kind == "sync" {
				n++
			}
		}
		return n
	}
	require.Zero(t, headerSyncs(stock))
	require.Equal(t, 1, headerSyncs(register(t, rec)))
}

// TestOwnHandle: the syncs of commits are done on a handle that SQLite doesn't use,
// opened before the first write.
func TestOwnHandle(t *testing.T) {
	rec := newRecorder()
	for _, o := range workload(t, rec, full) {
		switch {
		case o.kind == "sync" && o.file == "wal":
			require.True(t, o.own, o)
		case o.kind == "write":
			require.False(t, o.own, o)
		}
	}
}

// TestPadding: without powersafe overwrite the last frame is repeated up to a sector's end,
// and part of it is written after the sync that SQLite asks for. The commit waits all the same.
func TestPadding(t *testing.T) {
	rec := newRecorder()
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, rec), "psow=0", "_pragma=page_size(512)", wal, full, noAuto, slow)
	exec(t, c, "CREATE TABLE t(x)")
	for range 20 {
		rec.take()
		exec(t, c, "INSERT INTO t VALUES(1)")
		ops := rec.take()
		require.Equal(t, "sync", ops[len(ops)-1].kind, ops)
	}
}

// TestSyncIsReal: when SQLite asks for the database file to be durable, another process may have written it.
func TestSyncIsReal(t *testing.T) {
	rec := newRecorder()
	_, conns := setup(t, rec, 1, nil, full)
	f, err := conns[0].FileControl("main", sqlite3.FCNTL_FILE_POINTER)
	require.NoError(t, err)
	require.NoError(t, f.(sqlitevfs.File).Sync(sqlitevfs.SYNC_NORMAL))
	require.Equal(t, 1, count(rec.take(), "sync", "db"))
}
