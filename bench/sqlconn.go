package bench

import (
	"context"
	"database/sql"
	"time"
)

// SQL opens connections through database/sql, each of them a [sql.Conn].
// Each statement of a run has a context with a timeout, as that of a request to a service has.
func SQL(db *sql.DB) Opener {
	return sqlOpener(db, func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), 10*time.Second)
	})
}

// withoutContexts is like [SQL], with contexts that can't be cancelled.
func withoutContexts(db *sql.DB) Opener {
	return sqlOpener(db, func() (context.Context, context.CancelFunc) { return context.Background(), func() {} })
}

func sqlOpener(db *sql.DB, request newContext) Opener {
	return func(ctx context.Context) (Conn, error) {
		c, err := db.Conn(ctx)
		if err != nil {
			return nil, err
		}
		return sqlConn{c, request}, nil
	}
}

// newContext makes the context of a statement.
type newContext func() (context.Context, context.CancelFunc)

type sqlConn struct {
	*sql.Conn
	request newContext
}

func (c sqlConn) Exec(query string) error {
	_, err := c.ExecContext(context.Background(), query)
	return err
}

func (c sqlConn) Int(query string) (n int, err error) {
	err = c.QueryRowContext(context.Background(), query).Scan(&n)
	return n, err
}

func (c sqlConn) Prepare(st Statement) (Stmt, error) {
	s, err := c.PrepareContext(context.Background(), st.SQL)
	if err != nil {
		return nil, err
	}
	return &sqlStmt{Stmt: s, Statement: st, request: c.request}, nil
}

type sqlStmt struct {
	*sql.Stmt
	Statement
	request newContext
	args    []any
}

func (s *sqlStmt) Run(data []byte, id int) error {
	s.args = s.args[:0]
	if s.Data {
		s.args = append(s.args, data)
	}
	if s.ID {
		s.args = append(s.args, id)
	}
	ctx, cancel := s.request()
	defer cancel()
	_, err := s.ExecContext(ctx, s.args...)
	return err
}

func (s *sqlStmt) Read(id int) (int, error) {
	ctx, cancel := s.request()
	defer cancel()
	var data []byte
	err := s.QueryRowContext(ctx, id).Scan(&data)
	return len(data), err
}
