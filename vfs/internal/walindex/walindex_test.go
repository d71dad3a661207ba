//go:build (linux || darwin) && (386 || arm || amd64 || arm64 || riscv64 || ppc64le || loong64) && !(sqlite3_flock || sqlite3_dotlk)

package walindex

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// open returns a database in WAL mode, whose WAL has that many rows, and its index.
func open(t *testing.T, rows string) (*sqlite3.Conn, *Index, string) {
	path := filepath.Join(t.TempDir(), "test.db")
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?_pragma=page_size(1024)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=wal_autocheckpoint(0)")
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.Exec("CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < "+rows+") INSERT INTO t SELECT randomblob(900) FROM n"))
	x, err := Open(path + "-shm")
	require.NoError(t, err)
	t.Cleanup(func() { x.Close() })
	return c, x, path
}

// TestHeader: what the index says is what SQLite says, and what stands in the WAL.
func TestHeader(t *testing.T) {
	c, x, path := open(t, "9000") // more frames than two regions have
	h, ok := x.Header()
	require.True(t, ok)
	require.Zero(t, x.Backfilled())
	require.Equal(t, 1024, h.PageSize)
	wal, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	require.Equal(t, wal[16:24], h.Salt[:])

	pages, err := x.PageNumbers(1, h.MaxFrame)
	require.NoError(t, err)
	for i, page := range pages {
		at := 32 + i*(24+1024)
		require.Equal(t, binary.BigEndian.Uint32(wal[at:]), page, "frame %d", i+1)
	}
	last := binary.BigEndian.Uint32(wal[32+(len(pages)-1)*(24+1024)+4:])
	require.Equal(t, last, h.Pages)
	for _, from := range []uint32{firstFrames, firstFrames + 1, firstFrames + moreFrames, h.MaxFrame} {
		some, err := x.PageNumbers(from, h.MaxFrame)
		require.NoError(t, err)
		require.Equal(t, pages[from-1:], some)
	}

	frames, done, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_FULL)
	require.NoError(t, err)
	require.EqualValues(t, frames, h.MaxFrame)
	require.EqualValues(t, done, x.Backfilled())
	require.NoError(t, c.Exec("INSERT INTO t VALUES(1)")) // restarts the WAL
	h2, ok := x.Header()
	require.True(t, ok)
	require.NotEqual(t, h.Salt, h2.Salt)
	require.Less(t, h2.MaxFrame, h.MaxFrame)
}

// TestTornHeader: a header that is being written is told from one that isn't.
func TestTornHeader(t *testing.T) {
	_, x, _ := open(t, "1")
	for at := range 2 * headerSize {
		x.region[at] ^= 0x10
		_, ok := x.Header()
		require.False(t, ok, "byte %d", at)
		x.region[at] ^= 0x10
	}
	for at := range headerSize { // both copies alike
		x.region[at] ^= 0x10
		x.region[headerSize+at] ^= 0x10
		_, ok := x.Header()
		require.False(t, ok, "byte %d", at)
		x.region[at] ^= 0x10
		x.region[headerSize+at] ^= 0x10
	}
	_, ok := x.Header()
	require.True(t, ok)
}

// TestLocks: the locks are SQLite's, and what keeps one of its connections from them keeps us too.
func TestLocks(t *testing.T) {
	c, x, path := open(t, "1")
	other, err := Open(path + "-shm")
	require.NoError(t, err)
	defer other.Close()

	lock := func(x *Index, l Lock, want bool) {
		t.Helper()
		ok, err := x.TryLock(l)
		require.NoError(t, err)
		require.Equal(t, want, ok)
	}
	held := func(x *Index, l Lock, want bool) {
		t.Helper()
		ok, err := x.Held(l)
		require.NoError(t, err)
		require.Equal(t, want, ok)
	}
	for l := Write; l <= Read(Readers-1); l++ {
		lock(x, l, true)
		lock(other, l, false)
		held(x, l, false)
		held(other, l, true)
		require.NoError(t, x.Unlock(l))
		held(other, l, false)
	}

	lock(x, Write, true)
	require.ErrorIs(t, c.Exec("INSERT INTO t VALUES(1)"), sqlite3.BUSY)
	require.NoError(t, x.Unlock(Write))
	lock(x, Checkpoint, true)
	_, _, err = c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
	require.ErrorIs(t, err, sqlite3.BUSY)
	require.NoError(t, x.Unlock(Checkpoint))

	require.NoError(t, c.Exec("BEGIN IMMEDIATE"))
	held(x, Write, true)
	lock(x, Write, false)
	require.NoError(t, c.Exec("COMMIT; BEGIN; SELECT * FROM t"))
	marked := 0
	h, _ := x.Header()
	for i := range Readers {
		if ok, _ := x.Held(Read(i)); ok {
			require.Equal(t, h.MaxFrame, x.ReadMark(i))
			marked++
		}
	}
	require.Equal(t, 1, marked)
}

// TestBackfillLock: it is nobody else's, whatever of the file SQLite and go-sqlite3 lock.
func TestBackfillLock(t *testing.T) {
	c, x, path := open(t, "1")
	pointer, err := c.FileControl("main", sqlite3.FCNTL_FILE_POINTER)
	require.NoError(t, err)
	shm := vfsutil.WrapSharedMemory(pointer.(sqlitevfs.File))
	if io, ok := shm.(interface {
		IOLock(sqlitevfs.LockLevel, int64) error
	}); ok {
		for id := range int64(100) {
			require.NoError(t, io.IOLock(sqlitevfs.LOCK_EXCLUSIVE, id))
		}
	}
	other, err := Open(path + "-shm")
	require.NoError(t, err)
	defer other.Close()
	for l := Write; l <= Read(Readers-1); l++ {
		ok, err := other.TryLock(l)
		require.NoError(t, err)
		require.True(t, ok)
	}
	ok, err := x.TryLock(Backfill)
	require.NoError(t, err)
	require.True(t, ok)
}

// TestWithIOLock: while it is called, it has all locks that go-sqlite3 takes for parts of blocks, and no others.
func TestWithIOLock(t *testing.T) {
	c, x, path := open(t, "1")
	pointer, err := c.FileControl("main", sqlite3.FCNTL_FILE_POINTER)
	require.NoError(t, err)
	io, ok := vfsutil.WrapSharedMemory(pointer.(sqlitevfs.File)).(interface {
		IOLock(sqlitevfs.LockLevel, int64) error
	})
	held := func() (types []int16) {
		for at := range int64(300) {
			typ, err := x.lockOf(at)
			require.NoError(t, err)
			types = append(types, typ)
		}
		return types
	}
	var theirs []int16
	if ok {
		for id := range int64(100) {
			require.NoError(t, io.IOLock(sqlitevfs.LOCK_EXCLUSIVE, id))
		}
		theirs = held()
		for id := range int64(100) {
			require.NoError(t, io.IOLock(sqlitevfs.LOCK_NONE, id))
		}
	}
	before := held()
	require.NoError(t, WithIOLock(path+"-shm", true, func() error {
		if ok {
			require.Equal(t, theirs, held())
		}
		require.NotEqual(t, before, held())
		return nil
	}))
	require.Equal(t, before, held())
	require.NoError(t, WithIOLock(path+"-shm", false, func() error {
		return WithIOLock(path+"-shm", false, func() error { return nil })
	}))
	called := false
	require.NoError(t, WithIOLock(path+"-none", true, func() error { called = true; return nil }))
	require.True(t, called)
}

// TestNotInUse: an index that nobody uses isn't opened, nor is one made.
func TestNotInUse(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "test.db-shm"))
	require.ErrorIs(t, err, ErrNotThere)
	left := filepath.Join(t.TempDir(), "left-shm")
	require.NoError(t, os.WriteFile(left, make([]byte, regionSize), 0o600))
	_, err = Open(left)
	require.ErrorIs(t, err, ErrNotThere)
}
