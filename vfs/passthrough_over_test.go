package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// overVFS is a VFS over this one. Its files have no more than they need for WAL mode.
type overVFS struct {
	sqlitevfs.VFS
	wrap func(overFile) sqlitevfs.File
}

func (v *overVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, out, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err == nil && flags&sqlitevfs.OPEN_MAIN_DB != 0 {
		file = v.wrap(overFile{file})
	}
	return file, out, err
}

type overFile struct{ sqlitevfs.File }

func (f overFile) SharedMemory() sqlitevfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }

type overUnwrapped struct{ overFile }

func (f overUnwrapped) Unwrap() sqlitevfs.File { return f.File }

type overCommits struct{ overUnwrapped }

func (f overCommits) CommitPhaseTwo() error { return vfsutil.WrapCommitPhaseTwo(f.File) }

type overAll struct{ overCommits }

func (f overAll) CheckpointStart() { vfsutil.WrapCheckpointStart(f.File) }
func (f overAll) CheckpointDone()  { vfsutil.WrapCheckpointDone(f.File) }

// passthroughOver opens a database through a VFS over ours.
func passthroughOver(t *testing.T, rec *recorder, wrap func(overFile) sqlitevfs.File, params ...string) (string, *sqlite3.Conn) {
	path := filepath.Join(handlesDir(t), "test.db")
	name := passthroughRaw(t, &overVFS{VFS: sqlitevfs.Find(register(t, rec)), wrap: wrap})
	c := open(t, path, name, append(params, wal, noAuto)...)
	exec(t, c, "CREATE TABLE t(x)")
	rec.take()
	return path, c
}

var passthroughWraps = []struct {
	name string
	wrap func(overFile) sqlitevfs.File
}{
	{"nothing", func(f overFile) sqlitevfs.File { return f }},
	{"unwrap", func(f overFile) sqlitevfs.File { return overUnwrapped{f} }},
	{"commits", func(f overFile) sqlitevfs.File { return overCommits{overUnwrapped{f}} }},
	{"all", func(f overFile) sqlitevfs.File { return overAll{overCommits{overUnwrapped{f}}} }},
}

// TestWrapped: below another VFS ours syncs when SQLite asks, however much that forwards.
// It may write in other units than SQLite, as the encrypting ones do,
// and then the WAL's header can't be told from a frame.
func TestWrapped(t *testing.T) {
	for _, tt := range passthroughWraps {
		t.Run(tt.name, func(t *testing.T) {
			rec := newRecorder()
			path, c := passthroughOver(t, rec, tt.wrap, full, slow)
			commits := stats(t, path).Commits
			for range 5 {
				exec(t, c, "INSERT INTO t VALUES(1)")
				ops := rec.take()
				require.Equal(t, 1, count(ops, "sync", "wal"))
				last := ops[len(ops)-1]
				require.Equal(t, "sync wal", last.kind+" "+last.file)
				require.False(t, last.own)
			}
			require.Equal(t, commits, stats(t, path).Commits)
			for _, level := range []string{"full", "normal"} {
				exec(t, c, "PRAGMA synchronous="+level)
				for range 3 {
					exec(t, c, passthroughFill)
					_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
					require.NoError(t, err)
				}
			}
			require.NoError(t, c.Close())
			ops := rec.take()
			require.Empty(t, brokenRules(ops))
			require.Equal(t, 1, count(ops, "delete", "wal"))
			checkIntegrity(t, path)
		})
	}
}

// TestWrappedWait: what nobody told us of isn't durable either.
func TestWrappedWait(t *testing.T) {
	for _, tt := range passthroughWraps {
		t.Run(tt.name, func(t *testing.T) {
			rec := newRecorder()
			path, c := passthroughOver(t, rec, tt.wrap, normal, slow)
			exec(t, c, "INSERT INTO t VALUES(1)")
			exec(t, c, "INSERT INTO t VALUES(1)")
			rec.take()
			require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), vfs.ErrWALNotOpen)
		})
	}
}
