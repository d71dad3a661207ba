package vfs_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// heldSyncs is a recorder whose syncs of the WAL can be held up.
type heldSyncs struct {
	*recorder
	hold    atomic.Bool
	started chan struct{} // a held sync has started
	release chan error    // what it returns
}

func newHeldSyncs() *heldSyncs {
	h := &heldSyncs{recorder: newRecorder(), started: make(chan struct{}), release: make(chan error)}
	h.before = func(o op) error {
		if o.kind == "sync" && o.file == "wal" && h.hold.Load() {
			h.started <- struct{}{}
			return <-h.release
		}
		return nil
	}
	return h
}

// stats returns the statistics of an open database.
func stats(t testing.TB, path string) vfs.Statistics {
	t.Helper()
	s, err := vfs.Stats(path)
	require.NoError(t, err)
	return s
}

// eventually waits for what another goroutine does.
func eventually(t testing.TB, f func() bool) {
	t.Helper()
	require.Eventually(t, f, time.Minute, time.Millisecond)
}

// commits starts a commit on each connection and returns where its errors come.
func commits(t testing.TB, conns []*sqlite3.Conn) <-chan error {
	done := make(chan error, len(conns))
	for _, c := range conns {
		go func() { done <- c.Exec("INSERT INTO t VALUES(1)") }()
	}
	return done
}

// setup opens connections to a database with a table, at a level.
func setup(t testing.TB, base *recorder, n int, opts []vfs.Option, params ...string) (path string, conns []*sqlite3.Conn) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "test.db")
	name := register(t, base, opts...)
	for range n {
		conns = append(conns, open(t, path, name, append([]string{wal, noAuto}, params...)...))
	}
	exec(t, conns[0], "CREATE TABLE t(x)")
	exec(t, conns[0], "PRAGMA async_wait")
	base.take()
	return path, conns
}

func TestGroupCommit(t *testing.T) {
	for _, tt := range []struct {
		name     string
		disabled rules.Set
		contexts bool // that can be cancelled
	}{
		{"rule", 0, false},
		{"rule-contexts", 0, true},
		{"control-H6", rules.SyncCoversWritten, false},
		{"control-wait", rules.GroupWait, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHeldSyncs()
			h.disabled = tt.disabled
			path, conns := setup(t, h.recorder, 8, nil, full)
			before := stats(t, path)
			if tt.contexts {
				for _, c := range conns {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					c.SetInterrupt(ctx)
				}
			}

			h.hold.Store(true)
			first := commits(t, conns[:1])
			<-h.started
			others := commits(t, conns[1:])
			eventually(t, func() bool { return stats(t, path).Commits == before.Commits+8 })
			// Visible, but not durable: the sync that runs started before they were written.
			require.Equal(t, "8", query(t, open(t, path, "os"), "SELECT count(*) FROM t"))
			require.Empty(t, first)
			require.Empty(t, others)

			if tt.disabled == rules.SyncCoversWritten {
				// Switched off, the sync that runs answers them all.
				h.hold.Store(false)
				h.release <- nil
				require.NoError(t, <-first)
				for range 7 {
					require.NoError(t, <-others)
				}
				require.Equal(t, before.WALSyncs+1, stats(t, path).WALSyncs)
				return
			}
			h.release <- nil
			require.NoError(t, <-first)
			if tt.disabled == rules.GroupWait {
				// Switched off, those that don't lead are answered when it starts.
				<-h.started
				for range 6 {
					require.NoError(t, <-others)
				}
				h.hold.Store(false)
				h.release <- nil
				require.NoError(t, <-others)
				return
			}
			<-h.started
			require.Empty(t, others, "answered by a sync that started before")
			h.release <- nil
			for range 7 {
				require.NoError(t, <-others)
			}
			// One sync for the first commit, and one for all the others.
			require.Equal(t, before.WALSyncs+2, stats(t, path).WALSyncs)
			require.Equal(t, uint64(7-1), stats(t, path).Merged-before.Merged)
			h.hold.Store(false)
		})
	}
}

// TestStrictestFirst: a commit at FULL doesn't wait for the deadline of those at NORMAL.
func TestStrictestFirst(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 2, nil, slow)
	exec(t, conns[0], "PRAGMA synchronous=normal")
	exec(t, conns[1], "PRAGMA synchronous=full")
	for range 3 {
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
	}
	require.NotZero(t, stats(t, path).PendingCommits)
	exec(t, conns[1], "INSERT INTO t VALUES(1)")
	s := stats(t, path)
	require.Zero(t, s.PendingCommits)
	require.Zero(t, s.PendingBytes)
}

// TestLevelChanges: the level belongs to the connection and may change at any time.
func TestLevelChanges(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 1, nil, slow)
	c := conns[0]
	for _, tt := range []struct {
		pragma  string
		pending string
	}{
		{"PRAGMA synchronous=FULL", "durable"},
		{"PRAGMA synchronous=1", "bounded"},
		{"PRAGMA main.synchronous=EXTRA", "durable"},
		{"PRAGMA synchronous=0", "unbounded"},
		{"PRAGMA synchronous=normal", "bounded"},
		{"PRAGMA synchronous=no", "unbounded"},
		{"PRAGMA synchronous=nonsense", "bounded"}, // so says SQLite
		{"PRAGMA synchronous=8", "unbounded"},      // as it does of this
		{"PRAGMA synchronous=true", "bounded"},
		{"PRAGMA synchronous=3", "durable"},
	} {
		exec(t, c, "PRAGMA async_wait")
		exec(t, c, tt.pragma)
		level := query(t, c, "PRAGMA synchronous")
		// The first commit after a pause is synced at once.
		exec(t, c, "INSERT INTO t VALUES(1)")
		exec(t, c, "INSERT INTO t VALUES(1)")
		exec(t, c, "INSERT INTO t VALUES(1)")
		s := stats(t, path)
		got := "durable"
		if s.PendingBytes > 0 {
			got = "unbounded"
			if s.PendingCommits > 0 {
				got = "bounded"
			}
		}
		require.Equal(t, tt.pending, got, "%s, level %s", tt.pragma, level)
	}
	// Within a transaction SQLite refuses to change the level.
	exec(t, c, "PRAGMA synchronous=normal")
	exec(t, c, "PRAGMA async_wait")
	exec(t, c, "BEGIN; INSERT INTO t VALUES(1)")
	require.Error(t, c.Exec("PRAGMA synchronous=off"))
	exec(t, c, "COMMIT")
	exec(t, c, "INSERT INTO t VALUES(1)")
	exec(t, c, "INSERT INTO t VALUES(1)")
	require.NotZero(t, stats(t, path).PendingCommits)
}

// TestDeadline: a commit at NORMAL is synced without anybody's doing.
func TestDeadline(t *testing.T) {
	synced := make(chan vfs.SyncEvent, 100)
	rec := newRecorder()
	path, conns := setup(t, rec, 1, []vfs.Option{vfs.OnSync(func(e vfs.SyncEvent) { synced <- e })}, normal, "max_delay=20ms")
	for len(synced) > 0 {
		<-synced
	}
	for range 3 {
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
	}
	for stats(t, path).PendingBytes > 0 {
		e := <-synced
		require.NoError(t, e.Err)
		require.Equal(t, "wal", e.File)
		require.Equal(t, path, e.Database)
		require.NotZero(t, e.Bytes)
	}
	s := stats(t, path)
	require.Zero(t, s.PendingCommits)
	require.Equal(t, s.Commits, s.DurableCommits)
	require.NotZero(t, s.MaxWindowMicros)
}

// TestMaxPending: no more than max_pending bytes may be lost at NORMAL.
func TestMaxPending(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 2, nil, normal, slow, "max_pending=64KiB")
	h.hold.Store(true)
	done := make(chan error, 1)
	returned := make(chan struct{}, 1000)
	go func() {
		for range 40 { // of at least a page each
			if err := conns[0].Exec("INSERT INTO t VALUES(zeroblob(100))"); err != nil {
				done <- err
				return
			}
			returned <- struct{}{}
		}
		done <- nil
	}()
	<-h.started
	eventually(t, func() bool { return stats(t, path).Stalls == 1 })
	// What has returned fits.
	require.LessOrEqual(t, len(returned)*4120, 64<<10)
	require.Empty(t, done)
	// A stalled commit holds no lock.
	conns[1].BusyTimeout(0)
	exec(t, conns[1], "BEGIN IMMEDIATE; ROLLBACK")

	h.hold.Store(false)
	h.release <- nil
	require.NoError(t, <-done)
	require.NotZero(t, stats(t, path).Stalls)
}

// TestMaxDelay: while a sync hangs, commits at NORMAL go on for max_delay and no longer.
func TestMaxDelay(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 1, nil, normal, "max_delay=1ms")
	h.hold.Store(true)
	exec(t, conns[0], "INSERT INTO t VALUES(1)") // synced at once, or at its deadline
	<-h.started
	done := make(chan error, 1)
	go func() {
		for stats(t, path).Stalls == 0 {
			if err := conns[0].Exec("INSERT INTO t VALUES(1)"); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	eventually(t, func() bool { return stats(t, path).Stalls == 1 })
	require.Empty(t, done)
	h.hold.Store(false)
	h.release <- nil
	require.NoError(t, <-done)
}

func TestCancelledCommit(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 2, nil, full)
	ctx, cancel := context.WithCancel(t.Context())
	conns[0].SetInterrupt(ctx)
	h.hold.Store(true)
	done := commits(t, conns[:1])
	<-h.started // by the syncer: the connection only waits
	cancel()
	err := <-done
	require.ErrorIs(t, err, vfs.ErrDurabilityUnknown)
	require.ErrorIs(t, err, sqlite3.INTERRUPT)
	require.Equal(t, uint64(1), stats(t, path).CancelledCommits)

	// The commit is made, and becomes durable.
	require.Equal(t, "1", query(t, conns[1], "SELECT count(*) FROM t"))
	h.hold.Store(false)
	h.release <- nil
	require.NoError(t, vfs.WaitDurable(t.Context(), path))
	s := stats(t, path)
	require.Zero(t, s.PendingBytes)
	require.Empty(t, s.Failed)

	// The connection can be used again.
	conns[0].SetInterrupt(context.Background())
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	require.Equal(t, "2", query(t, conns[0], "SELECT count(*) FROM t"))
}

func TestMode(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 1, nil, normal, slow)
	c := conns[0]
	require.Equal(t, "async", query(t, c, "PRAGMA async_mode"))
	for range 3 {
		exec(t, c, "INSERT INTO t VALUES(1)")
	}
	require.NotZero(t, stats(t, path).PendingCommits)

	// Switching to sync flushes.
	require.Equal(t, "sync", query(t, c, "PRAGMA async_mode=sync"))
	require.Zero(t, stats(t, path).PendingBytes)
	require.Equal(t, vfs.Sync, stats(t, path).Mode)
	for _, level := range []string{"normal", "off", "full"} {
		exec(t, c, "PRAGMA synchronous="+level)
		for range 3 {
			exec(t, c, "INSERT INTO t VALUES(1)")
			require.Zero(t, stats(t, path).PendingBytes, level)
		}
	}
	require.Equal(t, "async", query(t, c, "PRAGMA async_mode=async"))
	exec(t, c, "PRAGMA synchronous=normal")
	for range 3 {
		exec(t, c, "INSERT INTO t VALUES(1)")
	}
	require.NotZero(t, stats(t, path).PendingCommits)

	// For all databases, also those opened later.
	require.NoError(t, vfs.SetMode(t.Context(), vfs.Sync))
	defer vfs.SetMode(t.Context(), vfs.Async)
	require.Zero(t, stats(t, path).PendingBytes)
	other := filepath.Join(t.TempDir(), "other.db")
	open(t, other, "async", wal)
	require.Equal(t, vfs.Sync, stats(t, other).Mode)
	require.ErrorContains(t, vfs.SetMode(t.Context(), 7), "Async or Sync")
}

// TestOffBesideFull: OFF syncs nothing, until somebody else has something to lose.
func TestOffBesideFull(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 2, nil, off)
	exec(t, conns[1], "PRAGMA synchronous=full")
	rec.take()
	for range 3 {
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
	}
	require.Zero(t, count(rec.take(), "sync", "wal"))
	require.NotZero(t, stats(t, path).PendingBytes)
	exec(t, conns[1], "INSERT INTO t VALUES(1)")
	require.Zero(t, stats(t, path).PendingBytes)

	// H1 and H2 hold for the one at OFF too: it never asks for a sync.
	_, _, err := conns[0].WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
	require.NoError(t, err)
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	require.Empty(t, brokenRules(rec.take()))
}
