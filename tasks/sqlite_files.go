package tasks

import (
	"context"
	"errors"
	"fmt"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// ErrDeleted is returned by a call whose change had to be durable if somebody has deleted the database's file, or its
// -wal file, while the store has it open. What is written goes with the store: close it, and open another.
var ErrDeleted = errors.New("the database's file was deleted")

// files are those that a connection has open. What is said of a change is said of them,
// because their names may lead to others by now: a directory or the target of a symbolic link was moved.
type files struct{ db, wal sqlitevfs.File }

// filesOf returns the files of a connection that has read the database.
func filesOf(c *conn) (f files, err error) {
	for op, to := range map[sqlite3.FcntlOpcode]*sqlitevfs.File{
		sqlite3.FCNTL_FILE_POINTER: &f.db, sqlite3.FCNTL_JOURNAL_POINTER: &f.wal,
	} {
		v, err := c.FileControl("main", op)
		if err != nil {
			return f, err
		}
		*to, _ = v.(sqlitevfs.File)
	}
	return f, nil
}

// errMoved is the error of a connection that finds another database, or none, by the name that the store was opened by.
var errMoved = errors.New("the database's file was moved or deleted while the store has it open: close it, and open another")

// check returns an error if a new connection has another database open.
func (f files) check(c *conn) error {
	if f.db == nil {
		return nil // it is the first
	}
	other, err := c.FileControl("main", sqlite3.FCNTL_FILE_POINTER)
	if err != nil {
		return err
	}
	if file, ok := other.(sqlitevfs.File); ok && !sameFile(f.db, file) {
		return errMoved
	}
	return nil
}

// durable returns once all that was committed is durable.
func (f files) durable() error {
	if err := vfs.WaitDurableFile(context.Background(), f.db); err != nil {
		return err
	}
	return f.there()
}

// there returns [ErrDeleted] if one of the files has no name any more, as far as the system tells.
func (f files) there() error {
	for _, file := range []sqlitevfs.File{f.db, f.wal} {
		if deleted(file) {
			return ErrDeleted
		}
	}
	return nil
}

// unknown is the error of a change that was made.
func unknown(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("made, but it is not known whether it is durable: %w", err)
}
