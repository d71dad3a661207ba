package tasks

import (
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// in returns a condition that a column has one of the values, and adds them to the arguments.
func in[S ~string](column string, values []S, args *[]any) string {
	if len(values) == 0 {
		return ""
	}
	for _, v := range values {
		*args = append(*args, string(v))
	}
	return " AND " + column + " IN (?" + strings.Repeat(",?", len(values)-1) + ")"
}

// bind binds arguments: strings, numbers and nil.
func bind(s *sqlite3.Stmt, args []any) {
	for i, a := range args {
		switch a := a.(type) {
		case nil:
			s.BindNull(i + 1)
		case string:
			s.BindText(i+1, a)
		case int64:
			s.BindInt64(i+1, a)
		case int:
			s.BindInt(i+1, a)
		case float64:
			s.BindFloat(i+1, a)
		}
	}
}

// statementer runs statements: on a connection of the store's, or in a transaction of the application.
type statementer interface {
	// exec runs a statement and returns how many rows it changed.
	exec(sql string, args []any) (int, error)
	// text returns the text that a query finds, if it finds a row.
	text(sql string, args []any) (text string, found bool, err error)
}

// execute runs a statement and returns how many rows it changed.
func execute(c *conn, sql string, args []any) (int, error) {
	s, err := c.statement(sql)
	if err != nil {
		return 0, err
	}
	defer c.done(sql, s)
	bind(s, args)
	s.Step()
	return int(c.Changes()), s.Err()
}

// each runs a statement and hands over its rows, until that returns an error.
func each(c *conn, sql string, args []any, row func(*sqlite3.Stmt) error) error {
	s, err := c.statement(sql)
	if err != nil {
		return err
	}
	defer c.done(sql, s)
	bind(s, args)
	for s.Step() {
		if err := row(s); err != nil {
			return err
		}
	}
	return s.Err()
}

func queryInt(c *conn, sql string) (int64, error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if !s.Step() {
		return 0, s.Err()
	}
	return s.ColumnInt64(0), s.Err()
}
