// Package shmguard keeps a fault of go-sqlite3 v0.32, the last one that runs SQLite on wazero, from ending the process.
//
// Once a connection doesn't use a WAL-index any more, that version leaves a hole in SQLite's memory
// where a part of the index was mapped, which nobody can read until the next one is mapped there.
// It looks for the end of a string 32 bytes at a time, and so beyond it:
// a string that ends right before a hole is a segmentation fault.
// With a [Guard] such holes hold zeros instead.
//
// Everywhere else a Guard does nothing.
package shmguard
