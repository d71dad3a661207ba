package vfs

import "github.com/ncruces/go-sqlite3"

// WALCheckpoint does what [sqlite3.Conn.WALCheckpoint] does, and keeps the library's own checkpoints away meanwhile:
// it isn't BUSY because of those. It returns how many frames the WAL has, and how many of them are in the database file;
// both are 0 after CHECKPOINT_TRUNCATE, and -1 where the database isn't in WAL mode.
//
// With an empty schema it checkpoints all databases of the connection. It waits for a checkpoint in the background
// that has begun, which ends early then. A sync of it that goes on takes as long as the disk takes.
// Databases on other VFSes are checkpointed too.
//
// The errors are SQLite's: BUSY where another connection reads or writes and the busy timeout has passed,
// or where another process checkpoints; LOCKED within a transaction of the connection's own.
func WALCheckpoint(c *sqlite3.Conn, schema string, mode sqlite3.CheckpointMode) (frames, done int, err error) {
	schemas := []string{schema}
	if schema == "" {
		schemas = nil
		for i := 0; ; i++ {
			name := c.DBName(i)
			if name == "" {
				break
			}
			schemas = append(schemas, name)
		}
	}
	for _, name := range schemas {
		if f, ok := fileOf(c, name); ok {
			defer f.db.checkpointer.pause()()
		}
	}
	return c.WALCheckpoint(schema, mode)
}
