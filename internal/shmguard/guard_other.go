//go:build !(wazero && (linux || darwin) && !(sqlite3_flock || sqlite3_dotlk))

package shmguard

import sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

// Guard is a connection's, for one database.
type Guard struct{}

// Used is called before SQLite uses, or ends its use of, the WAL-index.
func (*Guard) Used(sqlitevfs.SharedMemory) {}

// Unused is called once the use has ended, which is when SQLite closes the WAL,
// and before SQLite goes on.
func (*Guard) Unused() {}
