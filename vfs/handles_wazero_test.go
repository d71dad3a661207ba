//go:build wazero

package vfs_test

// handlesKept says why a connection that is dropped is never collected.
const handlesKept = "wazero's runtime keeps the module, and with it the connection, until it is closed"

// Few processes are started, since each compiles SQLite first: 5 s with the race detector.
const (
	startsFast   = false
	defaultKills = 2
)
