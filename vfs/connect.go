package vfs

import (
	"github.com/ncruces/go-sqlite3"
)

func init() { sqlite3.AutoExtension(connected) }

// connected is called for each new connection of the process, after the _pragma parameters in its name
// and before the application has it. It asks SQLite what those have set: nobody can see that yet.
// An extension of the application's may have run before.
//
// https://sqlite.org/c3ref/auto_extension.html
func connected(c *sqlite3.Conn) error {
	// Only of a VFS that is written in Go is the file's pointer one.
	vfs, err := c.FileControl("main", sqlite3.FCNTL_VFS_POINTER)
	if _, ours := vfs.(*asyncVFS); err != nil || !ours {
		return nil
	}
	// Without a file it is in memory.
	if f, ok := fileOf(c, "main"); ok {
		f.conn = c
		f.connected = true
		f.takeHook()
		f.takeBusy()
		c.CreateFunction("async_wait", 0, sqlite3.DIRECTONLY, waitFunction)
	}
	return nil
}

// waitFunction is the SQL function async_wait(): the same as the PRAGMA, but done each time that it is called.
func waitFunction(ctx sqlite3.Context, _ ...sqlite3.Value) {
	f, ok := fileOf(ctx.Conn(), "main")
	if !ok {
		ctx.ResultError(ErrNotOpen)
		return
	}
	if err := f.wait(); err != nil {
		ctx.ResultError(f.pragmaError(err))
		return
	}
	ctx.ResultText("ok")
}

// firstCommit is called at the end of a connection's first commit, before SQLite calls its hook:
// the application may have set a timeout through the Go API by now.
func (f *dbFile) firstCommit() {
	main := f.mainDB()
	if main == nil {
		f.committed = true
		return
	}
	if !main.connected {
		return // it is a _pragma that commits
	}
	f.committed = true
	if main == f || !main.committed {
		main.committed = true
		main.takeHook()
		main.takeBusy()
	}
}
