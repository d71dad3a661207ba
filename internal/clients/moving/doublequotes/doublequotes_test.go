// Package doublequotes tries what the page says about strings in double quotes, which is for all connections of a process.
package doublequotes

import (
	"os"
	"strings"
	"testing"

	_ "github.com/docusnap/asyncvfs/vfs"

	"github.com/docusnap/asyncvfs/internal/clients/moving"
	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

const query = `SELECT "text"`

// The page shows these lines.
func init() {
	sqlite3.AutoExtension(func(c *sqlite3.Conn) error { // for each connection of the process
		if _, err := c.Config(sqlite3.DBCONFIG_DQS_DML, true); err != nil {
			return err
		}
		_, err := c.Config(sqlite3.DBCONFIG_DQS_DDL, true)
		return err
	})
}

func TestDoubleQuotes(t *testing.T) {
	for _, params := range []string{"vfs=os", "vfs=async"} {
		db := moving.Open(t, "sqlite3", params)
		got, err := moving.Ask(db, query)
		require.NoError(t, err)
		require.Equal(t, "text", got)
		_, err = db.Exec(`CREATE TABLE t(a CHECK(a <> "text"))`)
		require.NoError(t, err)
	}
}

// TestPage: it shows what was tried.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../../vfs/MOVING.md")
	require.NoError(t, err)
	source, err := os.ReadFile("doublequotes_test.go")
	require.NoError(t, err)
	_, shown, ok := strings.Cut(string(source), "func init() {\n")
	require.True(t, ok)
	shown, _, ok = strings.Cut(shown, "\n}\n")
	require.True(t, ok)
	for line := range strings.Lines(shown) {
		require.Contains(t, string(page), strings.TrimSpace(line))
	}
}
