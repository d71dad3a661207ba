package tasks

import (
	"fmt"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Canonical is for the fuzz test.
var Canonical = canonical

// SchemaVersion is the newest.
var SchemaVersion = len(migrations)

// OnConnect sets what is called with each connection that a store opens.
func OnConnect(f func(*sqlite3.Conn)) Option {
	return func(c *config) { c.onConnect = f }
}

// Elapsed sets the clock that nobody sets.
func Elapsed(f func() time.Duration) Option { return func(c *config) { c.elapsed = f } }

// BootClock sets the one that the processes of a host share.
func BootClock(f func() (string, time.Duration, bool)) Option { return func(c *config) { c.boot = f } }

// SchemaOf makes what that version had.
func SchemaOf(version int) string {
	return schemaTable + ";" + strings.Join(migrations[:version], ";\n") + fmt.Sprintf("; INSERT INTO tasks_schema VALUES(%d);", version)
}

// ErrTwice has a transaction be made once more.
var ErrTwice = errTwice

// Commits has f called before each commit, whose error it gives.
func Commits(f func() error) Option { return func(c *config) { c.commits = f } }
