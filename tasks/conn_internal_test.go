package tasks

import (
	"fmt"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestStatementsAreKept: what was prepared once is ready, also where the same statement runs several times at once,
// and not without bound.
func TestStatementsAreKept(t *testing.T) {
	opened, err := sqlite3.Open(":memory:")
	require.NoError(t, err)
	c := &conn{Conn: opened}
	defer func() { require.NoError(t, c.Close()) }()
	run := func(sql string, times int) map[*sqlite3.Stmt]bool {
		used := map[*sqlite3.Stmt]bool{}
		for range times {
			s, err := c.statement(sql)
			require.NoError(t, err)
			used[s] = true
		}
		for s := range used {
			c.done(sql, s)
		}
		return used
	}
	first := run("SELECT 1", 3)
	require.Len(t, first, 3)
	require.Equal(t, first, run("SELECT 1", 3))
	for i := range 3 * readyMost {
		run(fmt.Sprint("SELECT ", i), 2)
	}
	require.Equal(t, readyMost, c.kept)
	require.LessOrEqual(t, len(c.ready), readyMost)
}
