package tasks

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// TableError says that a database has a table, or another thing of that name, that isn't one of this package's.
// [Open] has changed nothing. Rename it, or keep the tasks in a database file of their own.
type TableError struct {
	Name  string
	Found string // in what it differs
}

func (e *TableError) Error() string {
	return fmt.Sprintf("%s in the database isn't this package's: %s; rename it, or keep the tasks in a file of their own", e.Name, e.Found)
}

// checkTables reads only. It returns a [*TableError] for a database whose tables can't be brought up to date, or used.
func checkTables(c *conn) (err error) {
	// One transaction: another process may bring it up to date meanwhile.
	if err := c.Exec("BEGIN"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Exec("ROLLBACK")) }()
	found, err := objects(c)
	if err != nil || len(found) == 0 {
		return err
	}
	version := 0
	if kind, ok := found["tasks_schema"]; ok {
		if kind != "table" {
			return &TableError{"tasks_schema", "it is a " + kind}
		}
		if version, err = schemaVersion(c); err != nil {
			return err
		}
	}
	ours, err := newSchema()
	if err != nil {
		return err
	}
	for name, kind := range found {
		if name != "tasks" && ours.names[name] && version == 0 {
			return &TableError{name, "a " + kind + " of that name is there, and nothing that says that this package has made it"}
		}
	}
	kind, ok := found["tasks"]
	switch {
	case !ok && version == 0:
		return nil
	case !ok:
		return &TableError{"tasks", "there is none, though the other tables are there"}
	case kind != "table":
		return &TableError{"tasks", "it is a " + kind}
	}
	return checkColumns(c, ours.columns, version)
}

// objects returns the kinds of all that has a name in the database, by name.
func objects(c *conn) (map[string]string, error) {
	found := map[string]string{}
	err := each(c, "SELECT lower(name), type FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'", nil, func(s *sqlite3.Stmt) error {
		found[s.ColumnText(0)] = s.ColumnText(1)
		return nil
	})
	return found, err
}

// schema is what this program makes in an empty database.
type schema struct {
	names   map[string]bool // of all objects, in lower case
	columns []string        // of the table tasks
	sql     string          // makes all of it
	tables  []table
}

// table is a table as this program makes it.
type table struct {
	name, sql string
	columns   []column
}

// column is a column with what it holds where nobody has set it, as SQL.
type column struct{ name, value string }

// newSchema makes it once, in memory.
var newSchema = sync.OnceValues(func() (s schema, err error) {
	opened, err := sqlite3.Open(":memory:")
	if err != nil {
		return s, err
	}
	c := &conn{Conn: opened}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Exec(schemaTable); err != nil {
		return s, err
	}
	for _, m := range migrations {
		if err := c.Exec(m); err != nil {
			return s, err
		}
	}
	if err := resultLast(c); err != nil {
		return s, err
	}
	if err := each(c, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid", nil, func(row *sqlite3.Stmt) error {
		s.sql += row.ColumnText(0) + ";\n"
		return nil
	}); err != nil {
		return s, err
	}
	if err := each(c, "SELECT name, sql FROM sqlite_schema WHERE type='table' ORDER BY rowid", nil, func(row *sqlite3.Stmt) error {
		t := table{name: row.ColumnText(0), sql: row.ColumnText(1)}
		s.tables = append(s.tables, t)
		return nil
	}); err != nil {
		return s, err
	}
	for i, t := range s.tables {
		if err := each(c, "SELECT lower(name), coalesce(dflt_value, 'NULL') FROM pragma_table_xinfo(?)", []any{t.name}, func(row *sqlite3.Stmt) error {
			s.tables[i].columns = append(s.tables[i].columns, column{row.ColumnText(0), row.ColumnText(1)})
			return nil
		}); err != nil {
			return s, err
		}
	}
	found, err := objects(c)
	s.names = map[string]bool{}
	for name := range found {
		s.names[name] = true
	}
	return s, errors.Join(err, each(c, "SELECT lower(name) FROM pragma_table_xinfo('tasks')", nil, func(row *sqlite3.Stmt) error {
		s.columns = append(s.columns, row.ColumnText(0))
		return nil
	}))
})

// wanted are the columns of the Python module's table, with what their types' names contain: SQLite goes by that.
var wanted = map[string]string{"id": "TEXT", "type": "TEXT", "status": "TEXT", "result": "", "created_at": "INT", "updated_at": ""}

// checkColumns compares the table with what statements need.
func checkColumns(c *conn, ours []string, version int) error {
	bad := func(format string, a ...any) error { return &TableError{"tasks", fmt.Sprintf(format, a...)} }
	var keys, missing []string
	types := map[string]string{}
	if err := each(c, "SELECT lower(name), upper(type), pk, \"notnull\" AND dflt_value IS NULL, hidden FROM pragma_table_xinfo('tasks')", nil, func(s *sqlite3.Stmt) error {
		name := s.ColumnText(0)
		types[name] = s.ColumnText(1)
		_, known := wanted[name]
		switch {
		case s.ColumnInt(2) > 0:
			keys = append(keys, name)
		case !known && s.ColumnBool(3):
			return bad("it has a column %s that must not be NULL, and that this package doesn't know", name)
		case known && s.ColumnInt(4) != 0:
			return bad("its column %s is computed", name)
		}
		if !known && version == 0 && slices.Contains(ours, name) {
			return bad("it has a column %s, and nothing says that this package has added it", name)
		}
		return nil
	}); err != nil {
		return err
	}
	if _, ok := types["client_id"]; ok && types["sha256"] != "" && types["id"] == "" {
		return bad("it is that of DocuSnap's backend, which tells tasks apart by client_id, sha256 and type, and which package docusnap imports")
	}
	for name, of := range wanted {
		found, ok := types[name]
		if !ok {
			missing = append(missing, name)
		} else if !strings.Contains(found, of) {
			return bad("its column %s is %s; want %s", name, found, map[string]string{"TEXT": "TEXT", "INT": "INTEGER"}[of])
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return bad("it has no column %s", strings.Join(missing, ", "))
	}
	if !slices.Equal(keys, []string{"id"}) {
		return bad("its primary key is (%s); want (id)", strings.Join(keys, ", "))
	}
	without, err := queryInt(c, "SELECT coalesce(max(wr), 0) FROM pragma_table_list('tasks') WHERE schema='main'")
	if err == nil && without != 0 {
		err = bad("it is WITHOUT ROWID")
	}
	return err
}
