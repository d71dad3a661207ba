//go:build wazero

package vfs

// go-sqlite3 up to v0.32 runs SQLite on wazero, from a module that this package holds.
// Newer versions don't need it, and print a notice if it is imported.
import _ "github.com/ncruces/go-sqlite3/embed"
