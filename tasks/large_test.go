package tasks_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// pagesRead counts the pages that a connection had to get while a function runs, from its cache or from the file.
type pagesRead struct{ conns []*sqlite3.Conn }

func (p *pagesRead) during(t *testing.T, f func()) (n int) {
	t.Helper()
	count := func(reset bool) (n int) {
		for _, c := range p.conns {
			for _, op := range []sqlite3.DBStatus{sqlite3.DBSTATUS_CACHE_HIT, sqlite3.DBSTATUS_CACHE_MISS} {
				now, _, err := c.Status(op, reset)
				require.NoError(t, err)
				n += int(now)
			}
		}
		return n
	}
	count(true)
	f()
	return count(false)
}

// TestLargeResultUntouched: what doesn't need a result doesn't go through its pages, however large it is.
func TestLargeResultUntouched(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	var p pagesRead
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "t.db"), tasks.Readers(1),
		tasks.OnConnect(func(c *sqlite3.Conn) { p.conns = append(p.conns, c) }))
	require.NoError(t, err)
	defer st.Close()
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	c, err := st.Claim(ctx, time.Minute)
	require.NoError(t, err)
	require.NoError(t, st.Progress(ctx, "a", strings.Repeat("x", size)))
	for name, call := range map[string]func(context.Context) error{
		"Status": func(ctx context.Context) error { _, err := st.Status(ctx, "a"); return err },
		"List":   func(ctx context.Context) error { _, err := st.List(ctx, tasks.Query{}); return err },
		"Extend": func(ctx context.Context) error { return st.Extend(ctx, &c, time.Minute) },
	} {
		require.NoError(t, call(ctx)) // its connection is open
		pages := p.during(t, func() { require.NoError(t, call(ctx)) })
		t.Log(name, pages)
		if name == "Extend" {
			continue
		}
		require.Less(t, pages, 100, name)
	}
	// The control: in a table of the old order of columns, a look goes through them. They are counted.
	path := filepath.Join(t.TempDir(), "old.db")
	sqlFile(t, path, pythonTable+"; INSERT INTO tasks VALUES('a', 'form', 'completed', printf('%.*c', 8<<20, 'x'), 1, 2)")
	p.conns = nil
	old, err := tasks.Open(ctx, path, tasks.Readers(1), tasks.OnConnect(func(c *sqlite3.Conn) { p.conns = append(p.conns, c) }))
	require.NoError(t, err)
	defer old.Close()
	require.Greater(t, p.during(t, func() {
		_, err := old.Status(ctx, "a")
		require.NoError(t, err)
	}), size/4096/2)
}
