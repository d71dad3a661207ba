package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// passthroughAux names another database on the connection's VFS.
func passthroughAux(t *testing.T, c *sqlite3.Conn) string {
	t.Helper()
	name, err := c.FileControl("main", sqlite3.FCNTL_VFSNAME)
	require.NoError(t, err)
	return dsn(filepath.Join(t.TempDir(), "aux.db"), name.(string))
}

// TestForwarding: every optional interface of a base file is reached through ours.
func TestForwarding(t *testing.T) {
	control := func(op sqlite3.FcntlOpcode, want any, args ...any) func(*testing.T, *sqlite3.Conn) {
		return func(t *testing.T, c *sqlite3.Conn) {
			got, err := c.FileControl("main", op, args...)
			require.NoError(t, err)
			if want != nil {
				require.Equal(t, want, got)
			}
		}
	}
	run := func(sql string) func(*testing.T, *sqlite3.Conn) {
		return func(t *testing.T, c *sqlite3.Conn) { exec(t, c, sql) }
	}
	answers := func(want, sql string) func(*testing.T, *sqlite3.Conn) {
		return func(t *testing.T, c *sqlite3.Conn) { require.Equal(t, want, query(t, c, sql)) }
	}
	for _, tt := range []struct {
		name  string
		mode  string
		do    func(t *testing.T, c *sqlite3.Conn)
		calls []string
		not   []string
	}{
		{name: "lock state", do: control(sqlite3.FCNTL_LOCKSTATE, sqlitevfs.LOCK_PENDING), calls: []string{"db LockState"}},
		{name: "persist WAL", do: control(sqlite3.FCNTL_PERSIST_WAL, false), calls: []string{"db PersistWAL"}},
		{name: "set persist WAL", do: control(sqlite3.FCNTL_PERSIST_WAL, nil, true), calls: []string{"db SetPersistWAL true"}},
		{name: "psow", do: control(sqlite3.FCNTL_POWERSAFE_OVERWRITE, true), calls: []string{"db PowersafeOverwrite"}},
		{name: "set psow", do: control(sqlite3.FCNTL_POWERSAFE_OVERWRITE, nil, false), calls: []string{"db SetPowersafeOverwrite false"}},
		{name: "chunk size", do: control(sqlite3.FCNTL_CHUNK_SIZE, nil, 12345), calls: []string{"db ChunkSize 12345"}},
		{name: "pragma", do: answers("of the base: 42", "PRAGMA passthrough=42"), calls: []string{"db Pragma passthrough=42"}},
		{name: "pragma of SQLite's", do: run("PRAGMA cache_size=7"), calls: []string{"db Pragma cache_size=7"}},
		{name: "synchronous", do: run("PRAGMA synchronous=off"), calls: []string{"db Pragma synchronous=off"}},
		{name: "pragma of ours", mode: "wal", do: run("PRAGMA async_wait; PRAGMA async_stats; PRAGMA async_mode"),
			not: []string{"db Pragma async_wait=", "db Pragma async_stats=", "db Pragma async_mode="}},
		{name: "pragma's error", do: func(t *testing.T, c *sqlite3.Conn) {
			require.ErrorContains(t, c.Exec("PRAGMA passthrough_error=no"), "refused: no")
		}, calls: []string{"db Pragma passthrough_error=no"}},
		{name: "open", do: func(t *testing.T, c *sqlite3.Conn) {
			exec(t, c, "ATTACH '"+passthroughAux(t, c)+"' AS aux")
		}, calls: []string{"db BusyHandler true", "db SetDB true", "db SharedMemory"}},
		{name: "rollback commit", do: run(passthroughFill),
			calls: []string{"db SizeHint", "db HasMoved", "db SyncSuper false", "db CommitPhaseTwo"},
			not:   []string{"db CheckpointStart", "db BeginAtomicWrite"}},
		{name: "vacuum", do: run("VACUUM"), calls: []string{"db Overwrite"}},
		{name: "super-journal", do: func(t *testing.T, c *sqlite3.Conn) {
			exec(t, c, "ATTACH '"+passthroughAux(t, c)+"' AS aux; CREATE TABLE aux.u(x)")
			exec(t, c, "BEGIN; INSERT INTO t VALUES(1); INSERT INTO u VALUES(1); COMMIT")
		}, calls: []string{"db SyncSuper true"}},
		{name: "batch atomic", mode: "atomic", do: run("INSERT INTO t VALUES(1)"),
			calls: []string{"db BeginAtomicWrite", "db CommitAtomicWrite"}, not: []string{"db RollbackAtomicWrite"}},
		{name: "batch atomic fails", mode: "fails", do: run("INSERT INTO t VALUES(1)"),
			calls: []string{"db BeginAtomicWrite", "db RollbackAtomicWrite"}, not: []string{"db CommitAtomicWrite"}},
		{name: "WAL", mode: "wal", do: run("INSERT INTO t VALUES(1)"), calls: []string{"db CommitPhaseTwo"}, not: []string{"db SyncSuper false"}},
		{name: "checkpoint", mode: "wal", do: func(t *testing.T, c *sqlite3.Conn) {
			exec(t, c, passthroughFill)
			_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
			require.NoError(t, err)
		}, calls: []string{"db CheckpointStart", "db CheckpointDone", "db SizeHint"}},
		{name: "close", mode: "wal", do: func(t *testing.T, c *sqlite3.Conn) {
			exec(t, c, "INSERT INTO t VALUES(1)")
			require.NoError(t, c.Close())
		}, calls: []string{"db HasMoved", "db PersistWAL"}},
		{name: "WAL file", mode: "wal", do: func(t *testing.T, c *sqlite3.Conn) {
			exec(t, c, "INSERT INTO t VALUES(1)")
			f, err := c.FileControl("main", sqlite3.FCNTL_JOURNAL_POINTER)
			require.NoError(t, err)
			file := f.(sqlitevfs.FileUnwrap)
			require.IsType(t, &fakeFile{}, file.Unwrap()) // so it's ours
			require.True(t, file.(sqlitevfs.FilePowersafeOverwrite).PowersafeOverwrite())
			file.(sqlitevfs.FilePowersafeOverwrite).SetPowersafeOverwrite(false)
			file.(sqlitevfs.FileChunkSize).ChunkSize(54321)
			require.NoError(t, file.(sqlitevfs.FileSizeHint).SizeHint(1))
			require.Zero(t, file.DeviceCharacteristics()&sqlitevfs.IOCAP_POWERSAFE_OVERWRITE)
		}, calls: []string{"wal PowersafeOverwrite", "wal SetPowersafeOverwrite false", "wal ChunkSize 54321", "wal SizeHint"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := newFakeVFS()
			base.batchAtomic = tt.mode == "atomic" || tt.mode == "fails"
			name := register(t, base)
			c := open(t, filepath.Join(t.TempDir(), "test.db"), name, "_pragma=synchronous(full)")
			exec(t, c, "CREATE TABLE t(x)")
			if tt.mode == "wal" {
				require.Equal(t, "wal", query(t, c, "PRAGMA journal_mode=wal"))
			}
			if tt.mode == "fails" {
				base.failWrites.Store(1)
			}
			base.take()
			tt.do(t, c)
			calls := base.take()
			for _, call := range tt.calls {
				require.NotZero(t, calls[call], "%s: %v", call, calls)
			}
			for _, call := range tt.not {
				require.Zero(t, calls[call], "%s: %v", call, calls)
			}
		})
	}
}

// TestBaseCommitFails: an error of the base's CommitPhaseTwo is the commit's.
func TestBaseCommitFails(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			base := newFakeVFS()
			path := filepath.Join(t.TempDir(), "test.db")
			c := open(t, path, register(t, base), "_pragma=journal_mode("+mode+")", full)
			exec(t, c, "CREATE TABLE t(x)")
			var err error = sqlite3.IOERR_AUTH
			base.commitError.Store(&err)
			require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(1)"), sqlite3.IOERR_AUTH)
			base.commitError.Store(nil)
			require.NoError(t, vfs.Failure(path))
			exec(t, c, "INSERT INTO t VALUES(2)")
			require.NoError(t, c.Close())
			checkIntegrity(t, path)
		})
	}
}
