package bench

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// A Conn is a connection to a database.
type Conn interface {
	Exec(sql string) error
	Int(sql string) (int, error) // the one value that a query returns
	Prepare(Statement) (Stmt, error)
	Close() error
}

// A Stmt is a prepared statement.
type Stmt interface {
	// Run runs it with those of the parameters that it takes.
	Run(data []byte, id int) error
	// Read runs it as a query, and returns the length of the row's data.
	Read(id int) (int, error)
	Close() error
}

// A Statement is one of SQL. Its parameters are data, if it takes that, then id, if it takes that.
type Statement struct {
	SQL      string
	Data, ID bool
}

// An Opener opens a connection to the database of a run.
type Opener func(ctx context.Context) (Conn, error)

// Native opens connections through go-sqlite3's own API.
func (s Setup) Native(dir string) Opener {
	return func(context.Context) (Conn, error) {
		if err := registerDisks(); err != nil {
			return nil, err
		}
		return openNative(s.DSN(dir))
	}
}

func openNative(dsn string) (Conn, error) {
	c, err := sqlite3.Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dsn, err)
	}
	return nativeConn{c}, nil
}

type nativeConn struct{ *sqlite3.Conn }

func (c nativeConn) Int(sql string) (int, error) {
	s, _, err := c.Conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if !s.Step() {
		return 0, fmt.Errorf("%s: no row: %w", sql, s.Err())
	}
	return s.ColumnInt(0), nil
}

func (c nativeConn) Prepare(st Statement) (Stmt, error) {
	s, _, err := c.Conn.Prepare(st.SQL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", st.SQL, err)
	}
	return nativeStmt{s, st}, nil
}

type nativeStmt struct {
	*sqlite3.Stmt
	Statement
}

func (s nativeStmt) bind(data []byte, id int) error {
	i := 1
	if s.Data {
		if err := s.BindBlob(i, data); err != nil {
			return err
		}
		i++
	}
	if s.ID {
		return s.BindInt(i, id)
	}
	return nil
}

func (s nativeStmt) Run(data []byte, id int) error {
	if err := s.bind(data, id); err != nil {
		return err
	}
	return s.Exec()
}

func (s nativeStmt) Read(id int) (int, error) {
	if err := s.bind(nil, id); err != nil {
		return 0, err
	}
	n := 0
	if s.Step() {
		n = len(s.ColumnRawBlob(0))
	}
	return n, s.Reset()
}
