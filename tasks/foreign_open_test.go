package tasks_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

const pythonTable = `CREATE TABLE tasks(id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL,
	result TEXT, created_at INTEGER NOT NULL, updated_at INTEGER)`

// TestForeignTables: what isn't the task table is refused with what was found, and nothing is altered, not even the file's header.
func TestForeignTables(t *testing.T) {
	t.Parallel()
	for sql, found := range map[string]string{
		`CREATE TABLE tasks(id INTEGER PRIMARY KEY, type TEXT, status TEXT, result TEXT, created_at TEXT, updated_at TEXT)`:                              "want",
		`CREATE TABLE tasks(id TEXT PRIMARY KEY, type TEXT, status TEXT, result TEXT, created_at TEXT, updated_at TEXT)`:                                 "created_at is TEXT; want INTEGER",
		`CREATE TABLE tasks(client_id TEXT, sha256 TEXT, type TEXT, status TEXT, result TEXT, created_at INTEGER, PRIMARY KEY(client_id, sha256, type))`: "DocuSnap's backend",
		`CREATE TABLE tasks(id TEXT, type TEXT, status TEXT, result TEXT, created_at INTEGER, updated_at INTEGER, PRIMARY KEY(id, type))`:                "its primary key is (id, type); want (id)",
		`CREATE TABLE tasks(id TEXT, type TEXT, status TEXT, result TEXT, created_at INTEGER, updated_at INTEGER)`:                                       "its primary key is ()",
		`CREATE TABLE Tasks(id TEXT PRIMARY KEY, type TEXT, status TEXT, result TEXT, created_at INTEGER, updated_at INTEGER) WITHOUT ROWID`:             "WITHOUT ROWID",
		pythonTable[:len(pythonTable)-1] + `, due INTEGER NOT NULL)`:                                                                                     "a column due that must not be NULL",
		pythonTable[:len(pythonTable)-1] + `, attempts INTEGER)`:                                                                                         "a column attempts",
		`CREATE VIEW tasks AS SELECT 1 AS id`:                                                     "it is a view",
		`CREATE VIEW tasks_schema AS SELECT 1 AS version`:                                         "tasks_schema in the database isn't this package's: it is a view",
		`CREATE TABLE task_cache(id)`:                                                             "task_cache in the database",
		pythonTable + `; CREATE TABLE Task_Attempts(id)`:                                          "task_attempts in the database",
		pythonTable + `; CREATE TABLE x(id); CREATE INDEX tasks_created ON x(id)`:                 "tasks_created in the database",
		`CREATE TABLE tasks_schema(version INTEGER NOT NULL); INSERT INTO tasks_schema VALUES(1)`: "there is none",
	} {
		for _, mode := range []string{"delete", "wal"} {
			path := filepath.Join(t.TempDir(), "t.db")
			sqlFile(t, path, "PRAGMA journal_mode="+mode+"; "+sql)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = tasks.Open(t.Context(), path)
			var table *tasks.TableError
			require.ErrorAs(t, err, &table, sql)
			require.ErrorContains(t, err, found)
			require.ErrorContains(t, err, "rename it, or keep")
			require.ErrorContains(t, err, "t.db")
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, before, after, sql)
			require.NoFileExists(t, path+"-wal")
		}
	}
}

// TestForeignTablesAccepted: a file may hold other tables, and the task table other columns.
func TestForeignTablesAccepted(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		pythonTable, pythonTable[:len(pythonTable)-1] + `, remark TEXT, due INTEGER NOT NULL DEFAULT 0)`,
		`CREATE TABLE theirs(id INTEGER PRIMARY KEY)`,
		`CREATE TABLE "Tasks"("ID" TEXT PRIMARY KEY, TYPE TEXT, STATUS TEXT, RESULT, CREATED_AT BIGINT, UPDATED_AT)`,
	} {
		path := filepath.Join(t.TempDir(), "t.db")
		sqlFile(t, path, sql)
		for range 2 {
			st, err := tasks.Open(t.Context(), path)
			require.NoError(t, err, sql)
			_ = st.Create(t.Context(), "a", tasks.Form)
			_, err = st.Claim(t.Context(), tasks.MinLease)
			if err != nil {
				require.ErrorIs(t, err, tasks.ErrNoTask)
			}
			require.NoError(t, st.Close())
		}
	}
}

// TestOpenURI: a URI isn't taken for the name of a file.
func TestOpenURI(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{"file:t.db", "file:t.db?mode=rwc", ":memory:", ""} {
		_, err := tasks.Open(t.Context(), path)
		require.ErrorIs(t, err, tasks.ErrInvalid)
		require.ErrorContains(t, err, "URI")
	}
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, files)
}
