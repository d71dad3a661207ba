package peers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"maragu.dev/goqite"
)

// goqiteSchema returns the schema that goqite has in its module, for whoever sets it up.
func goqiteSchema(b *testing.B, flavor string) string {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "maragu.dev/goqite").Output()
	require.NoError(b, err)
	schema, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "schema_"+flavor+".sql"))
	require.NoError(b, err)
	return string(schema)
}

// goqiteLife sends a message, receives one, and deletes it in the transaction that stores its result.
// Each of these is made by try, which may make it again.
func goqiteLife(db *sql.DB, q *goqite.Queue, insert string, try func(func() error) error) func(id string) error {
	ctx := context.Background()
	return func(id string) error {
		if err := try(func() error { return q.Send(ctx, goqite.Message{Body: []byte(id)}) }); err != nil {
			return err
		}
		var m *goqite.Message
		if err := try(func() (err error) { m, err = q.Receive(ctx); return err }); err != nil {
			return err
		}
		if m == nil {
			return fmt.Errorf("no message for %s", id)
		}
		return try(func() error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, insert, string(m.Body), text); err != nil {
				return err
			}
			if err := q.DeleteTx(ctx, tx, m.ID); err != nil {
				return err
			}
			return tx.Commit()
		})
	}
}

// goqitePG is goqite on PostgreSQL, by calls, with a table of results beside it as on SQLite: see goqiteQueue.
// It makes transactions that are serializable, and leaves it to its caller to make one again that the server couldn't.
func goqitePG(b *testing.B, s *pgtest.Server, _ int) peer {
	db, err := sql.Open("pgx", s.NewURL(b))
	require.NoError(b, err)
	db.SetMaxOpenConns(32)
	db.SetMaxIdleConns(32)
	_, err = db.Exec(goqiteSchema(b, "postgres"))
	require.NoError(b, err)
	_, err = db.Exec("CREATE TABLE results(id text PRIMARY KEY, result text NOT NULL)")
	require.NoError(b, err)
	q := goqite.New(goqite.NewOpts{DB: db, Name: "tasks", Timeout: time.Minute, SQLFlavor: goqite.SQLFlavorPostgreSQL})
	again := func(f func() error) error {
		for {
			err := f()
			var e *pgconn.PgError
			if !errors.As(err, &e) || e.Code != "40001" && e.Code != "40P01" {
				return err
			}
		}
	}
	return peer{
		life: goqiteLife(db, q, "INSERT INTO results VALUES($1, $2)", again),
		rest: func() {},
		check: func(n int) {
			defer db.Close()
			count(b, db, n, "SELECT count(*) FROM results WHERE result=$1", text)
			count(b, db, 0, "SELECT count(*) FROM goqite")
		},
	}
}
