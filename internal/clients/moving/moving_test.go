package moving

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/ext/fts5"
	"github.com/ncruces/go-sqlite3/ext/rtree"
	"github.com/ncruces/go-sqlite3/ext/stats"
	"github.com/ncruces/go-sqlite3/ext/unicode"
	_ "github.com/ncruces/go-sqlite3/vfs/memdb"
	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

const page = "../../../vfs/MOVING.md"

// The two VFSes that the page's column "go-sqlite3, and here" speaks of.
var both = []string{"vfs=os", "vfs=async"}

func TestModernc(t *testing.T) { Read(t, page, Modernc).Try(t, "sqlite", "") }

func TestHere(t *testing.T) {
	for _, params := range both {
		t.Run(params, func(t *testing.T) { Read(t, page, Here).Try(t, "sqlite3", params) })
	}
}

// TestTags: what needs a build tag in mattn's works with what the page says.
func TestTags(t *testing.T) {
	extensions := map[string]func(*sqlite3.Conn) error{
		"go-sqlite3/ext/fts5": fts5.Register, "go-sqlite3/ext/rtree": rtree.Register,
		"go-sqlite3/ext/stats": stats.Register, "go-sqlite3/ext/unicode": unicode.Register,
	}
	for _, c := range Read(t, page, Here).Tags {
		t.Run(c.Tag, func(t *testing.T) {
			here := code(c.Here)
			params, want := "vfs=async", ""
			var extension func(*sqlite3.Conn) error
			switch {
			case c.Here == "is there":
			case c.Here == "is the default":
				want = "1"
			case strings.HasPrefix(here[0], "_pragma="):
				params += "&" + here[0]
				want = map[string]string{"PRAGMA auto_vacuum": "2", "PRAGMA secure_delete": "1"}[c.SQL]
			default:
				extension = extensions[here[0]]
				require.NotNil(t, extension, here[0])
			}
			try := func(extension func(*sqlite3.Conn) error) error {
				db, err := driver.Open("file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "app.db"))+"?"+params, extension)
				require.NoError(t, err)
				defer db.Close()
				got, err := Ask(db, c.SQL)
				if errors.Is(err, sql.ErrNoRows) {
					return nil
				}
				if strings.Contains(c.SQL, " = ") && got != "1" && got != "true" {
					return errors.New(got)
				}
				if want != "" {
					require.Equal(t, want, got)
				}
				return err
			}
			require.NoError(t, try(extension))
			if extension != nil {
				require.Error(t, try(nil), "it is there without the package")
			}
		})
	}
	// What can't be had.
	db := Open(t, "sqlite3", "vfs=async")
	for _, q := range []string{"CREATE VIRTUAL TABLE t USING fts3(a)", "CREATE VIRTUAL TABLE t USING fts4(a)", "SELECT * FROM dbstat", "SELECT load_extension('x')"} {
		_, err := db.Exec(q)
		require.Error(t, err, q)
	}
}

func TestBusyTimeout(t *testing.T) {
	for _, vfs := range both {
		for params, want := range map[string]string{"": "60000", "&_pragma=synchronous(full)": "0", "&_busy_timeout=4000": "60000"} {
			got, err := Ask(Open(t, "sqlite3", vfs+params), "PRAGMA busy_timeout")
			require.NoError(t, err)
			require.Equal(t, want, got, params)
		}
	}
	got, err := Ask(Open(t, "sqlite", "_pragma=synchronous(full)"), "PRAGMA busy_timeout")
	require.NoError(t, err)
	require.Equal(t, "0", got)
}

func TestBegin(t *testing.T) {
	for params, locks := range map[string]bool{"": true, "&_txlock=deferred": false, "&_txlock=immediate": true, "&_txlock=exclusive": true} {
		for _, vfs := range both {
			require.Equal(t, locks, BeginLocks(t, "sqlite3", vfs+params), vfs+params)
		}
		require.Equal(t, locks && params != "", BeginLocks(t, "sqlite", params), "modernc "+params)
	}
	// A transaction that only reads doesn't lock.
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite3", vfs.DSN(path))
	require.NoError(t, err)
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = db.Exec("CREATE TABLE t(a)")
	require.NoError(t, err)
}

func TestSeveralStatements(t *testing.T) {
	for _, params := range both {
		inserted, err := Several(t, "sqlite3", params)
		require.ErrorContains(t, err, "multiple statements")
		require.Equal(t, "1", inserted)
	}
	inserted, err := Several(t, "sqlite", "")
	require.NoError(t, err)
	require.Equal(t, "1 2 2", inserted)
}

func TestUnknownParameter(t *testing.T) {
	require.NoError(t, Open(t, "sqlite", "_no_such=1").Ping())
	for _, params := range both {
		require.NoError(t, Open(t, "sqlite3", params+"&_no_such=1").Ping())
	}
}

// TestOrder: modernc sorts the PRAGMAs, here they are run as they come.
func TestOrder(t *testing.T) {
	const params = "&_pragma=journal_mode(wal)&_pragma=auto_vacuum(full)"
	for driver, want := range map[string]string{"sqlite": "1", "sqlite3": "0"} {
		db := Open(t, driver, "x=1"+params)
		_, err := db.Exec("CREATE TABLE t(a)")
		require.NoError(t, err)
		got, err := Ask(db, "PRAGMA auto_vacuum")
		require.NoError(t, err)
		require.Equal(t, want, got, driver)
	}
}

func TestPathWithoutScheme(t *testing.T) {
	t.Chdir(t.TempDir())
	for driver, name := range map[string]string{"sqlite": "app.db", "sqlite3": "app.db?vfs=async"} {
		db, err := sql.Open(driver, "app.db?vfs=async")
		if driver == "sqlite" {
			db, err = sql.Open(driver, "app.db?_pragma=busy_timeout(1)")
		}
		require.NoError(t, err)
		defer db.Close()
		_, err = db.Exec("CREATE TABLE t(a)")
		require.NoError(t, err)
		_, err = os.Stat(name)
		require.NoError(t, err, driver)
	}
	_, err := vfs.Stats("app.db?vfs=async")
	require.ErrorIs(t, err, vfs.ErrNotOpen)
}

// TestDoubleQuotes: what the page says about them, for one pool; internal/clients/moving/doublequotes has it for all of a process.
func TestDoubleQuotes(t *testing.T) {
	text, err := os.ReadFile(filepath.FromSlash(page))
	require.NoError(t, err)
	require.Contains(t, string(text), "sqlite3.DBCONFIG_DQS_DML")
	allow := func(c *sqlite3.Conn) error {
		if _, err := c.Config(sqlite3.DBCONFIG_DQS_DML, true); err != nil {
			return err
		}
		_, err := c.Config(sqlite3.DBCONFIG_DQS_DDL, true)
		return err
	}
	db, err := driver.Open("file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "app.db"))+"?vfs=async", allow)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(`CREATE TABLE t(a CHECK(a <> "text"))`)
	require.NoError(t, err)
	got, err := Ask(db, `SELECT "text"`)
	require.NoError(t, err)
	require.Equal(t, "text", got)
	got, err = Ask(Open(t, "sqlite", "_dqs=1"), `SELECT "text"`)
	require.NoError(t, err)
	require.Equal(t, "text", got)
	_, err = Ask(Open(t, "sqlite", "_dqs=0"), `SELECT "text"`)
	require.Error(t, err)
}

func TestMemory(t *testing.T) {
	db, err := sql.Open("sqlite3", "file:/name?vfs=memdb")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE t(a)")
	require.NoError(t, err)
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true}) // holds one of the connections
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = Ask(db, "SELECT count(*) FROM t")
	require.NoError(t, err)
}

func TestErrors(t *testing.T) {
	err := UniqueError(t, "sqlite3", "vfs=async")
	require.ErrorIs(t, err, sqlite3.CONSTRAINT_UNIQUE)
	var e *sqlite3.Error
	require.ErrorAs(t, err, &e)
	var m *sqlite.Error
	require.ErrorAs(t, UniqueError(t, "sqlite", ""), &m)
	require.EqualValues(t, lib.SQLITE_CONSTRAINT_UNIQUE, m.Code())
	require.EqualValues(t, m.Code(), e.ExtendedCode())
}

// scanTime reads text from a column of that type.
func scanTime(t *testing.T, driver, params, column string, stored any) (at time.Time, err error) {
	t.Helper()
	db := Open(t, driver, params)
	_, err = db.Exec("CREATE TABLE t(at " + column + ")")
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO t VALUES(?)", stored)
	require.NoError(t, err)
	err = db.QueryRow("SELECT at FROM t").Scan(&at)
	return at, err
}

func TestTimes(t *testing.T) {
	const mattn = "&_timefmt=2006-01-02%2015:04:05.999999999-07:00"
	for _, vfs := range both {
		for params, layout := range map[string]string{"": time.RFC3339Nano, mattn: MattnTime} {
			db := Open(t, "sqlite3", vfs+params)
			_, err := db.Exec("CREATE TABLE t(at DATETIME)")
			require.NoError(t, err)
			_, err = db.Exec("INSERT INTO t VALUES(?)", At)
			require.NoError(t, err)
			// A function has no type that the driver could take for one of a time.
			got, err := Ask(db, "SELECT length(at) || ' ' || at FROM t")
			require.NoError(t, err)
			require.Equal(t, At.Format(layout), got[strings.Index(got, " ")+1:])
		}
		for _, column := range []string{"DATE", "TIME", "DATETIME", "TIMESTAMP"} {
			for _, layout := range []string{time.RFC3339Nano, MattnTime} {
				at, err := scanTime(t, "sqlite3", vfs, column, At.Format(layout))
				require.NoError(t, err, column)
				require.True(t, at.Equal(At), column)
			}
		}
		at, err := scanTime(t, "sqlite3", vfs+mattn, "DATETIME", At.Format(MattnTime))
		require.NoError(t, err)
		require.True(t, at.Equal(At))
		_, err = scanTime(t, "sqlite3", vfs+mattn, "DATETIME", At.Format(time.RFC3339Nano))
		require.Error(t, err)
		at, err = scanTime(t, "sqlite3", vfs+"&_timefmt=sqlite", "DATETIME", At)
		require.NoError(t, err)
		require.True(t, at.Equal(At.Truncate(time.Second)))
		for _, n := range []int64{At.Unix(), At.UnixMilli()} {
			at, err = scanTime(t, "sqlite3", vfs, "DATETIME", n)
			require.NoError(t, err)
			require.Equal(t, At.Unix(), at.Unix())
		}
	}
}

// TestTimesOfModernc: the page's UPDATE makes times of modernc's default readable, and keeps them what they were.
func TestTimesOfModernc(t *testing.T) {
	text, err := os.ReadFile(filepath.FromSlash(page))
	require.NoError(t, err)
	update := regexp.MustCompile("(?s)```sql\n(.*?)```").FindStringSubmatch(string(text))
	require.NotNil(t, update)

	path := filepath.Join(t.TempDir(), "app.db")
	old := OpenPath(t, "sqlite", path, "")
	_, err = old.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, at DATETIME)")
	require.NoError(t, err)
	now := time.Now() // has a monotonic reading, which modernc writes too
	times := []time.Time{At, At.UTC(), now, now.UTC(), At.Truncate(time.Second), At.In(time.FixedZone("X", -5400))}
	for i, at := range times {
		_, err = old.Exec("INSERT INTO t VALUES(?, ?)", i, at)
		require.NoError(t, err)
	}
	_, err = old.Exec("INSERT INTO t VALUES(-1, NULL), (-2, '2026-01-02T03:04:05Z'), (-3, '2026-01-02 03:04:05+01:00')")
	require.NoError(t, err)
	require.NoError(t, old.Close())

	db := OpenPath(t, "sqlite3", path, "vfs=async")
	var at time.Time
	require.Error(t, db.QueryRow("SELECT at FROM t WHERE id = 1").Scan(&at))
	res, err := db.Exec(update[1])
	require.NoError(t, err)
	n, err := res.RowsAffected()
	require.NoError(t, err)
	require.EqualValues(t, len(times), n)
	for i, want := range times {
		require.NoError(t, db.QueryRow("SELECT at FROM t WHERE id = ?", i).Scan(&at))
		require.True(t, at.Equal(want), "%v is %v", want, at)
	}
}

func TestTimeFormatOfModernc(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	old := OpenPath(t, "sqlite", path, "_time_format=sqlite")
	_, err := old.Exec("CREATE TABLE t(at DATETIME)")
	require.NoError(t, err)
	_, err = old.Exec("INSERT INTO t VALUES(?)", At)
	require.NoError(t, err)
	text, err := Ask(old, "SELECT length(at) || ' ' || at FROM t")
	require.NoError(t, err)
	require.Contains(t, text, At.Format(MattnTime))
	require.NoError(t, old.Close())
	var at time.Time
	require.NoError(t, OpenPath(t, "sqlite3", path, "vfs=async").QueryRow("SELECT at FROM t").Scan(&at))
	require.True(t, at.Equal(At))
}
