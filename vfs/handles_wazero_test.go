//go:build wazero

package vfs_test

// handlesKept says why a connection that is dropped is never collected.
const handlesKept = "wazero's runtime keeps the module, and with it the connection, until it is closed"

// defaultKills is low, since each process compiles SQLite first.
const defaultKills = 2
