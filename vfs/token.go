package vfs

import (
	"context"
	"slices"

	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	"github.com/ncruces/go-sqlite3"
)

// CommitToken stands for a commit, and for all those before it. See [Token].
//
// It is comparable, and stays valid when the connection that it comes from is closed.
// The zero value stands for nothing.
type CommitToken struct {
	db     *database
	header [walHeaderSize]byte // of the WAL that the commit is in; zero if there is none
	seq    uint64              // that makes it durable in that WAL; 0 if that isn't known
	syncs  uint64              // of the WAL that had begun by then
	rounds uint64              // of waits for everything that had begun by then
}

// Token returns the token of the commit that the connection has just made to a schema's database, "main" as a rule,
// or, if it has read more since then, one that stands for all that it can have read. It does no sync.
// Once [WaitToken] has returned nil for it, in whichever goroutine, a power cut can't take that back.
//
// It is for who answers a client only once what it has written, or read, is durable, and needs the connection for others until then:
// commits at synchronous=NORMAL return at once, and one sync serves many tokens.
//
// The first token of a connection, and each that is for what it has read, stands for all commits up to now,
// since which of them it has read isn't known. As long as it sees nothing new, its next token is equal.
// A transaction that is still open isn't part of it.
//
// It is called by the goroutine that uses the connection.
// It returns [ErrNotOpen] if the schema's database isn't open through this package.
func Token(c *sqlite3.Conn, schema string) (CommitToken, error) {
	f, ok := fileOf(c, schema)
	if !ok {
		return CommitToken{}, ErrNotOpen
	}
	f.conn, f.tokens.schema = c, schema
	return f.token(), nil
}

// WaitToken returns once what the token stands for is durable. Where it is already, that costs no sync,
// unless the WAL was started over since then.
//
// It returns the context's error, or the [*SyncError] that failed the database before it was known to be durable,
// or [ErrNotOpen] if all connections of the process were closed by then. Other errors are those of [WaitDurable].
func WaitToken(ctx context.Context, t CommitToken) error {
	if t.db == nil {
		return ErrNotOpen
	}
	if t.durable() {
		return nil
	}
	if err := t.db.failed(); err != nil {
		return err
	}
	err := t.wait(ctx)
	if err != nil && ctx.Err() == nil && t.db.failed() == nil && !slices.Contains(databases(), t.db) {
		if t.durable() {
			return nil // closing it has seen to that
		}
		return ErrNotOpen
	}
	return err
}

func (t CommitToken) wait(ctx context.Context) error {
	if done, open := t.db.useWAL(); open && t.seq != 0 {
		defer done()
		if err := interrupted(ctx, t.db.syncWAL(ctx, newWaiter(), t.seq)); err != nil {
			return err
		}
		if err := t.db.syncRestarted(ctx, nil); err != nil {
			return err
		}
		if t.durable() {
			return nil
		}
	} else {
		done()
	}
	return t.db.waitDurable(ctx, nil)
}

// durable reports whether it is known to be.
func (t CommitToken) durable() bool {
	db := t.db
	db.coverage.mu.Lock()
	durable := db.coverage.rounds.after(t.rounds)
	before := t.header != [walHeaderSize]byte{} && t.header == db.coverage.header // what was in the WAL before
	db.coverage.mu.Unlock()
	if durable || !before {
		return durable
	}
	done, open := db.useWAL()
	defer done()
	// Were it started over, another process might have brought it over without a sync.
	if !open || db.header() != t.header {
		return false
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	return t.seq != 0 && db.queue.Durable(syncqueue.WAL) >= t.seq || db.walSyncs.after(t.syncs)
}

// tokens is what a connection's handle of a database knows to tell its own commits from others'.
type tokens struct {
	schema  string // by which the connection knows the database; empty until the first token
	commits uint64 // of the connection

	// Of its last commit, in WAL mode.
	seq     uint64
	header  [walHeaderSize]byte
	version uint32 // of the data that it had seen
	noted   bool   // header and version are known

	last  CommitToken // that was given
	state tokenState  // for which it was
}

// tokenState changes when the connection has committed, or has seen that others have.
type tokenState struct {
	version uint32
	commits uint64
	wal     bool
}

// version returns a number that changes when the connection sees what others have committed.
//
// https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntldataversion
func (f *dbFile) version() uint32 {
	version, _ := f.conn.FileControl(f.tokens.schema, sqlite3.FCNTL_DATA_VERSION)
	v, _ := version.(uint32)
	return v
}

// noteCommit is called at the end of a commit in WAL mode, which the connection still reads: the WAL isn't started over.
func (f *dbFile) noteCommit() {
	if f.tokens.schema != "" {
		f.tokens.header, f.tokens.version, f.tokens.noted = f.db.header(), f.version(), true
	}
}

func (f *dbFile) token() CommitToken {
	own := &f.tokens
	state := tokenState{f.version(), own.commits, f.wal != nil}
	if own.last.db != nil && state == own.state {
		return own.last
	}
	f.db.coverage.mu.Lock()
	f.db.coverage.tokens = true
	t := CommitToken{db: f.db, rounds: f.db.coverage.rounds.begun}
	f.db.coverage.mu.Unlock()
	if f.wal != nil {
		f.db.mu.Lock()
		t.syncs = f.db.walSyncs.begun
		f.db.mu.Unlock()
		if own.noted && own.version == state.version {
			t.seq, t.header = own.seq, own.header
		} else {
			t.header = f.db.header()
		}
	}
	own.last, own.state = t, state
	return t
}
