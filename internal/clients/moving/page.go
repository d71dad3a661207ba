// Package moving tries what vfs/MOVING.md says, line by line: its tables are what the tests run.
package moving

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Page is the page's tables, as far as they are about one driver.
type Page struct {
	Parameters []Parameter
	Defaults   []Default
	Tags       []Tag
	Begins     []Begin
}

// A Parameter is one way to set something, and a query that tells whether it is set.
type Parameter struct{ DSN, Query, Want string }

// A Default is what a statement does on a new database. Want is a value, "works" or "error".
type Default struct{ SQL, Want string }

// A Tag is a statement that needs a build tag of mattn's, and what it needs here.
type Tag struct{ Tag, Here, SQL string }

// A Begin is what BeginTx begins, given options and parameters of the name: see [BeginTx].
type Begin struct {
	Options sql.TxOptions
	Plain   bool // also tried with (*sql.DB).Begin
	DSN     string
	Want    string
}

// Driver is a column of the page.
type Driver string

// The drivers, as the page's tables call them.
const (
	Mattn   Driver = "mattn"
	Modernc Driver = "modernc"
	Here    Driver = "go-sqlite3, and here"
)

// Read reads the page.
func Read(t testing.TB, path string, driver Driver) (p Page) {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(path))
	require.NoError(t, err)
	var head []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			head = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if head == nil {
			head = cells
			continue
		}
		if cells[0] == "---" {
			continue
		}
		require.Len(t, cells, len(head), line)
		cell := func(name string) string {
			for i := range head {
				if head[i] == name {
					return cells[i]
				}
			}
			t.Fatalf("no column %q in the table of %s", name, line)
			return ""
		}
		switch {
		case head[0] == "mattn": // parameters
			tried := code(cell("tried with"))
			require.Len(t, tried, 2, line)
			ways := code(cell(string(driver)))
			require.NotEmpty(t, ways, line)
			for _, way := range ways {
				p.Parameters = append(p.Parameters, Parameter{way, tried[0], tried[1]})
			}
		case head[0] == "tried with":
			want := cell(string(driver))
			if c := code(want); len(c) > 0 {
				want = c[0]
			}
			p.Defaults = append(p.Defaults, Default{code(cells[0])[0], want})
		case head[0] == "mattn's tag":
			p.Tags = append(p.Tags, Tag{cells[0], cell("here"), code(cell("tried with"))[0]})
		case head[0] == "`sql.TxOptions`":
			b := Begin{Options: txOptions(t, code(cells[0])[0]), Plain: strings.HasSuffix(cells[0], "and `Begin`"), Want: cell(string(driver))}
			if c := code(cell("in the name")); len(c) > 0 {
				b.DSN = c[0]
			}
			p.Begins = append(p.Begins, b)
		default:
			t.Fatalf("a table that isn't tried: %s", line)
		}
	}
	require.Greater(t, len(p.Parameters), 15)
	require.Greater(t, len(p.Defaults), 8)
	require.Greater(t, len(p.Tags), 6)
	require.Greater(t, len(p.Begins), 15)
	return p
}

// txOptions reads such as {Isolation: sql.LevelSerializable, ReadOnly: true}.
func txOptions(t testing.TB, text string) (o sql.TxOptions) {
	t.Helper()
	for field := range strings.SplitSeq(strings.Trim(text, "{}"), ", ") {
		switch name, value, _ := strings.Cut(field, ": "); name {
		case "":
		case "ReadOnly":
			require.Equal(t, "true", value)
			o.ReadOnly = true
		case "Isolation":
			for o.Isolation = sql.LevelDefault; "sql.Level"+strings.ReplaceAll(o.Isolation.String(), " ", "") != value; o.Isolation++ {
				require.Less(t, o.Isolation, sql.LevelLinearizable, value)
			}
		default:
			t.Fatalf("no field of sql.TxOptions: %s", text)
		}
	}
	return o
}

var inCode = regexp.MustCompile("`([^`]+)`")

// code returns what is in backquotes.
func code(s string) (all []string) {
	for _, m := range inCode.FindAllStringSubmatch(s, -1) {
		all = append(all, m[1])
	}
	return all
}

// Try tries the parameters, the defaults and the transactions. params are added to each name.
func (p Page) Try(t *testing.T, driver, params string) {
	t.Run("parameters", func(t *testing.T) {
		for _, c := range p.Parameters {
			t.Run(c.DSN, func(t *testing.T) {
				got, err := Ask(Open(t, driver, params+"&"+c.DSN), c.Query)
				require.NoError(t, err)
				require.Equal(t, c.Want, got)
				// It is the parameter that does it.
				if c.Query == "PRAGMA foreign_keys" || c.Query == "PRAGMA synchronous" {
					return // one of the two values is the default
				}
				got, err = Ask(Open(t, driver, params), c.Query)
				require.True(t, err != nil || got != c.Want, "%s is %s without it", c.Query, got)
			})
		}
	})
	t.Run("defaults", func(t *testing.T) {
		for _, c := range p.Defaults {
			t.Run(c.SQL, func(t *testing.T) {
				db := Open(t, driver, params)
				var got string
				var err error
				if c.Want == "works" || strings.HasPrefix(c.SQL, "CREATE") {
					_, err = db.Exec(c.SQL)
					got = "works"
				} else {
					got, err = Ask(db, c.SQL)
				}
				if err != nil {
					t.Log(err)
					got = "error"
				}
				require.Equal(t, c.Want, got)
			})
		}
	})
	t.Run("begins", func(t *testing.T) {
		for _, c := range p.Begins {
			t.Run(fmt.Sprintf("%v,readonly=%v,%s", c.Options.Isolation, c.Options.ReadOnly, c.DSN), func(t *testing.T) { c.try(t, driver, params) })
		}
	})
}

// Open opens a new database.
func Open(t testing.TB, driver, params string) *sql.DB {
	t.Helper()
	return OpenPath(t, driver, filepath.Join(t.TempDir(), "app.db"), params)
}

// OpenPath opens a database.
func OpenPath(t testing.TB, driver, path, params string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, "file:"+filepath.ToSlash(path)+"?"+strings.TrimPrefix(params, "&"))
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// Ask returns the only value, as text.
func Ask(db *sql.DB, query string, args ...any) (string, error) {
	var v any
	err := db.QueryRow(query, args...).Scan(&v)
	if b, ok := v.([]byte); ok {
		v = string(b)
	}
	return fmt.Sprint(v), err
}
