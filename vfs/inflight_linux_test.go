package vfs_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// eachSync is a base VFS in which each sync of the WAL that the library does waits for its answer.
// Syncs run beside each other whenever they can.
type eachSync struct {
	*recorder
	hold  atomic.Bool
	syncs chan chan error // those that run
}

func newEachSync(also rules.Set) *eachSync {
	e := &eachSync{recorder: newRecorder(), syncs: make(chan chan error, 100)}
	e.disabled = rules.Frugal | also
	e.before = func(o op) error {
		if o.kind != "sync" || o.file != "wal" || !o.own || !e.hold.Load() {
			return nil
		}
		answer := make(chan error)
		e.syncs <- answer
		return <-answer
	}
	return e
}

// TestSyncsBeside: what a later sync covers is durable when that ends, whatever an earlier one is at, and not the other way round.
func TestSyncsBeside(t *testing.T) {
	for _, tt := range []struct {
		name     string
		disabled rules.Set
	}{{"rule", 0}, {"control", rules.LaterSyncs}} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEachSync(tt.disabled)
			_, conns := setup(t, e.recorder, 4, nil, full)
			for _, c := range conns {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c.SetInterrupt(ctx) // so that others do its syncs, and it returns once it is answered
			}
			e.hold.Store(true)
			first := commits(t, conns[:1])
			sync1 := <-e.syncs
			second := commits(t, conns[1:2])
			sync2 := <-e.syncs
			third := commits(t, conns[2:3])
			sync3 := <-e.syncs
			fourth := commits(t, conns[3:]) // no handle is left for it

			sync2 <- nil
			require.NoError(t, <-first)
			require.NoError(t, <-second)
			sync4 := <-e.syncs
			if tt.disabled != 0 {
				require.NoError(t, <-third) // too early
			}
			require.Empty(t, fourth)
			sync1 <- nil // it tells nobody anything
			require.Empty(t, fourth)
			sync3 <- nil
			if tt.disabled == 0 {
				require.NoError(t, <-third)
			}
			e.hold.Store(false)
			sync4 <- nil
			require.NoError(t, <-fourth)
		})
	}
}

// TestSyncsBesideFail: one that fails fails all, also those that end well after it.
func TestSyncsBesideFail(t *testing.T) {
	e := newEachSync(0)
	path, conns := setup(t, e.recorder, 3, nil, full)
	e.hold.Store(true)
	var told []<-chan error
	var syncs []chan error
	for i := range conns {
		told = append(told, commits(t, conns[i:i+1]))
		syncs = append(syncs, <-e.syncs)
	}
	syncs[1] <- syscall.EIO
	e.hold.Store(false)
	require.ErrorIs(t, <-told[1], sqlite3.IOERR_FSYNC)
	syncs[2] <- nil
	syncs[0] <- nil
	require.ErrorIs(t, <-told[0], sqlite3.IOERR_FSYNC)
	require.ErrorIs(t, <-told[2], sqlite3.IOERR_FSYNC)
	var failure *vfs.SyncError
	require.ErrorAs(t, vfs.Failure(path), &failure)
	require.ErrorIs(t, conns[0].Exec("INSERT INTO t VALUES(1)"), sqlite3.IOERR_FSYNC)
	require.Zero(t, stats(t, path).PendingCommits)
}

// TestSyncHandles: each handle is open before the first write, is used by one sync at a time, and is closed with the WAL.
// With as many as can be opened, it goes on.
func TestSyncHandles(t *testing.T) {
	for _, most := range []int{1, 2, 3} {
		e := newEachSync(0)
		var opened int
		before := e.before
		e.before = func(o op) error {
			if o.kind == "open" && o.file == "wal" && o.own {
				if opened == most {
					return sqlite3.CANTOPEN
				}
				opened++
			}
			return before(o)
		}
		path := filepath.Join(t.TempDir(), "test.db")
		c := open(t, path, register(t, e.recorder), wal, full)
		exec(t, c, "CREATE TABLE t(x)")
		require.Equal(t, most, opened)
		require.NoError(t, c.Close())
		ops := e.take()
		var closed int
		written := false
		for _, o := range ops {
			written = written || o.kind == "write" && o.file == "wal"
			switch {
			case o.kind == "open" && o.file == "wal" && o.own:
				require.False(t, written)
			case o.kind == "close" && o.file == "wal" && o.own:
				closed++
			}
		}
		require.Equal(t, most, closed)
	}
}

// heldMarker is a base VFS that keeps the write of a marker waiting.
type heldMarker struct {
	*recorder
	writes chan chan struct{} // those that wait
}

func (heldMarker) ReadMarker(name string) ([]byte, error) { return os.ReadFile(name) }
func (heldMarker) DeleteMarker(name string) error         { return os.Remove(name) }
func (h heldMarker) WriteMarker(name string, content []byte) error {
	goOn := make(chan struct{})
	h.writes <- goOn
	<-goOn
	return os.WriteFile(name, content, 0o600)
}

// TestSyncsBesideFailing: from the moment that one has failed on, none of the others vouches for anything,
// though those who wait for that one are told only once it is noted what is in doubt.
func TestSyncsBesideFailing(t *testing.T) {
	e := newEachSync(0)
	base := heldMarker{e.recorder, make(chan chan struct{}, 1)}
	path, name := filepath.Join(t.TempDir(), "test.db"), register(t, base)
	var conns []*sqlite3.Conn
	for range 3 {
		c := open(t, path, name, wal, full)
		exec(t, c, "CREATE TABLE IF NOT EXISTS t(x)")
		conns = append(conns, c)
	}
	e.hold.Store(true)
	var told []<-chan error
	var syncs []chan error
	for i := range conns {
		told = append(told, commits(t, conns[i:i+1]))
		syncs = append(syncs, <-e.syncs)
	}
	syncs[1] <- syscall.EIO
	goOn := <-base.writes
	e.hold.Store(false)
	syncs[2] <- nil
	require.ErrorIs(t, <-told[2], sqlite3.IOERR_FSYNC, "it covers what has failed")
	syncs[0] <- nil
	require.ErrorIs(t, <-told[0], sqlite3.IOERR_FSYNC)
	require.Empty(t, told[1])
	close(goOn)
	go func() {
		for goOn := range base.writes { // what is noted after it
			close(goOn)
		}
	}()
	require.ErrorIs(t, <-told[1], sqlite3.IOERR_FSYNC)
	require.ErrorIs(t, conns[0].Exec("INSERT INTO t VALUES(1)"), sqlite3.IOERR_FSYNC)
}
