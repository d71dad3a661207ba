package vfs

import (
	"context"
	"strconv"
	"time"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
)

// A connection that finds the write lock taken asks its busy handler whether to try again.
// With PRAGMA busy_timeout that is go-sqlite3's, which sleeps for up to 2ms, without a turn: while all sleep, the lock is free.
// Before the application has a connection, and at its first commit, this VFS puts one of its own in that one's place (see [connected]),
// with the same timeout, which waits in the [writerQueue]. An application that has set a busy handler, or none, keeps it.
//
// https://sqlite.org/c3ref/busy_handler.html

// busyTimeout is a connection's setting. It belongs to the handle of its main database.
type busyTimeout struct {
	taken bool // our handler is, or was, in place
	ms    int  // PRAGMA busy_timeout
	since time.Time

	invoke  func() bool // calls the handler in place, whichever that is
	probing bool        // it is called to find out
	found   bool        // it is ours
}

// takeBusy puts our busy handler in the place of go-sqlite3's, if that is the one in place.
func (f *dbFile) takeBusy() {
	if f.busyInPlace() {
		return
	}
	if ms, ok := f.askSQLite("PRAGMA busy_timeout"); ok && ms > 0 {
		f.setBusy(ms)
	}
}

// busyInPlace reports whether our busy handler is the one that SQLite calls.
// If it is neither that nor go-sqlite3's, it isn't called.
func (f *dbFile) busyInPlace() bool {
	if !f.busy.taken || f.busy.invoke == nil || !isFunc(f.conn, "busy", f.waitBusy) {
		return false
	}
	f.busy.probing, f.busy.found = true, false
	f.busy.invoke()
	f.busy.probing = false
	return f.busy.found
}

// BusyHandler is told how to call the busy handler.
func (f *dbFile) BusyHandler(handler func() bool) {
	f.busy.invoke = handler
	vfsutil.WrapBusyHandler(f.File, handler)
}

// setBusy sets a timeout in milliseconds. 0 is no wait.
func (f *dbFile) setBusy(ms int) {
	f.busy.ms = ms
	if ms == 0 {
		f.conn.BusyTimeout(0)
	} else if f.conn.BusyHandler(f.waitBusy) == nil {
		f.busy.taken = true
	}
}

// waitBusy is the busy handler. Which lock is taken, and in which of the connection's databases, can't be told.
func (f *dbFile) waitBusy(ctx context.Context, count int) bool {
	if f.busy.probing {
		f.busy.found = true
		return true
	}
	if count == 0 {
		f.busy.since = time.Now()
	}
	left := time.Duration(f.busy.ms)*time.Millisecond - time.Since(f.busy.since)
	if left <= 0 {
		return false
	}
	f.db.writers.wait(ctx, f.turn, min(left, writerPatience))
	return ctx.Err() == nil
}

// busyPragma is PRAGMA busy_timeout.
func (f *dbFile) busyPragma(value string) (string, bool) {
	main := f.mainDB()
	if main == nil || !main.connected || main.asking {
		return "", false
	}
	if value != "" {
		main.setBusy(leadingInt(value))
	} else if !main.busyInPlace() {
		return "", false
	}
	return strconv.Itoa(main.busy.ms), true
}
