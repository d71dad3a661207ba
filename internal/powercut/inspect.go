package powercut

import (
	"errors"
	"fmt"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/ncruces/go-sqlite3"
)

// finding is what a database holds when it is opened after a power cut.
type finding struct {
	txn    int64 // the last transaction, or -1 if there are no tables
	digest digest
	mode   string // journal mode
	err    error  // it can't be opened or read, or isn't in order
}

// inspect opens a database on the stock VFS and reads all of it.
func inspect(d *simdisk.Disk, db string) (f finding) {
	c, err := sqlite3.Open("file:" + d.Path(db) + "?vfs=" + simdisk.Stock)
	if err != nil {
		return finding{err: err}
	}
	defer c.Close()
	// Without a shared WAL-index it is faster. Nothing is brought over when it closes.
	_, err = c.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true)
	err = errors.Join(err, c.Exec("PRAGMA locking_mode=exclusive"))
	if err != nil {
		return finding{err: err}
	}
	return look(c)
}

// look reads all of a database.
func look(c *sqlite3.Conn) (f finding) {
	f.err = func() error {
		check, err := text(c, "PRAGMA integrity_check")
		if err != nil {
			return err
		}
		if check != "ok" {
			return fmt.Errorf("integrity_check: %s", check)
		}
		if f.mode, err = text(c, "PRAGMA journal_mode"); err != nil {
			return err
		}
		f.mode = fileMode(f.mode)
		n, err := text(c, "SELECT count(*) FROM sqlite_schema")
		if err != nil {
			return err
		}
		if n == "0" {
			f.txn = -1
			return nil
		}
		s, _, err := c.Prepare("SELECT txn FROM meta")
		if err != nil {
			return err
		}
		defer s.Close()
		if !s.Step() {
			return errors.Join(errors.New("no row in meta"), s.Err())
		}
		f.txn = s.ColumnInt64(0)
		f.digest, err = sum(c)
		return err
	}()
	return f
}

// sum returns the digest of all rows.
func sum(c *sqlite3.Conn) (d digest, err error) {
	s, _, err := c.Prepare("SELECT id, k, v FROM t")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for s.Step() {
		d += hashRow(s.ColumnInt64(1), s.ColumnRawBlob(2)).at(s.ColumnInt64(0))
	}
	return d, s.Err()
}

// text returns the first column of a query's first row.
func text(c *sqlite3.Conn, sql string) (string, error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if !s.Step() {
		return "", s.Err()
	}
	return s.ColumnText(0), nil
}
