package vfs_test

import (
	"context"
	"database/sql"
	"runtime"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

// TestCancelledCommitHooks pins what SQLite does when a commit is cancelled while it waits: it takes it for rolled back,
// and calls the hooks of that, although the commit is made. See [vfs.ErrDurabilityUnknown].
func TestCancelledCommitHooks(t *testing.T) {
	h := newHeldSyncs()
	_, conns := setup(t, h.recorder, 2, nil, full)
	c := conns[0]
	commits, rollbacks := 0, 0
	c.CommitHook(func() bool { commits++; return true })
	c.RollbackHook(func() { rollbacks++ })
	ctx, cancel := context.WithCancel(t.Context())
	c.SetInterrupt(ctx)
	h.hold.Store(true)
	done := make(chan error)
	go func() { done <- c.Exec("INSERT INTO t VALUES(1)") }()
	<-h.started
	cancel()
	require.ErrorIs(t, <-done, vfs.ErrDurabilityUnknown)
	require.Equal(t, 1, commits)
	require.Equal(t, 1, rollbacks)
	require.Zero(t, c.Changes())
	require.True(t, c.GetAutocommit())
	require.Equal(t, "1", query(t, conns[1], "SELECT count(*) FROM t"), "it is made")
	h.hold.Store(false)
	h.release <- nil
}

// TestCancelledThroughSQL pins which commits a context ends through database/sql: package driver gives Tx.Commit none,
// and closes the rows of INSERT … RETURNING, where the commit comes, without one. They wait for the sync, and are durable when they return.
func TestCancelledThroughSQL(t *testing.T) {
	for _, tt := range []struct {
		name string
		want error
		do   func(ctx context.Context, db *sql.DB, c *sql.Conn) error
	}{
		{"exec", vfs.ErrDurabilityUnknown, func(ctx context.Context, db *sql.DB, c *sql.Conn) error {
			_, err := db.ExecContext(ctx, "INSERT INTO t VALUES(1)")
			return err
		}},
		{"commit-as-statement", vfs.ErrDurabilityUnknown, func(ctx context.Context, db *sql.DB, c *sql.Conn) error {
			if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1)"); err != nil {
				return err
			}
			_, err := c.ExecContext(ctx, "COMMIT")
			return err
		}},
		{"tx", nil, func(ctx context.Context, db *sql.DB, c *sql.Conn) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO t VALUES(1)"); err != nil {
				return err
			}
			return tx.Commit()
		}},
		{"returning", nil, func(ctx context.Context, db *sql.DB, c *sql.Conn) error {
			var x int
			return db.QueryRowContext(ctx, "INSERT INTO t VALUES(1) RETURNING x").Scan(&x)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHeldSyncs()
			path, conns := setup(t, h.recorder, 1, nil, full)
			db, err := driver.Open(dsn(path, register(t, h.recorder), full, noAuto))
			require.NoError(t, err)
			defer db.Close()
			c, err := db.Conn(t.Context())
			require.NoError(t, err)
			defer c.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h.hold.Store(true)
			done := make(chan error, 1)
			go func() { done <- tt.do(ctx, db, c) }()
			<-h.started
			cancel()
			if tt.want != nil {
				require.ErrorIs(t, <-done, tt.want)
			} else {
				require.Empty(t, done)
			}
			h.hold.Store(false)
			h.release <- nil
			if tt.want == nil {
				require.NoError(t, <-done)
				require.Zero(t, stats(t, path).PendingBytes)
			}
			require.Equal(t, "1", query(t, conns[0], "SELECT count(*) FROM t"))
		})
	}
}

// TestCancelledLeader: whoever is cancelled as it is about to lead a sync leaves that to another.
func TestCancelledLeader(t *testing.T) {
	h := newHeldSyncs()
	path, conns := setup(t, h.recorder, 3, nil, full)
	var led int
	for i := range 300 {
		h.hold.Store(true)
		before := stats(t, path).Commits
		first := commits(t, conns[:1])
		<-h.started
		ctx, cancel := context.WithCancel(t.Context())
		conns[1].SetInterrupt(ctx)
		second := commits(t, conns[1:2])
		eventually(t, func() bool { return stats(t, path).Commits == before+2 })
		third := commits(t, conns[2:])
		eventually(t, func() bool { return stats(t, path).Commits == before+3 })
		h.release <- nil
		// Now the second is to lead.
		require.NoError(t, <-first)
		for range i % 4 {
			runtime.Gosched()
		}
		cancel()
		<-h.started
		h.release <- nil
		require.NoError(t, <-third)
		if <-second == nil {
			led++
		}
		h.hold.Store(false)
		conns[1].SetInterrupt(context.Background())
		exec(t, conns[0], "PRAGMA async_wait")
	}
	t.Logf("led %d of 300", led)
}
