package vfs_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

func TestURIParameters(t *testing.T) {
	for _, tt := range []struct {
		param   string
		allowed string // in the error; empty if the value is allowed
	}{
		{"max_delay=1ms", ""},
		{"max_delay=1m", ""},
		{"max_delay=0", "a Go duration from 1ms to 1m0s"},
		{"max_delay=-5ms", "a Go duration from 1ms to 1m0s"},
		{"max_delay=999us", "a Go duration from 1ms to 1m0s"},
		{"max_delay=61s", "a Go duration from 1ms to 1m0s"},
		{"max_delay=50", "a Go duration from 1ms to 1m0s"},
		{"max_delay=", "a Go duration from 1ms to 1m0s"},
		{"max_pending=4096", ""},
		{"max_pending=4KiB", ""},
		{"max_pending=1024MiB", ""},
		{"max_pending=4095", "bytes, or a number with KiB or MiB, from 4KiB to 1024MiB"},
		{"max_pending=1025MiB", "bytes, or a number with KiB or MiB, from 4KiB to 1024MiB"},
		{"max_pending=4294967297KiB", "bytes, or a number with KiB or MiB, from 4KiB to 1024MiB"},
		{"max_pending=-1", "bytes, or a number with KiB or MiB, from 4KiB to 1024MiB"},
		{"max_pending=4MB", "bytes, or a number with KiB or MiB, from 4KiB to 1024MiB"},
		{"max_pending=lots", "bytes, or a number with KiB or MiB, from 4KiB to 1024MiB"},
		{"checkpoint=inline", ""},
		{"checkpoint=background", ""},
		{"checkpoint=off", ""},
		{"checkpoint=never", "background, inline or off"},
	} {
		t.Run(tt.param, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			c, err := sqlite3.Open(dsn(path, "async", wal, tt.param))
			if tt.allowed == "" {
				require.NoError(t, err)
				require.NoError(t, c.Close())
				return
			}
			var bad *vfs.ParameterError
			require.ErrorAs(t, err, &bad)
			require.ErrorIs(t, err, sqlite3.CANTOPEN)
			require.Equal(t, tt.allowed, bad.Allowed)
			require.Equal(t, tt.param, bad.Name+"="+bad.Value)
			require.ErrorContains(t, err, bad.Error())
			_, err = os.Stat(path)
			require.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}

// TestKnobsAreTheConnections: each connection's commits are held to its own.
func TestKnobsAreTheConnections(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 1, []vfs.Option{vfs.MaxDelay(time.Minute), vfs.MaxPending(1 << 30)}, normal)
	strict := open(t, path, register(t, h.recorder), normal, noAuto, "max_pending=4KiB")
	h.hold.Store(true)
	done := commits(t, []*sqlite3.Conn{strict})
	<-h.started
	// The lax one doesn't wait.
	for range 5 {
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
	}
	require.Empty(t, done)
	h.hold.Store(false)
	h.release <- nil
	require.NoError(t, <-done)
}

func TestRegister(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []vfs.Option
		want string
	}{
		{"", nil, `name="" is not allowed`},
		{"os", nil, `name="os" is not allowed`},
		{"x", []vfs.Option{vfs.MaxDelay(0)}, `MaxDelay="0s" is not allowed: want a Go duration from 1ms to 1m0s`},
		{"x", []vfs.Option{vfs.MaxDelay(time.Hour)}, `MaxDelay="1h0m0s"`},
		{"x", []vfs.Option{vfs.MaxPending(0)}, `MaxPending="0" is not allowed`},
		{"x", []vfs.Option{vfs.MaxPending(-1)}, `MaxPending="-1" is not allowed`},
	} {
		err := vfs.Register(tt.name, nil, tt.opts...)
		require.ErrorContains(t, err, tt.want)
		var bad *vfs.ParameterError
		require.ErrorAs(t, err, &bad)
	}
	require.Nil(t, sqlitevfs.Find("x"))
	require.NotNil(t, sqlitevfs.Find("async"))
}

func TestPragmas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, "async", wal, normal)
	exec(t, c, "CREATE TABLE t(x)")
	require.Equal(t, "ok", query(t, c, "PRAGMA async_wait"))

	// The names are fixed: others read them.
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(query(t, c, "PRAGMA async_stats")), &object))
	for _, name := range []string{"commits", "sync_requests", "syncs", "merged", "pending_bytes", "pending_commits",
		"oldest_pending_us", "max_window_us", "stalls", "checkpoints", "wal_bytes", "mode", "failed"} {
		require.Contains(t, object, name)
	}
	require.Equal(t, "async", object["mode"])
	require.Equal(t, "", object["failed"])
	require.Equal(t, 1.0, object["commits"])
	require.NotZero(t, object["wal_bytes"])
	var s vfs.Statistics
	require.NoError(t, json.Unmarshal([]byte(query(t, c, "PRAGMA main.async_stats")), &s))
	require.Equal(t, path, s.Database)
	require.Equal(t, stats(t, path), s)
	require.Equal(t, []vfs.Statistics{s}, only(vfs.AllStats(), path))

	require.ErrorContains(t, c.Exec("PRAGMA async_mode=fast"), `async_mode="fast" is not allowed: want async or sync`)
	require.ErrorContains(t, c.Exec("PRAGMA async_wait=1"), `async_wait="1" is not allowed: want no value`)
	require.ErrorContains(t, c.Exec("PRAGMA async_stats=1"), `async_stats="1" is not allowed: want no value`)
	exec(t, c, "PRAGMA no_such_pragma=1")

	// They do no harm where nothing is asynchronous.
	rollback := open(t, filepath.Join(t.TempDir(), "rollback.db"), "async")
	exec(t, rollback, "CREATE TABLE t(x)")
	require.Equal(t, "ok", query(t, rollback, "PRAGMA async_wait"))
	require.Contains(t, query(t, rollback, "PRAGMA async_stats"), `"commits":0`)
	require.Equal(t, "sync", query(t, rollback, "PRAGMA async_mode=sync"))
}

func only(all []vfs.Statistics, path string) (some []vfs.Statistics) {
	for _, s := range all {
		if s.Database == path {
			some = append(some, s)
		}
	}
	return some
}

func TestFlush(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 1, nil, normal, slow)
	for range 3 {
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
	}
	require.NotZero(t, stats(t, path).PendingCommits)
	require.NoError(t, vfs.Flush(t.Context()))
	require.Zero(t, stats(t, path).PendingBytes)
	// Nothing to do.
	rec.take()
	require.NoError(t, vfs.Flush(t.Context()))
	require.Zero(t, count(rec.take(), "sync", "wal"))
	// WaitDurable covers other processes too, so there is always something to do.
	require.NoError(t, vfs.WaitDurable(t.Context(), path))
	require.Equal(t, 1, count(rec.take(), "sync", "wal"))
}

func TestNotOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	for range 2 {
		require.ErrorIs(t, vfs.WaitDurable(t.Context(), path), vfs.ErrNotOpen)
		require.ErrorIs(t, vfs.Failure(path), vfs.ErrNotOpen)
		_, err := vfs.Stats(path)
		require.ErrorIs(t, err, vfs.ErrNotOpen)
		require.Empty(t, only(vfs.AllStats(), path))
		// Once the file exists too.
		c := open(t, path, "os", wal)
		exec(t, c, "CREATE TABLE IF NOT EXISTS t(x)")
	}
}

func TestModeText(t *testing.T) {
	for _, m := range []vfs.Mode{vfs.Async, vfs.Sync} {
		text, err := m.MarshalText()
		require.NoError(t, err)
		var back vfs.Mode
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, m, back)
	}
	_, err := vfs.ParseMode("SYNC")
	require.ErrorContains(t, err, "async or sync")
}
