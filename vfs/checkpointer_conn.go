package vfs

import (
	"context"
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// checkpoint returns how many frames are in the WAL, or -1 if it can't tell, and how many of them are left to be brought over.
func (c *checkpointer) checkpoint(mode sqlite3.CheckpointMode) (frames, left int, err error) {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return -1, 0, err
		}
	}
	frames, done, err := c.conn.WALCheckpoint("main", mode)
	if err != nil && !errors.Is(err, sqlite3.BUSY) {
		c.disconnect()
	}
	return frames, frames - done, err
}

var errOtherFile = errors.New("the name of the database is that of another file by now")

// connect opens the connection.
func (c *checkpointer) connect() (err error) {
	conn, err := sqlite3.Open(c.db.uri)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	file, ok := fileOf(conn, "main")
	if !ok || file.db != c.db {
		return errOtherFile
	}
	file.lease.own = true
	if err := conn.BusyHandler(c.patient); err != nil {
		return err
	}
	// SQLite opens the WAL when it reads.
	if err := conn.Exec("PRAGMA synchronous=normal; SELECT 1 FROM sqlite_schema LIMIT 1"); err != nil {
		return err
	}
	if file.wal == nil {
		return errNoWAL
	}
	c.conn, c.file = conn, file
	return nil
}

var errNoWAL = errors.New("the database isn't in WAL mode any more")

func (c *checkpointer) disconnect() {
	if c.conn != nil {
		c.conn.Close()
		c.conn, c.file = nil, nil
	}
}

// patient is the connection's busy handler: it waits for the write lock, or for readers.
func (c *checkpointer) patient(_ context.Context, count int) bool {
	if count == 0 {
		c.busySince = time.Now()
	}
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	if stop || time.Since(c.busySince) > readerPatience {
		return false
	}
	time.Sleep(50 * time.Microsecond)
	return true
}
