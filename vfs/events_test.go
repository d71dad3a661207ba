package vfs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// happened notes which events came, and for which database.
type happened struct {
	mu     sync.Mutex
	list   []string
	each   func() // is called in each event
	closed vfs.Statistics
	failed *vfs.SyncError
}

func (h *happened) add(database, format string, args ...any) {
	h.mu.Lock()
	h.list = append(h.list, filepath.Base(database)+" "+fmt.Sprintf(format, args...))
	h.mu.Unlock()
	if h.each != nil {
		h.each()
	}
}

func (h *happened) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.list
	h.list = nil
	return list
}

func (h *happened) count(event string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.list {
		if e == event {
			n++
		}
	}
	return n
}

// events are all that there are.
func (h *happened) events() vfs.Events {
	return vfs.Events{
		DatabaseOpened: func(i vfs.DatabaseOpenedInfo) { h.add(i.Database, "opened") },
		DatabaseClosed: func(i vfs.DatabaseClosedInfo) { h.closed = i.Statistics; h.add(i.Database, "closed") },
		DatabaseFailed: func(i vfs.DatabaseFailedInfo) { h.failed = i.Err; h.add(i.Database, "failed") },
		SyncEnded:      func(i vfs.SyncEvent) { h.add(i.Database, "sync %s %v", i.File, i.Err == nil) },
		CommitWaited:   func(i vfs.CommitWaitedInfo) { h.add(i.Database, "commit %v", i.Err == nil) },
		StallBegan:     func(i vfs.StallBeganInfo) { h.add(i.Database, "stall %v began", i.Reason) },
		StallEnded:     func(i vfs.StallEndedInfo) { h.add(i.Database, "stall %v ended", i.Reason) },
		CheckpointBegan: func(i vfs.CheckpointBeganInfo) {
			h.add(i.Database, "checkpoint %v began", i.Background)
		},
		CheckpointEnded: func(i vfs.CheckpointEndedInfo) {
			h.add(i.Database, "checkpoint %v ended %v", i.Background, i.Err == nil)
		},
		WALRestarted: func(i vfs.WALRestartedInfo) { h.add(i.Database, "restarted %v", i.Bytes > 0) },
	}
}

// TestEvents: what happens to a database comes in order, for the default VFS too, and for one that is named by any name of it.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "one.db"), filepath.Join(dir, "other.db")
	var h happened
	defer vfs.AddEvents(h.events(), path)()
	exec(t, open(t, other, "async", wal, full), "CREATE TABLE t(x)")
	c, err := sqlite3.Open(dsn(path, "async", wal, full, noAuto))
	require.NoError(t, err)
	require.NoError(t, c.Exec("CREATE TABLE t(x)"))
	require.Contains(t, strings.Join(h.take(), ", "), "one.db opened, ")

	require.NoError(t, c.Exec("INSERT INTO t VALUES(1)"))
	require.Equal(t, []string{"one.db sync wal true", "one.db commit true"}, h.take())

	require.NoError(t, c.Exec("PRAGMA synchronous=normal; PRAGMA wal_checkpoint"))
	require.Equal(t, []string{"one.db checkpoint false began", "one.db sync wal true", "one.db sync db true", "one.db checkpoint false ended true"}, h.take())

	require.NoError(t, c.Exec("INSERT INTO t VALUES(1)"))
	got := h.take()
	require.Equal(t, "one.db restarted true", got[0])
	require.NotContains(t, strings.Join(got, ", "), "commit") // at NORMAL it waits for nothing

	require.NoError(t, c.Close())
	got = h.take()
	require.Equal(t, "one.db closed", got[len(got)-1])
	require.EqualValues(t, 3, h.closed.Commits)
	require.Equal(t, path, h.closed.Database)
}

// TestEventsOfOff: at OFF a checkpoint ends with the sync that truncating the file does.
func TestEventsOfOff(t *testing.T) {
	path, conns := setup(t, newRecorder(), 1, nil, off)
	var h happened
	defer vfs.AddEvents(h.events(), path)()
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	exec(t, conns[0], "PRAGMA wal_checkpoint")
	require.Equal(t, 1, h.count("test.db checkpoint false began"))
	require.Equal(t, 1, h.count("test.db checkpoint false ended true"))
	require.Equal(t, "test.db checkpoint false ended true", h.list[len(h.list)-1])
}

// TestEventsOfPart: so does one that brings over a part of the WAL.
func TestEventsOfPart(t *testing.T) {
	path, conns := setup(t, newRecorder(), 2, nil, full)
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	exec(t, conns[1], "BEGIN; SELECT * FROM t")
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	var h happened
	defer vfs.AddEvents(h.events(), path)()
	exec(t, conns[0], "PRAGMA wal_checkpoint")
	got := h.take()
	require.Equal(t, "test.db checkpoint false began", got[0])
	require.Equal(t, "test.db checkpoint false ended true", got[len(got)-1])
	require.Len(t, slices.DeleteFunc(got, func(e string) bool { return !strings.Contains(e, "ended") }), 1)
}

// TestEventsInBackground: checkpoints of the library's, the commits that they hold, and the WAL that is started over.
func TestEventsInBackground(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	var h happened
	defer vfs.AddEvents(h.events(), path)()
	c := open(t, path, "async", wal, normal, "_pragma=wal_autocheckpoint(10)")
	exec(t, c, "CREATE TABLE t(x)")
	eventually(t, func() bool {
		exec(t, c, "INSERT INTO t VALUES(randomblob(30000))")
		return h.count("test.db checkpoint true ended true") > 0 && h.count("test.db stall checkpoint ended") > 0 &&
			h.count("test.db restarted true") > 0
	})
	require.NoError(t, c.Close())
	require.Equal(t, h.count("test.db checkpoint true began"), h.count("test.db checkpoint true ended true"))
	require.Equal(t, h.count("test.db stall checkpoint began"), h.count("test.db stall checkpoint ended"))
	require.Equal(t, 1, h.count("test.db restarted false")) // it was new
	require.EqualValues(t, h.closed.WALRestarts, 1+h.count("test.db restarted true"))
}

// TestEventsOfStall: a commit at NORMAL that has to wait.
func TestEventsOfStall(t *testing.T) {
	path, conns := setup(t, newRecorder(), 1, nil, normal, slow, "max_pending=4KiB")
	var h happened
	defer vfs.AddEvents(h.events(), path)()
	before := stats(t, path).Stalls
	exec(t, conns[0], "INSERT INTO t VALUES(randomblob(100000))")
	got := h.take()
	require.Equal(t, before+1, stats(t, path).Stalls)
	require.Equal(t, []string{"test.db stall pending began", "test.db sync wal true", "test.db stall pending ended"}, got)
}

// TestEventsOfFailure: the database fails once, and those who wait are told.
func TestEventsOfFailure(t *testing.T) {
	f := &failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec := newRecorder()
	rec.before = f.hook
	path, conns := setup(t, rec, 1, []vfs.Option{vfs.Logger(slog.New(slog.DiscardHandler))}, full)
	var h happened
	defer vfs.AddEvents(h.events(), path)()
	f.on.Store(true)
	require.ErrorIs(t, conns[0].Exec("INSERT INTO t VALUES(1)"), sqlite3.IOERR_FSYNC)
	f.on.Store(false)
	require.Equal(t, []string{"test.db sync wal false", "test.db failed", "test.db commit false"}, h.take())
	require.ErrorIs(t, h.failed, syscall.EIO)
	require.Error(t, conns[0].Exec("INSERT INTO t VALUES(1)"))
	require.Zero(t, h.count("test.db failed"))
}

// TestEventsOfCancelled: a commit that was cancelled while it waited is told as such.
func TestEventsOfCancelled(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 1, nil, full)
	var errs []error
	defer vfs.AddEvents(vfs.Events{CommitWaited: func(i vfs.CommitWaitedInfo) { errs = append(errs, i.Err) }}, path)()
	ctx, cancel := context.WithCancel(context.Background())
	conns[0].SetInterrupt(ctx)
	h.hold.Store(true)
	done := commits(t, conns)
	<-h.started
	cancel()
	require.ErrorIs(t, <-done, vfs.ErrDurabilityUnknown)
	h.hold.Store(false)
	h.release <- nil
	require.Equal(t, []error{vfs.ErrDurabilityUnknown}, errs)
}

// TestEventsMayAsk: what the documentation allows a function may be called in each of them.
func TestEventsMayAsk(t *testing.T) {
	f := &failing{kind: "sync", file: "wal", err: syscall.EIO}
	rec := newRecorder()
	rec.before = f.hook
	name := register(t, rec, vfs.Logger(slog.New(slog.DiscardHandler)))
	path := filepath.Join(t.TempDir(), "test.db")
	h := happened{each: func() {
		vfs.Stats(path)
		vfs.AllStats()
		vfs.Failure(path)
		vfs.SetLogger(nil, path)
		vfs.AddEvents(vfs.Events{}, path)()
	}}
	defer vfs.AddEvents(h.events(), path)()
	c, err := sqlite3.Open(dsn(path, name, wal, full, "_pragma=wal_autocheckpoint(10)"))
	require.NoError(t, err)
	exec(t, c, "CREATE TABLE t(x)")
	for range 20 {
		exec(t, c, "INSERT INTO t VALUES(randomblob(30000))")
	}
	exec(t, c, "PRAGMA synchronous=normal; PRAGMA wal_checkpoint(truncate)")
	exec(t, c, "INSERT INTO t VALUES(1)")
	require.NoError(t, c.Close())
	for _, event := range []string{"opened", "sync wal true", "sync db true", "commit true", "checkpoint true began", "checkpoint false began", "restarted true", "closed"} {
		require.Positive(t, h.count("test.db "+event), event)
	}
	// In the close of a database that fails, too.
	c, err = sqlite3.Open(dsn(path, name, wal, normal, slow))
	require.NoError(t, err)
	exec(t, c, "INSERT INTO t VALUES(1)")
	exec(t, c, "PRAGMA async_wait")
	exec(t, c, "INSERT INTO t VALUES(1)")
	h.take()
	f.on.Store(true)
	c.Close()
	require.Positive(t, h.count("test.db failed"))
	require.Positive(t, h.count("test.db closed"))
}

// TestEventsPanic: a panic harms neither the commit nor other functions, and is logged, once in a while.
func TestEventsPanic(t *testing.T) {
	var log logs
	path, conns := setup(t, newRecorder(), 1, nil, full)
	vfs.SetLogger(log.logger(), path)
	defer vfs.SetLogger(nil, path)
	var h happened
	bad := vfs.Events{
		SyncEnded:    func(vfs.SyncEvent) { panic("observer is broken") },
		CommitWaited: func(vfs.CommitWaitedInfo) { panic(errors.New("observer is broken")) },
	}
	defer vfs.AddEvents(bad, path)()
	defer vfs.AddEvents(h.events(), path)()
	for range 10 {
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
	}
	require.Equal(t, 10, h.count("test.db commit true"))
	require.Equal(t, "10", query(t, conns[0], "SELECT count(*) FROM t"))
	require.NotZero(t, log.count("observer is broken"))
	require.Less(t, log.count("observer is broken"), 20)
	require.NotZero(t, log.count("events_test.go")) // the stack
}

// TestEventsRemoved: those that are taken back are called no more, and the others are, whatever the order.
func TestEventsRemoved(t *testing.T) {
	path, conns := setup(t, newRecorder(), 1, nil, full)
	var calls [3]int
	var removes []func()
	for i := range calls {
		removes = append(removes, vfs.AddEvents(vfs.Events{CommitWaited: func(vfs.CommitWaitedInfo) { calls[i]++ }}, path))
	}
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	removes[1]()
	removes[1]()
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	removes[0]()
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	removes[2]()
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	require.Equal(t, [...]int{2, 1, 3}, calls)
}

// TestEventsByName: a database is known by each of its names, before it is made, and after it was made anew.
func TestEventsByName(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	require.NoError(t, os.Mkdir(real, 0o777))
	handlesSymlink(t, real, link)
	t.Chdir(dir)
	for _, name := range []string{
		filepath.Join(real, "test.db"), filepath.Join(link, "test.db"), filepath.Join("real", "test.db"), filepath.Join("real", "..", "link", "test.db"),
	} {
		var h, before happened
		removeBefore := vfs.AddEvents(before.events(), name)
		for range 2 {
			c, err := sqlite3.Open(dsn(filepath.Join(real, "test.db"), "async", wal, full))
			require.NoError(t, err)
			remove := vfs.AddEvents(h.events(), name)
			exec(t, c, "CREATE TABLE t(x)")
			require.NoError(t, c.Close())
			require.NoError(t, os.Remove(filepath.Join(real, "test.db")))
			remove()
		}
		removeBefore()
		require.Zero(t, h.count("test.db opened"), name)
		require.Equal(t, 2, h.count("test.db closed"), name)
		require.Equal(t, 2, before.count("test.db opened"), name)
		require.Equal(t, 2, before.count("test.db closed"), name)
	}
	// A hard link is another name of the same file.
	var h happened
	path := filepath.Join(dir, "a.db")
	c := open(t, path, "async", "_pragma=journal_mode(delete)")
	exec(t, c, "CREATE TABLE t(x)")
	require.NoError(t, os.Link(path, filepath.Join(dir, "b.db")))
	defer vfs.AddEvents(h.events(), filepath.Join(dir, "b.db"))()
	require.NoError(t, c.Close())
	require.Equal(t, 1, h.count("a.db closed"))
}

// TestSetLogger: a database's own logger, then the VFS's, then the one for all.
func TestSetLogger(t *testing.T) {
	f := &failing{kind: "sync", file: "wal", err: syscall.EMFILE} // which is logged, once a second
	fails := func(t *testing.T, opts ...vfs.Option) (path string, fail func()) {
		rec := newRecorder()
		rec.before = f.hook
		path, conns := setup(t, rec, 1, opts, full)
		f.on.Store(true)
		t.Cleanup(func() { f.on.Store(false) })
		return path, func() { require.Error(t, conns[0].Exec("INSERT INTO t VALUES(1)")) }
	}
	t.Run("all", func(t *testing.T) {
		var all logs
		vfs.SetLogger(all.logger())
		t.Cleanup(func() { vfs.SetLogger(nil) })
		_, fail := fails(t)
		fail()
		require.Equal(t, 1, all.count("could not be tried"))
	})
	t.Run("vfs", func(t *testing.T) {
		var all, own logs
		vfs.SetLogger(all.logger())
		t.Cleanup(func() { vfs.SetLogger(nil) })
		_, fail := fails(t, vfs.Logger(own.logger()))
		fail()
		require.Zero(t, all.count("could not be tried"))
		require.Equal(t, 1, own.count("could not be tried"))
	})
	t.Run("database", func(t *testing.T) {
		var own, first, last, other logs
		path, fail := fails(t, vfs.Logger(own.logger()))
		vfs.SetLogger(first.logger(), path, path+".other")
		vfs.SetLogger(last.logger(), path)
		vfs.SetLogger(other.logger(), path+".other")
		t.Cleanup(func() { vfs.SetLogger(nil, path, path+".other") })
		fail()
		require.Zero(t, own.count("could not be tried")+first.count("could not be tried")+other.count("could not be tried"))
		require.Equal(t, 1, last.count("could not be tried"))
	})
	t.Run("taken-back", func(t *testing.T) {
		var own, gone logs
		path, fail := fails(t, vfs.Logger(own.logger()))
		vfs.SetLogger(gone.logger(), path)
		vfs.SetLogger(nil, path)
		fail()
		require.Zero(t, gone.count("could not be tried"))
		require.Equal(t, 1, own.count("could not be tried"))
	})
}

// TestEventsAllocate: nothing is allocated for events, whether or not there are any.
func TestEventsAllocate(t *testing.T) {
	for _, level := range []string{full, normal, off} {
		path := filepath.Join(t.TempDir(), "test.db")
		c := open(t, path, "async", wal, level, "_pragma=wal_autocheckpoint(100)")
		exec(t, c, "CREATE TABLE t(x)")
		s, _, err := c.Prepare("INSERT INTO t VALUES(1)")
		require.NoError(t, err)
		defer s.Close()
		commit := func() {
			if err := s.Exec(); err != nil {
				t.Error(err)
			}
		}
		for range 200 {
			commit()
		}
		without := testing.AllocsPerRun(300, commit)
		var waited time.Duration
		var n int
		remove := vfs.AddEvents(vfs.Events{
			SyncEnded:       func(i vfs.SyncEvent) {},
			CommitWaited:    func(i vfs.CommitWaitedInfo) { waited += i.Duration; n++ },
			StallBegan:      func(i vfs.StallBeganInfo) {},
			StallEnded:      func(i vfs.StallEndedInfo) {},
			CheckpointBegan: func(i vfs.CheckpointBeganInfo) {},
			CheckpointEnded: func(i vfs.CheckpointEndedInfo) {},
			WALRestarted:    func(i vfs.WALRestartedInfo) {},
		}, path)
		with := testing.AllocsPerRun(300, commit)
		remove()
		require.LessOrEqual(t, with, without, level)
		require.Equal(t, level == full, n > 0)
	}
}
