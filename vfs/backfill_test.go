package vfs_test

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// pauses is a base VFS that stops at one operation.
type pauses struct {
	*recorder
	hold          atomic.Bool
	started, goOn chan struct{}
	once          sync.Once
}

func (p *pauses) release() { p.once.Do(func() { close(p.goOn) }) }

// newPauses stops before the next such operation of the library's own after hold is set.
func newPauses(kind, file string) *pauses {
	p := &pauses{recorder: newRecorder(), started: make(chan struct{}), goOn: make(chan struct{})}
	p.before = func(o op) error {
		if o.kind == kind && o.file == file && o.own && p.hold.CompareAndSwap(true, false) {
			close(p.started)
			<-p.goOn
		}
		return nil
	}
	return p
}

// published returns how many frames the WAL has, and how many of them need not be read from it any more.
func published(t *testing.T, path string) (frames, done uint32) {
	x, err := walindex.Open(path + "-shm")
	require.NoError(t, err)
	defer x.Close()
	h, ok := x.Header()
	require.True(t, ok)
	return h.MaxFrame, x.Backfilled()
}

// TestPublishedAfterSync: nobody is told that frames are in the database file before that is durable (H2):
// another process would overwrite them.
func TestPublishedAfterSync(t *testing.T) {
	p := newPauses("sync", "db")
	defer p.release()
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, p.recorder), wal, normal, often)
	exec(t, c, "CREATE TABLE t(x)")
	p.take()
	p.hold.Store(true)
	fill(t, c, "t", 15)
	<-p.started
	require.NotZero(t, count(p.take(), "write", "db"))
	frames, done := published(t, path)
	require.Greater(t, frames, uint32(10))
	require.Zero(t, done)
	p.release()
	eventually(t, func() bool {
		_, done := published(t, path)
		return done > 0
	})
}

// TestOneBackfill: of several processes a single one copies pages in the background, until it has published that.
// What another one copies meanwhile isn't covered by its sync, and may be older.
func TestOneBackfill(t *testing.T) {
	p := newPauses("sync", "db")
	defer p.release()
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, p.recorder), wal, normal, often)
	exec(t, c, "CREATE TABLE t(x)")
	index, err := walindex.Open(path + "-shm") // another process
	require.NoError(t, err)
	defer index.Close()

	p.hold.Store(true)
	fill(t, c, "t", 15)
	<-p.started
	ok, err := index.TryLock(walindex.Backfill)
	require.NoError(t, err)
	require.False(t, ok)
	p.release()
	eventually(t, func() bool {
		ok, err = index.TryLock(walindex.Backfill)
		return err != nil || ok
	})
	require.NoError(t, err)

	p.take()
	fill(t, c, "t", 40)
	var ops []op
	eventually(t, func() bool {
		ops = append(ops, p.take()...)
		return count(ops, "sync", "wal") > 0
	})
	for _, o := range ops {
		require.False(t, o.own && o.kind == "write" && o.file == "db")
	}
	require.NoError(t, index.Unlock(walindex.Backfill))
	eventually(t, func() bool {
		fill(t, c, "t", 1)
		for _, o := range p.take() {
			if o.own && o.kind == "write" && o.file == "db" {
				return true
			}
		}
		return false
	})
}

// TestStartedOverMeanwhile: another process checkpoints all and starts the WAL over
// between the checkpointer's first look and its lock, or between its copying and what it publishes.
func TestStartedOverMeanwhile(t *testing.T) {
	for _, file := range []string{"wal", "db"} {
		t.Run(file, func(t *testing.T) {
			p := newPauses("sync", file)
			defer p.release()
			path := filepath.Join(t.TempDir(), "test.db")
			// Off, so that no other sync of the WAL comes before.
			c, stock := open(t, path, register(t, p.recorder), wal, off, often), open(t, path, "os", full, "_pragma=wal_autocheckpoint(0)")
			exec(t, c, "CREATE TABLE t(x)")
			p.hold.Store(true)
			fill(t, c, "t", 15)
			<-p.started
			_, _, err := stock.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
			require.NoError(t, err)
			fill(t, stock, "t", 40) // more frames than there were
			p.release()
			_, done := published(t, path)
			require.Zero(t, done)
			require.NoError(t, c.Close())
			require.Equal(t, "55", query(t, stock, "SELECT count(*) FROM t"))
			require.Equal(t, "ok", query(t, stock, "PRAGMA integrity_check"))
			frames, done := published(t, path)
			require.Zero(t, done)
			require.Greater(t, frames, uint32(40))
		})
	}
}

// otherProcess is a base VFS whose files this package doesn't know from those of other bases, as if it were in a process of its own.
type otherProcess struct{ *recorder }

func (p otherProcess) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	file, flags, err := p.recorder.OpenFilename(name, flags)
	if err != nil {
		return nil, flags, err
	}
	return otherProcessFile{file.(*recordedFile), p.recorder}, flags, nil
}

type otherProcessFile struct {
	*recordedFile
	process *recorder
}

func (f otherProcessFile) Identity() any {
	return struct {
		process *recorder
		kind    string
	}{f.process, f.kind}
}

// TestOlderCopy: the checkpointer of a process that has looked at the WAL before another one did doesn't put back older pages
// over those that the other has brought over, and is about to publish.
func TestOlderCopy(t *testing.T) {
	late, early := newPauses("sync", "db"), newPauses("sync", "wal")
	defer late.release()
	defer early.release()
	require.NoError(t, vfs.Register("test-late", otherProcess{late.recorder}))
	require.NoError(t, vfs.Register("test-early", otherProcess{early.recorder}))
	path := filepath.Join(t.TempDir(), "test.db")
	a, b := open(t, path, "test-late", wal, off, often), open(t, path, "test-early", off, often)
	exec(t, a, "CREATE TABLE t(n, k); INSERT INTO t VALUES(0, 0)")
	exec(t, a, "PRAGMA wal_checkpoint(TRUNCATE)")
	// Commits of one frame each, until the checkpointer is where it is to be held.
	until := func(started <-chan struct{}, c *sqlite3.Conn, sql string) {
		for range 25 {
			exec(t, c, sql)
			select {
			case <-started:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		require.Fail(t, "there was no checkpoint")
	}
	before := early.before
	early.before = func(o op) error {
		if o.kind == "write" && o.file == "wal" && o.off > 9*4096 {
			early.hold.Store(true) // the sync of the WAL's header comes before that
		}
		return before(o)
	}
	until(early.started, b, "UPDATE t SET n=1, k=k+1") // its checkpointer has seen this commit
	late.hold.Store(true)
	until(late.started, a, "UPDATE t SET n=2, k=k+1") // and that of this one has brought it over
	early.release()
	eventually(t, func() bool { return vfs.CheckpointerRests(b) })
	late.release()
	eventually(t, func() bool { return vfs.CheckpointerRests(a) })
	frames, done := published(t, path)
	require.NotZero(t, frames)
	require.NotZero(t, done)

	other := open(t, path, "os")
	require.Equal(t, "2", query(t, other, "SELECT n FROM t"))
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	require.Equal(t, "2", query(t, other, "SELECT n FROM t"))
	require.Equal(t, "ok", query(t, other, "PRAGMA integrity_check"))
}

// TestSnapshotOfReader: what a reader sees stays as it is, whatever is checkpointed meanwhile.
func TestSnapshotOfReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal, often)
	reader := open(t, path, "os", "_pragma=cache_size(2)")
	exec(t, c, "CREATE TABLE t(i INTEGER PRIMARY KEY, n, x)")
	exec(t, c, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) INSERT INTO t SELECT i, 0, zeroblob(3000) FROM n")
	exec(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	for _, before := range []string{"", "UPDATE t SET n=0 WHERE i<5"} {
		if before != "" {
			exec(t, c, before)
		}
		exec(t, reader, "BEGIN")
		require.Equal(t, "0", query(t, reader, "SELECT sum(n) FROM t"))
		for i := range 10 {
			exec(t, c, "UPDATE t SET n=n+1 WHERE i%10="+string(rune('0'+i)))
			require.Equal(t, "0", query(t, reader, "SELECT sum(n) FROM t"))
		}
		exec(t, reader, "COMMIT")
		require.Equal(t, "200", query(t, reader, "SELECT sum(n) FROM t"))
		exec(t, c, "UPDATE t SET n=0")
		eventually(t, func() bool {
			exec(t, c, "UPDATE t SET n=0 WHERE i=1")
			return stats(t, path).WALRestarts > 0
		})
	}
	require.NotZero(t, stats(t, path).Checkpoints)
}

// TestOwnHandleOfAReader: a connection that may not write makes no handle, and the first that may does.
func TestOwnHandleOfAReader(t *testing.T) {
	rec := newRecorder()
	name := register(t, rec)
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, name, wal, normal)
	exec(t, c, "CREATE TABLE t(x)")
	require.NoError(t, c.Close())
	rec.take()
	reader := open(t, path, name, "mode=ro")
	require.Equal(t, "0", query(t, reader, "SELECT count(*) FROM t"))
	own := func() (n int) {
		for _, o := range rec.take() {
			if o.kind == "open" && o.file == "db" && o.own {
				n++
			}
		}
		return n
	}
	own() // of the reader itself: it makes no files either
	c = open(t, path, name, wal, normal, often)
	require.Equal(t, 1, own())
	open(t, path, name)
	require.Zero(t, own())
	eventually(t, func() bool {
		fill(t, c, "t", 10)
		return stats(t, path).WALRestarts > 0
	})
	require.Zero(t, stats(t, path).FailedCheckpoints)
}

// TestHandlesAreClosed: with the last connection, the library's handles are.
func TestHandlesAreClosed(t *testing.T) {
	path := filepath.Join(handlesDir(t), "test.db")
	for range 3 {
		c := open(t, path, "async", wal, normal, often)
		exec(t, c, "CREATE TABLE IF NOT EXISTS t(x)")
		fill(t, c, "t", 50)
		require.NoError(t, c.Close())
		require.Zero(t, handlesListed(path))
		_, err := vfs.Stats(path)
		require.ErrorIs(t, err, vfs.ErrNotOpen)
	}
}

var _ sqlitevfs.VFSFilename = (*pauses)(nil)

// TestBesideACommit: a commit publishes its header while the checkpointer looks at that, once more than at the start.
// The header is whole a moment later, so the checkpoint goes on.
func TestBesideACommit(t *testing.T) {
	if !walindex.Supported {
		t.Skip("no checkpoints in the background")
	}
	for _, tt := range []struct {
		name string
		file string // whose sync comes before the look
		lock walindex.Lock
	}{
		{"before-copy", "wal", walindex.Read(0)},
		{"before-publish", "db", walindex.Checkpoint},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A machine that is busy may take longer to make it whole than the checkpointer waits, which is an error then.
			for besideACommit(t, tt.file, tt.lock) != nil {
			}
		})
	}
}

// besideACommit checkpoints once. The header is half written from a sync until the lock is held.
func besideACommit(t *testing.T, file string, lock walindex.Lock) error {
	path := filepath.Join(t.TempDir(), "test.db")
	var index *walindex.Index
	var shm *os.File
	// A field that isn't used, of the copy that a writer writes last.
	half := func(b byte) {
		_, err := shm.WriteAt([]byte{b}, 4)
		require.NoError(t, err)
	}
	over, whole := make(chan struct{}), make(chan struct{})
	whenHeld := func() {
		defer close(whole)
		defer half(0)
		for {
			if held, err := index.Held(lock); held || err != nil {
				return
			}
			select {
			case <-over:
				return
			default:
				runtime.Gosched()
			}
		}
	}
	var armed atomic.Bool
	rec := newRecorder()
	rec.before = func(o op) error {
		if o.kind != "sync" || o.file != file || !o.own || !armed.Load() {
			return nil
		}
		if h, ok := index.Header(); ok && h.MaxFrame >= 10 && armed.CompareAndSwap(true, false) {
			half(1)
			go whenHeld()
		}
		return nil
	}

	c := open(t, path, register(t, rec), wal, normal, often, slow)
	exec(t, c, "CREATE TABLE t(x)")
	ended := make(chan vfs.CheckpointEndedInfo, 100)
	defer vfs.AddEvents(vfs.Events{CheckpointEnded: func(i vfs.CheckpointEndedInfo) { ended <- i }}, path)()
	var err error
	index, err = walindex.Open(path + "-shm")
	require.NoError(t, err)
	defer index.Close()
	shm, err = os.OpenFile(path+"-shm", os.O_RDWR, 0)
	require.NoError(t, err)
	defer shm.Close()
	armed.Store(true)
	for h, ok := index.Header(); ok && h.MaxFrame < 10; h, ok = index.Header() {
		fill(t, c, "t", 1)
	}
	info := <-ended
	close(over)
	require.False(t, armed.Swap(false), "nothing was synced")
	<-whole
	if info.Err == nil {
		require.Positive(t, info.Frames)
		require.Zero(t, info.Left)
	}
	return info.Err
}
