package vfs_test

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func token(t testing.TB, c *sqlite3.Conn) vfs.CommitToken {
	t.Helper()
	token, err := vfs.Token(c, "main")
	require.NoError(t, err)
	return token
}

// TestToken: a token's wait syncs if, and only if, what it stands for may not be durable.
func TestToken(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 2, nil, off)
	a, b := conns[0], conns[1]
	token(t, a) // from here on the connection knows its own commits
	syncs := func(token vfs.CommitToken) int {
		t.Helper()
		rec.take()
		require.NoError(t, vfs.WaitToken(t.Context(), token))
		ops := rec.take()
		return count(ops, "sync", "wal") + count(ops, "sync", "db")
	}
	insert := func(c *sqlite3.Conn) vfs.CommitToken {
		exec(t, c, "INSERT INTO t VALUES(1)")
		return token(t, c)
	}

	first := insert(a)
	second, third := insert(a), insert(a)
	require.NotEqual(t, second, third)
	require.Equal(t, third, token(t, a))
	require.Equal(t, 1, syncs(third))
	for _, token := range []vfs.CommitToken{first, second, third} {
		require.Zero(t, syncs(token))
	}

	// Of what another connection has committed, as soon as it is read.
	fourth := insert(a)
	query(t, b, "SELECT count(*) FROM t")
	read := token(t, b)
	query(t, b, "SELECT count(*) FROM t")
	require.Equal(t, read, token(t, b))
	require.Equal(t, 1, syncs(read))
	require.Zero(t, syncs(fourth))
	require.Zero(t, syncs(read))

	// And of another process.
	foreign := open(t, path, "os", off, noAuto)
	exec(t, foreign, "INSERT INTO t VALUES(2)")
	require.Equal(t, read, token(t, b), "not yet read")
	query(t, b, "SELECT count(*) FROM t")
	require.NotEqual(t, read, token(t, b))
	require.Equal(t, 1, syncs(token(t, b)))

	// What was committed between its own commit and its last read.
	require.Equal(t, 1, syncs(insert(a)))
	insert(b)
	require.Zero(t, syncs(token(t, a)))
	query(t, a, "SELECT count(*) FROM t")
	require.Equal(t, 1, syncs(token(t, a)))

	// At FULL it is durable already.
	exec(t, a, "PRAGMA synchronous=full")
	require.Zero(t, syncs(insert(a)))

	// Many tokens, one sync.
	exec(t, a, "PRAGMA synchronous=off")
	var tokens []vfs.CommitToken
	for range 10 {
		tokens = append(tokens, insert(a))
	}
	n := 0
	for i := range tokens {
		n += syncs(tokens[len(tokens)-1-i])
	}
	require.Equal(t, 1, n)

	// Another process brings it over without a sync, and starts the WAL over.
	fifth := insert(a)
	_, _, err := foreign.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
	require.NoError(t, err)
	exec(t, foreign, "INSERT INTO t VALUES(2)")
	exec(t, b, "PRAGMA synchronous=full; INSERT INTO t VALUES(1); PRAGMA synchronous=off") // syncs the WAL
	rec.take()
	require.NoError(t, vfs.WaitToken(t.Context(), fifth))
	require.NotZero(t, count(rec.take(), "sync", "db"))
	query(t, b, "SELECT count(*) FROM t")
	require.Zero(t, syncs(token(t, b)), "its own commit, and what was there before is durable by now")

	// The same, read by a connection after that; its WAL is durable before the wait.
	_, _, err = foreign.WALCheckpoint("main", sqlite3.CHECKPOINT_RESTART)
	require.NoError(t, err)
	exec(t, foreign, "INSERT INTO t VALUES(2)")
	query(t, b, "SELECT count(*) FROM t")
	read = token(t, b)
	exec(t, a, "PRAGMA synchronous=full; INSERT INTO t VALUES(1); PRAGMA synchronous=off")
	rec.take()
	require.NoError(t, vfs.WaitToken(t.Context(), read))
	require.Equal(t, 1, count(rec.take(), "sync", "db"))

	// It outlives its connection.
	sixth := insert(a)
	require.NoError(t, a.Close())
	require.Equal(t, 1, syncs(sixth))
	require.Zero(t, syncs(sixth))
}

// TestTokenReader: a commit that is published is covered, although its connection hasn't come to count it yet.
func TestTokenReader(t *testing.T) {
	rec := newRecorder()
	_, conns := setup(t, rec, 2, nil, off)
	reader := conns[1]
	token(t, reader)
	exec(t, conns[0], "INSERT INTO t VALUES(1)")
	query(t, reader, "SELECT count(*) FROM t")
	require.NoError(t, vfs.WaitToken(t.Context(), token(t, reader)))
	rec.take()
	// The writer's own, with nothing since.
	require.NoError(t, vfs.WaitToken(t.Context(), token(t, conns[0])))
	require.Equal(t, 1, count(rec.take(), "sync", "wal"), "the first token of a connection stands for all up to now")
}

// TestTokenRollback: tokens are true in the rollback-journal modes.
func TestTokenRollback(t *testing.T) {
	rec := rollbackBase{newRecorder()}
	path := filepath.Join(t.TempDir(), "test.db")
	c := open(t, path, register(t, rec), off)
	exec(t, c, "CREATE TABLE t(x)")
	first := token(t, c)
	exec(t, c, "INSERT INTO t VALUES(1)")
	second := token(t, c)
	require.NotEmpty(t, durableState(rec.take()))
	require.NoError(t, vfs.WaitToken(t.Context(), second))
	require.Empty(t, durableState(rec.take()))
	require.NoError(t, vfs.WaitToken(t.Context(), first))
	require.NoError(t, vfs.WaitToken(t.Context(), second))
	require.Empty(t, rec.take())
	exec(t, c, "PRAGMA journal_mode=wal; INSERT INTO t VALUES(1)")
	require.NoError(t, vfs.WaitToken(t.Context(), token(t, c)))
}

// TestTokenEnds: what is known to be durable stays so, and what isn't is an error, once the database is closed or failed.
func TestTokenEnds(t *testing.T) {
	require.ErrorIs(t, vfs.WaitToken(t.Context(), vfs.CommitToken{}), vfs.ErrNotOpen)
	_, err := vfs.Token(open(t, filepath.Join(t.TempDir(), "test.db"), "os"), "main")
	require.ErrorIs(t, err, vfs.ErrNotOpen)

	t.Run("closed", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "test.db")
		c := open(t, path, "async", wal, normal, slow)
		exec(t, c, "CREATE TABLE t(x)")
		tok := token(t, c)
		require.NoError(t, c.Close())
		require.NoError(t, vfs.WaitToken(t.Context(), tok), "closing has made it durable")

		c = open(t, path, "async", "_pragma=journal_mode(delete)", off)
		exec(t, c, "INSERT INTO t VALUES(1)")
		tok = token(t, c)
		require.NoError(t, c.Close())
		require.ErrorIs(t, vfs.WaitToken(t.Context(), tok), vfs.ErrNotOpen)
	})
	t.Run("failed", func(t *testing.T) {
		rec := newRecorder()
		f := &failing{kind: "sync", file: "wal", err: syscall.EIO}
		rec.before = f.hook
		_, conns := setup(t, rec, 1, nil, off)
		token(t, conns[0])
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
		durable := token(t, conns[0])
		require.NoError(t, vfs.WaitToken(t.Context(), durable))
		exec(t, conns[0], "INSERT INTO t VALUES(1); INSERT INTO t VALUES(1)")
		lost := token(t, conns[0])
		f.on.Store(true)
		require.ErrorIs(t, vfs.WaitToken(t.Context(), lost), syscall.EIO)
		f.on.Store(false)
		require.ErrorIs(t, vfs.WaitToken(t.Context(), lost), syscall.EIO)
		require.NoError(t, vfs.WaitToken(t.Context(), durable))
	})
	t.Run("cancelled", func(t *testing.T) {
		h := newHeldSyncs()
		_, conns := setup(t, h.recorder, 1, nil, off)
		exec(t, conns[0], "INSERT INTO t VALUES(1)")
		tok := token(t, conns[0])
		h.hold.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- vfs.WaitToken(ctx, tok) }()
		<-h.started
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		h.hold.Store(false)
		h.release <- nil
		require.NoError(t, vfs.WaitToken(t.Context(), tok))
	})
}

// TestWaitFunction: a prepared SELECT async_wait() waits each time that it is stepped,
// where a PRAGMA has waited when it was prepared, and does so again only after that.
func TestWaitFunction(t *testing.T) {
	rec := newRecorder()
	path, conns := setup(t, rec, 1, nil, off)
	c := conns[0]
	for _, sql := range []string{"SELECT async_wait()", "PRAGMA async_wait"} {
		s, _, err := c.Prepare(sql)
		require.NoError(t, err)
		defer s.Close()
		for i := range 3 {
			exec(t, c, "INSERT INTO t VALUES(1); INSERT INTO t VALUES(1)")
			require.NotZero(t, stats(t, path).PendingBytes)
			require.True(t, s.Step())
			require.Equal(t, "ok", s.ColumnText(0))
			require.NoError(t, s.Reset())
			require.Equal(t, sql[0] == 'P' && i == 0, stats(t, path).PendingBytes > 0, sql)
		}
	}
	require.ErrorContains(t, c.Exec("CREATE VIEW v AS SELECT async_wait(); SELECT * FROM v"), "unsafe use of async_wait()")
}
