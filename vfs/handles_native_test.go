//go:build !wazero

package vfs_test

// handlesKept says why a connection that is dropped is never collected.
const handlesKept = ""

const (
	startsFast   = true
	defaultKills = 10
)
