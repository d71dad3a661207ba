// Package walreset has a process with an SQLite that has the WAL-reset bug (3.7.0 to 3.51.2) use a database of this VFS.
//
// https://sqlite.org/wal.html#walresetbug
package walreset
