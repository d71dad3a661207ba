package bench

import (
	"context"
	"database/sql"
)

// SQL opens connections through database/sql, each of them a [sql.Conn].
func SQL(db *sql.DB) Opener {
	return func(ctx context.Context) (Conn, error) {
		c, err := db.Conn(ctx)
		if err != nil {
			return nil, err
		}
		return sqlConn{c}, nil
	}
}

type sqlConn struct{ *sql.Conn }

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
	return &sqlStmt{Stmt: s, Statement: st}, nil
}

type sqlStmt struct {
	*sql.Stmt
	Statement
	args []any
}

func (s *sqlStmt) Run(data []byte, id int) error {
	s.args = s.args[:0]
	if s.Data {
		s.args = append(s.args, data)
	}
	if s.ID {
		s.args = append(s.args, id)
	}
	_, err := s.ExecContext(context.Background(), s.args...)
	return err
}

func (s *sqlStmt) Read(id int) (int, error) {
	var data []byte
	err := s.QueryRowContext(context.Background(), id).Scan(&data)
	return len(data), err
}
