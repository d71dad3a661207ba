package tasks

import (
	"errors"

	"github.com/ncruces/go-sqlite3"
)

// conn is a connection that keeps the statements that it has prepared.
// To prepare one takes longer than to run it.
type conn struct {
	*sqlite3.Conn
	ready map[string][]*sqlite3.Stmt // those that nobody uses, by their text
	kept  int                        // so many are ready
	older bool                       // it has views in the place of tables
}

// readyMost is how many statements a connection keeps. Only lists by all kinds of filters have more of them.
const readyMost = 100

// statement returns a statement that is ready to run. Give it back by done.
func (c *conn) statement(sql string) (*sqlite3.Stmt, error) {
	// Of those that run at the same time, as the walks of a list, each is another.
	if n := len(c.ready[sql]); n > 0 {
		s := c.ready[sql][n-1]
		c.kept--
		if c.ready[sql] = c.ready[sql][:n-1]; n == 1 {
			delete(c.ready, sql)
		}
		return s, nil
	}
	if c.older {
		sql = indexedBy.ReplaceAllString(sql, "")
	}
	s, _, err := c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	return s, err
}

// done ends a statement's run, whose error is known, and keeps it.
func (c *conn) done(sql string, s *sqlite3.Stmt) {
	_ = s.Reset()
	if c.kept >= readyMost || s.ClearBindings() != nil {
		_ = s.Close()
		return
	}
	if c.ready == nil {
		c.ready = map[string][]*sqlite3.Stmt{}
	}
	c.ready[sql] = append(c.ready[sql], s)
	c.kept++
}

// run runs a statement that returns nothing.
func (c *conn) run(sql string) error {
	_, err := execute(c, sql, nil)
	return err
}

// Close closes the statements too.
func (c *conn) Close() (err error) {
	for _, list := range c.ready {
		for _, s := range list {
			err = errors.Join(err, s.Close())
		}
	}
	c.ready, c.kept = nil, 0
	return errors.Join(err, c.Conn.Close())
}

// exec makes it a statementer.
func (c *conn) exec(sql string, args []any) (int, error) { return execute(c, sql, args) }

func (c *conn) text(sql string, args []any) (text string, found bool, err error) {
	err = each(c, sql, args, func(s *sqlite3.Stmt) error {
		text, found = s.ColumnText(0), true
		return nil
	})
	return text, found, err
}
