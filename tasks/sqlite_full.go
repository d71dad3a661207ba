package tasks

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// fullDisk reports whether an error is that of a full disk. SQLite has another code for it where the WAL's index,
// the -shm file, can't be made larger: for that there is no other cause.
func fullDisk(err error) bool {
	return errors.Is(err, sqlite3.FULL) || errors.Is(err, sqlite3.IOERR_SHMSIZE)
}

// asFull makes the error of a full disk one by SQLite's code and by the system's, which SQLite drops.
func asFull(err error) error {
	if !fullDisk(err) {
		return err
	}
	if !errors.Is(err, sqlite3.FULL) {
		err = fmt.Errorf("%w: %w", sqlite3.FULL, err)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w: %w", err, syscall.ENOSPC)
	}
	return err
}

const (
	// roomPause is how long a full disk stays full without another try.
	roomPause = time.Second
	// roomPatience is how long readers may keep the WAL from being restarted, for which all who write wait.
	roomPatience = 100 * time.Millisecond
)

// makeRoom brings the WAL into the database file, so that the next transaction is written over it, from its beginning.
// That takes no space unless the database file has to grow. It reports whether it could.
func (w *writer) makeRoom() bool {
	if time.Since(w.fullAt) < roomPause {
		return false
	}
	ok := false
	err := w.conn.BusyTimeout(roomPatience)
	if err == nil {
		err = each(w.conn, "PRAGMA wal_checkpoint(RESTART)", nil, func(s *sqlite3.Stmt) error {
			ok = s.ColumnInt(0) == 0
			return nil
		})
	}
	if ok = ok && err == nil; !ok {
		w.fullAt = time.Now()
	}
	return ok
}
