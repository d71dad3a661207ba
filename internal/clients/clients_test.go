package clients_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

// Enough writers to have commits wait for each other, and few enough for a slow disk.
const (
	workers = 8
	rounds  = 10
)

var errRefused = errors.New("refused by the application")

// eachLevel runs a test on a new database, once for each level.
func eachLevel(t *testing.T, test func(t *testing.T, path, level string)) {
	for _, level := range []string{"full", "normal"} {
		t.Run(level, func(t *testing.T) {
			test(t, filepath.Join(t.TempDir(), "app.db"), level)
		})
	}
}

// dsn is the DSN that the VFS's documentation shows, with foreign keys on.
func dsn(path, level string) string {
	return "file:" + filepath.ToSlash(path) + "?vfs=async&_pragma=busy_timeout(5000)" +
		"&_pragma=journal_mode(wal)&_pragma=synchronous(" + level + ")&_pragma=foreign_keys(on)"
}

// stock is for go-sqlite3 without this VFS.
func stock(path string) string { return "file:" + filepath.ToSlash(path) }

// commits returns how many commits went through the VFS so far.
// It fails the test if the database isn't open through the VFS.
func commits(t *testing.T, path string) int {
	t.Helper()
	s, err := vfs.Stats(path)
	require.NoError(t, err)
	return int(s.Commits)
}

// checkDurable checks that commits are durable when the level says so.
// It comes after the last commit, before close; wait is what PRAGMA async_wait returns.
func checkDurable(t *testing.T, path, level string, wait func() string) {
	t.Helper()
	s, err := vfs.Stats(path)
	require.NoError(t, err)
	require.NotZero(t, s.Commits)
	if level == "full" {
		require.Equal(t, s.Commits, s.DurableCommits)
	}

	require.Equal(t, "ok", wait())
	s, err = vfs.Stats(path)
	require.NoError(t, err)
	require.Equal(t, s.Commits, s.DurableCommits)
	require.Zero(t, s.PendingBytes)
	require.Empty(t, s.Failed)
	// The time for which a commit was acknowledged and not durable.
	if level == "full" {
		require.Zero(t, s.MaxWindowMicros)
	} else {
		require.NotZero(t, s.MaxWindowMicros)
	}
}

// reopen opens a database with the stock VFS, after all its connections were closed:
// what this VFS leaves behind is a plain SQLite database.
func reopen(t *testing.T, path string) *sqlite3.Conn {
	t.Helper()
	_, err := vfs.Stats(path)
	require.ErrorIs(t, err, vfs.ErrNotOpen, "a connection is left open")
	require.NoFileExists(t, path+"-wal")

	c, err := sqlite3.Open(stock(path))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	// Only this VFS knows the PRAGMA; SQLite ignores those that it doesn't know.
	require.Empty(t, query(t, c, "PRAGMA async_stats"))
	require.Equal(t, []string{"ok"}, query(t, c, "PRAGMA integrity_check"))
	require.Empty(t, query(t, c, "PRAGMA foreign_key_check"))
	require.Equal(t, []string{"wal"}, query(t, c, "PRAGMA journal_mode"))
	return c
}

// open opens a connection with go-sqlite3's own API.
func open(t *testing.T, dsn string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open(dsn)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// query returns the first column of all rows.
func query(t *testing.T, c *sqlite3.Conn, sql string) (all []string) {
	t.Helper()
	s, _, err := c.Prepare(sql)
	require.NoError(t, err)
	defer s.Close()
	for s.Step() {
		all = append(all, s.ColumnText(0))
	}
	require.NoError(t, s.Err())
	return all
}

// openSQL opens a pool with database/sql.
func openSQL(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// scan returns the only value of the only row.
func scan[T any](t *testing.T, db interface {
	QueryRow(string, ...any) *sql.Row
}, query string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRow(query, args...).Scan(&v))
	return v
}

// openGORM opens a pool with GORM.
func openGORM(t *testing.T, dsn string) (*gorm.DB, *sql.DB) {
	t.Helper()
	db, err := gorm.Open(gormlite.Open(dsn), &gorm.Config{
		Logger:         logger.Discard, // some statements are meant to fail
		TranslateError: true,
	})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	t.Cleanup(func() { pool.Close() })
	return db, pool
}

// random returns bytes that no page of SQLite's own looks like.
func random(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// TestStock shows that the other tests can tell whether the VFS was used.
func TestStock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	c := open(t, stock(path)+"?_pragma=journal_mode(wal)")
	require.NoError(t, c.Exec("CREATE TABLE t(x)"))
	_, err := vfs.Stats(path)
	require.ErrorIs(t, err, vfs.ErrNotOpen)
}

// TestBadParameter shows that a mistake in the DSN reaches the application in each client.
func TestBadParameter(t *testing.T) {
	for client, connect := range map[string]func(dsn string) error{
		"sql": func(dsn string) error {
			return openSQL(t, dsn).Ping()
		},
		"gorm": func(dsn string) error {
			_, err := gorm.Open(gormlite.Open(dsn), &gorm.Config{Logger: logger.Discard})
			return err
		},
		"sqlite3": func(dsn string) error {
			_, err := sqlite3.Open(dsn)
			return err
		},
	} {
		t.Run(client, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.db")
			err := connect(dsn(path, "normal") + "&max_delay=1h")
			require.ErrorIs(t, err, sqlite3.CANTOPEN)
			require.ErrorContains(t, err, "max_delay")
			require.NoFileExists(t, path)
		})
	}
}

func TestSQLTransactions(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db := openSQL(t, dsn(path, level))
		_, err := db.Exec("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
		require.NoError(t, err)
		start := commits(t, path)

		// Commit: one for both rows.
		tx, err := db.Begin()
		require.NoError(t, err)
		for _, name := range []string{"Ada", "Grace"} {
			_, err := tx.Exec("INSERT INTO users(name) VALUES(?)", name)
			require.NoError(t, err)
		}
		require.Zero(t, scan[int](t, db, "SELECT count(*) FROM users"), "others see it before the commit")
		require.NoError(t, tx.Commit())
		require.Equal(t, 2, scan[int](t, db, "SELECT count(*) FROM users"))
		require.Equal(t, start+1, commits(t, path))

		// Rollback.
		tx, err = db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec("DELETE FROM users")
		require.NoError(t, err)
		require.Zero(t, scan[int](t, tx, "SELECT count(*) FROM users"))
		require.NoError(t, tx.Rollback())
		require.Equal(t, 2, scan[int](t, db, "SELECT count(*) FROM users"))

		// A statement that fails, and a transaction that may not write.
		_, err = db.Exec("INSERT INTO users(name) VALUES('Edith'), ('Ada')")
		require.ErrorIs(t, err, sqlite3.CONSTRAINT_UNIQUE)
		tx, err = db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
		require.NoError(t, err)
		_, err = tx.Exec("DELETE FROM users")
		require.ErrorIs(t, err, sqlite3.READONLY)
		require.NoError(t, tx.Rollback())
		require.Equal(t, start+1, commits(t, path))

		// A reader keeps its snapshot.
		tx, err = db.Begin()
		require.NoError(t, err)
		require.Equal(t, 2, scan[int](t, tx, "SELECT count(*) FROM users"))
		res, err := db.Exec("INSERT INTO users(name) VALUES('Edith')")
		require.NoError(t, err)
		id, err := res.LastInsertId()
		require.NoError(t, err)
		require.EqualValues(t, 3, id)
		require.Equal(t, 2, scan[int](t, tx, "SELECT count(*) FROM users"))
		require.NoError(t, tx.Commit())
		require.Equal(t, 3, scan[int](t, db, "SELECT count(*) FROM users"))
		require.Equal(t, start+2, commits(t, path))

		checkDurable(t, path, level, func() string { return scan[string](t, db, "PRAGMA async_wait") })
		require.NoError(t, db.Close())
		require.Equal(t, []string{"Ada", "Grace", "Edith"}, query(t, reopen(t, path), "SELECT name FROM users ORDER BY id"))
	})
}

func TestSQLSavepoints(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db := openSQL(t, dsn(path, level))
		_, err := db.Exec("CREATE TABLE t(x)")
		require.NoError(t, err)
		start := commits(t, path)

		tx, err := db.Begin()
		require.NoError(t, err)
		insert, err := tx.Prepare("INSERT INTO t VALUES(?)")
		require.NoError(t, err)
		add := func(x int) {
			_, err := insert.Exec(x)
			require.NoError(t, err)
		}
		add(1)
		undone := driver.Savepoint(tx)
		add(2)
		require.NoError(t, undone.Rollback())
		add(3)
		// A savepoint is kept or undone by the error that Release is given.
		nested := func(x int, result error) (err error) {
			savepoint := driver.Savepoint(tx)
			defer savepoint.Release(&err)
			add(x)
			return result
		}
		require.NoError(t, nested(4, nil))
		require.ErrorIs(t, nested(5, errRefused), errRefused)
		require.NoError(t, insert.Close())
		require.NoError(t, tx.Commit())
		// A savepoint in a transaction is no commit.
		require.Equal(t, start+1, commits(t, path))

		checkDurable(t, path, level, func() string { return scan[string](t, db, "PRAGMA async_wait") })
		require.NoError(t, db.Close())
		require.Equal(t, []string{"1", "3", "4"}, query(t, reopen(t, path), "SELECT x FROM t ORDER BY x"))
	})
}

func TestSQLConcurrent(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db := openSQL(t, dsn(path, level))
		_, err := db.Exec("CREATE TABLE t(worker, round, payload BLOB, PRIMARY KEY(worker, round))")
		require.NoError(t, err)
		// Shared by the goroutines, as applications do: database/sql prepares it on each connection.
		insert, err := db.Prepare("INSERT INTO t VALUES(:worker, :round, :payload)")
		require.NoError(t, err)
		start := commits(t, path)
		payload := random(10_000)

		work := func(worker int, all *sync.WaitGroup) error {
			// Has each worker use a connection of its own: a transaction holds it, and no lock yet.
			tx, err := db.Begin()
			all.Done()
			if err != nil {
				return err
			}
			all.Wait()
			for round := range rounds {
				if round > 0 {
					tx, err = db.Begin()
					if err != nil {
						return err
					}
				}
				_, err = tx.Stmt(insert).Exec(sql.Named("worker", worker), sql.Named("round", round), sql.Named("payload", payload))
				if err != nil {
					return errors.Join(err, tx.Rollback())
				}
				if round%2 == 0 {
					err = tx.Commit()
				} else {
					err = tx.Rollback()
				}
				if err != nil {
					return err
				}
				// Not in a transaction, while others write.
				var n int
				err = db.QueryRow("SELECT count(*) FROM t WHERE worker = ?", worker).Scan(&n)
				if err != nil {
					return err
				}
				if n != round/2+1 {
					return fmt.Errorf("worker %d sees %d of its rows after round %d", worker, n, round)
				}
			}
			return nil
		}
		var all sync.WaitGroup
		all.Add(workers)
		errs := make(chan error, workers)
		for worker := range workers {
			go func() { errs <- work(worker, &all) }()
		}
		all.Wait()
		for range workers {
			require.NoError(t, <-errs)
		}
		require.Equal(t, start+workers*rounds/2, commits(t, path))

		require.NoError(t, insert.Close())
		checkDurable(t, path, level, func() string { return scan[string](t, db, "PRAGMA async_wait") })
		require.NoError(t, db.Close())
		c := reopen(t, path)
		require.Equal(t, []string{fmt.Sprint(workers * rounds / 2)}, query(t, c, "SELECT count(*) FROM t WHERE round % 2 = 0"))
		require.Equal(t, []string{string(payload)}, query(t, c, "SELECT DISTINCT payload FROM t"))
	})
}

func TestSQLPreparedAndBlobs(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db := openSQL(t, dsn(path, level))
		_, err := db.Exec("CREATE TABLE files(name TEXT PRIMARY KEY, data BLOB)")
		require.NoError(t, err)
		insert, err := db.Prepare("INSERT INTO files VALUES(?, ?)")
		require.NoError(t, err)
		get, err := db.Prepare("SELECT data FROM files WHERE name = ?")
		require.NoError(t, err)
		start := commits(t, path)

		// From none to more than a WAL that SQLite checkpoints, of 1000 pages.
		all := random(5 << 20)
		sizes := []int{0, 1, 4096, 100_000, len(all)}
		for _, n := range sizes {
			_, err := insert.Exec(fmt.Sprint(n), all[:n])
			require.NoError(t, err)
		}
		require.Equal(t, start+len(sizes), commits(t, path))
		for _, n := range sizes {
			var data []byte
			require.NoError(t, get.QueryRow(fmt.Sprint(n)).Scan(&data))
			require.True(t, bytes.Equal(all[:n], data), "%d bytes differ", n)
		}
		var data []byte
		require.ErrorIs(t, get.QueryRow("none").Scan(&data), sql.ErrNoRows)
		s, err := vfs.Stats(path)
		require.NoError(t, err)
		require.NotZero(t, s.Checkpoints)

		require.NoError(t, insert.Close())
		require.NoError(t, get.Close())
		checkDurable(t, path, level, func() string { return scan[string](t, db, "PRAGMA async_wait") })
		require.NoError(t, db.Close())
		last := query(t, reopen(t, path), "SELECT data FROM files ORDER BY length(data) DESC LIMIT 1")
		require.Len(t, last, 1)
		require.True(t, last[0] == string(all), "the largest differs")
	})
}

type user struct {
	ID     uint
	Name   string `gorm:"uniqueIndex"`
	Orders []order
	Groups []group `gorm:"many2many:memberships"`
}

type order struct {
	ID     uint
	UserID uint
	User   *user
	Amount int
	gorm.DeletedAt
}

type group struct {
	ID   uint
	Name string
}

// oldUser is the model before the application was updated.
type oldUser struct {
	ID   uint
	Name string
}

func (oldUser) TableName() string { return "users" }

// gormWait is for checkDurable.
func gormWait(t *testing.T, db *gorm.DB) func() string {
	return func() (ok string) {
		require.NoError(t, db.Raw("PRAGMA async_wait").Scan(&ok).Error)
		return ok
	}
}

func TestGORMMigrations(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db, pool := openGORM(t, dsn(path, level))
		require.NoError(t, db.AutoMigrate(&oldUser{}))
		require.True(t, db.Migrator().HasTable("users"))
		require.False(t, db.Migrator().HasIndex(&user{}, "Name"))
		require.NoError(t, db.Create(&oldUser{Name: "Ada"}).Error)
		require.NoError(t, pool.Close())

		// The application is updated, and finds the database of the old one.
		db, pool = openGORM(t, dsn(path, level))
		require.Zero(t, commits(t, path))
		require.NoError(t, db.AutoMigrate(&user{}, &order{}, &group{}))
		migrated := commits(t, path)
		require.NotZero(t, migrated)
		require.True(t, db.Migrator().HasIndex(&user{}, "Name"))
		require.True(t, db.Migrator().HasTable("memberships"))

		// To add a column that is NOT NULL and to drop one, gormlite alters the table or makes it anew.
		type user struct {
			ID    uint
			Name  string
			Email string `gorm:"not null;default:none"`
		}
		require.NoError(t, db.AutoMigrate(&user{}))
		require.True(t, db.Migrator().HasColumn(&user{}, "Email"))
		require.NoError(t, db.Migrator().DropColumn(&order{}, "Amount"))
		require.False(t, db.Migrator().HasColumn(&order{}, "Amount"))
		require.Greater(t, commits(t, path), migrated)
		var u user
		require.NoError(t, db.First(&u).Error)
		require.Equal(t, user{1, "Ada", "none"}, u)

		checkDurable(t, path, level, gormWait(t, db))
		require.NoError(t, pool.Close())
		c := reopen(t, path)
		require.Equal(t, []string{"Ada none"}, query(t, c, "SELECT name || ' ' || email FROM users"))
		require.Equal(t, []string{"groups", "memberships", "orders", "users"},
			query(t, c, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"))
	})
}

func TestGORMTransactions(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db, pool := openGORM(t, dsn(path, level))
		require.NoError(t, db.AutoMigrate(&user{}, &order{}, &group{}))
		start := commits(t, path)

		// One commit, less what the inner transaction, which is a savepoint, takes back.
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Create(&user{Name: "Ada"}).Error; err != nil {
				return err
			}
			err := tx.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&user{Name: "undone"}).Error, errRefused)
			})
			if !errors.Is(err, errRefused) {
				return fmt.Errorf("inner transaction: %w", err)
			}
			return tx.Create(&user{Name: "Grace"}).Error
		}))
		require.Equal(t, start+1, commits(t, path))

		require.ErrorIs(t, db.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Where("1 = 1").Delete(&user{}).Error, errRefused)
		}), errRefused)

		// By hand.
		tx := db.Begin()
		require.NoError(t, tx.Create(&user{Name: "undone"}).Error)
		require.NoError(t, tx.Rollback().Error)
		tx = db.Begin()
		require.NoError(t, tx.Create(&user{Name: "Edith"}).Error)
		require.NoError(t, tx.SavePoint("sp").Error)
		require.NoError(t, tx.Create(&user{Name: "undone"}).Error)
		require.NoError(t, tx.RollbackTo("sp").Error)
		require.NoError(t, tx.Commit().Error)
		require.Equal(t, start+2, commits(t, path))

		// Errors reach GORM as they would without the VFS.
		require.ErrorIs(t, db.Create(&user{Name: "Ada"}).Error, gorm.ErrDuplicatedKey)
		require.ErrorIs(t, db.Create(&order{UserID: 99}).Error, gorm.ErrForeignKeyViolated)
		require.Equal(t, start+2, commits(t, path))

		checkDurable(t, path, level, gormWait(t, db))
		require.NoError(t, pool.Close())
		require.Equal(t, []string{"Ada", "Grace", "Edith"}, query(t, reopen(t, path), "SELECT name FROM users ORDER BY id"))
	})
}

func TestGORMAssociations(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db, pool := openGORM(t, dsn(path, level))
		// As many applications do: GORM keeps each statement prepared.
		db = db.Session(&gorm.Session{PrepareStmt: true})
		require.NoError(t, db.AutoMigrate(&user{}, &order{}, &group{}))
		start := commits(t, path)

		// A commit for a user and all that belongs to it, in four tables.
		ada := user{Name: "Ada", Orders: []order{{Amount: 10}, {Amount: 20}}, Groups: []group{{Name: "admins"}, {Name: "staff"}}}
		require.NoError(t, db.Create(&ada).Error)
		require.Equal(t, start+1, commits(t, path))
		admins := ada.Groups[0]
		grace := user{Name: "Grace", Orders: []order{{Amount: 5}}}
		require.NoError(t, db.Create(&grace).Error)

		require.NoError(t, db.Model(&grace).Association("Orders").Append(&order{Amount: 7}))
		require.NoError(t, db.Model(&grace).Association("Groups").Append(&admins))
		require.NoError(t, db.Model(&ada).Association("Groups").Delete(&admins))
		require.EqualValues(t, 2, db.Model(&grace).Association("Orders").Count())

		var batch []user
		for i := range 250 {
			batch = append(batch, user{Name: fmt.Sprintf("user%03d", i)})
		}
		require.NoError(t, db.CreateInBatches(batch, 100).Error)
		// An insert that turns into an update, an update of many rows, and a delete that only marks.
		require.NoError(t, db.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"name"}),
		}).Create(&group{ID: admins.ID, Name: "admins only"}).Error)
		updated := db.Model(&order{}).Where("amount < ?", 10).Update("amount", gorm.Expr("amount * 10"))
		require.NoError(t, updated.Error)
		require.EqualValues(t, 2, updated.RowsAffected)
		require.NoError(t, db.Delete(&order{}, "amount = ?", 20).Error)

		var users []user
		require.NoError(t, db.Preload("Orders", func(db *gorm.DB) *gorm.DB { return db.Order("amount") }).
			Preload("Groups").Order("id").Limit(2).Find(&users).Error)
		require.Len(t, users, 2)
		require.Equal(t, "Ada", users[0].Name)
		require.Len(t, users[0].Orders, 1, "the deleted one is found")
		require.Equal(t, 10, users[0].Orders[0].Amount)
		require.Equal(t, []group{{2, "staff"}}, users[0].Groups)
		require.Len(t, users[1].Orders, 2)
		require.Equal(t, 50, users[1].Orders[0].Amount)
		require.Equal(t, 70, users[1].Orders[1].Amount)
		require.Equal(t, []group{{1, "admins only"}}, users[1].Groups)

		var o order
		require.NoError(t, db.Joins("User").Where("amount = ?", 70).First(&o).Error)
		require.NotNil(t, o.User)
		require.Equal(t, "Grace", o.User.Name)
		var sums []struct {
			Name string
			Sum  int
		}
		require.NoError(t, db.Model(&order{}).Select("users.name, sum(amount) AS sum").
			Joins("JOIN users ON users.id = orders.user_id").Group("users.name").Order("sum").Scan(&sums).Error)
		require.Len(t, sums, 2)
		require.Equal(t, 10, sums[0].Sum)
		require.Equal(t, 120, sums[1].Sum)
		require.ErrorIs(t, db.First(&user{}, "name = ?", "nobody").Error, gorm.ErrRecordNotFound)

		checkDurable(t, path, level, gormWait(t, db))
		require.NoError(t, pool.Close())
		c := reopen(t, path)
		require.Equal(t, []string{"252"}, query(t, c, "SELECT count(*) FROM users"))
		require.Equal(t, []string{"10", "20", "50", "70"}, query(t, c, "SELECT amount FROM orders ORDER BY amount"))
		require.Equal(t, []string{"1 2", "2 1"},
			query(t, c, "SELECT user_id || ' ' || group_id FROM memberships ORDER BY user_id"))
	})
}

func TestGORMConcurrent(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		// What reads before it writes has to take the write lock at BEGIN, with any VFS.
		db, pool := openGORM(t, dsn(path, level)+"&_txlock=immediate")
		require.NoError(t, db.AutoMigrate(&user{}, &order{}, &group{}))
		require.NoError(t, db.Create(&user{Name: "Ada", Orders: []order{{Amount: 0}}}).Error)
		start := commits(t, path)

		work := func(worker int) error {
			for round := range rounds {
				err := db.Transaction(func(tx *gorm.DB) error {
					var o order
					if err := tx.First(&o).Error; err != nil {
						return err
					}
					// An update would be lost if two transactions saw the same amount.
					if err := tx.Model(&o).Update("amount", o.Amount+1).Error; err != nil {
						return err
					}
					return tx.Create(&user{Name: fmt.Sprintf("user %d %d", worker, round)}).Error
				})
				if err != nil {
					return err
				}
			}
			return nil
		}
		errs := make(chan error, workers)
		for worker := range workers {
			go func() { errs <- work(worker) }()
		}
		for range workers {
			require.NoError(t, <-errs)
		}
		require.Equal(t, start+workers*rounds, commits(t, path))

		checkDurable(t, path, level, gormWait(t, db))
		require.NoError(t, pool.Close())
		c := reopen(t, path)
		want := []string{fmt.Sprint(workers * rounds)}
		require.Equal(t, want, query(t, c, "SELECT amount FROM orders"))
		require.Equal(t, want, query(t, c, "SELECT count(*) FROM users WHERE name LIKE 'user %'"))
	})
}

// wait is for checkDurable.
func wait(t *testing.T, c *sqlite3.Conn) func() string {
	return func() string {
		all := query(t, c, "PRAGMA async_wait")
		require.Len(t, all, 1)
		return all[0]
	}
}

func TestSQLite3Transactions(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		c := open(t, dsn(path, level))
		other := open(t, dsn(path, level))
		require.NoError(t, c.Exec("CREATE TABLE t(x)"))
		start := commits(t, path)

		insert, _, err := c.Prepare("INSERT INTO t VALUES(?)")
		require.NoError(t, err)
		defer insert.Close()
		add := func(x int) error {
			return errors.Join(insert.BindInt(1, x), insert.Exec())
		}
		// The statement stays prepared through all of it.
		transact := func(result error, xs ...int) (err error) {
			tx, err := c.BeginImmediate()
			if err != nil {
				return err
			}
			defer tx.End(&err)
			for _, x := range xs {
				if err := add(x); err != nil {
					return err
				}
			}
			return result
		}
		require.NoError(t, transact(nil, 1, 2))
		require.ErrorIs(t, transact(errRefused, 3, 4), errRefused)
		require.Equal(t, start+1, commits(t, path))
		require.Equal(t, []string{"1", "2"}, query(t, other, "SELECT x FROM t"))

		// Savepoints: one within a transaction, and one that is the transaction.
		require.NoError(t, func() (err error) {
			outer := c.Savepoint()
			defer outer.Release(&err)
			if err := add(5); err != nil {
				return err
			}
			inner := c.Savepoint()
			if err := add(6); err != nil {
				return err
			}
			if err := inner.Rollback(); err != nil {
				return err
			}
			return add(7)
		}())
		require.Equal(t, start+2, commits(t, path))
		require.Equal(t, []string{"1", "2", "5", "7"}, query(t, other, "SELECT x FROM t"))

		// The application can still veto a commit.
		c.CommitHook(func() bool { return false })
		require.ErrorIs(t, add(8), sqlite3.CONSTRAINT_COMMITHOOK)
		c.CommitHook(nil)
		require.Equal(t, start+2, commits(t, path))

		require.NoError(t, insert.Close())
		checkDurable(t, path, level, wait(t, other))
		require.NoError(t, other.Close())
		require.NoError(t, c.Close())
		require.Equal(t, []string{"1", "2", "5", "7"}, query(t, reopen(t, path), "SELECT x FROM t"))
	})
}

func TestSQLite3Blobs(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		c := open(t, dsn(path, level))
		require.NoError(t, c.Exec("CREATE TABLE files(data BLOB)"))
		data := random(1 << 20)
		require.NoError(t, c.Exec(fmt.Sprintf("INSERT INTO files VALUES(zeroblob(%d))", len(data))))
		start := commits(t, path)

		blob, err := c.OpenBlob("main", "files", "data", c.LastInsertRowID(), true)
		require.NoError(t, err)
		defer blob.Close()
		n, err := io.Copy(blob, bytes.NewReader(data))
		require.NoError(t, err)
		require.EqualValues(t, len(data), n)
		// The transaction that OpenBlob began ends here.
		require.NoError(t, blob.Close())
		require.Equal(t, start+1, commits(t, path))

		blob, err = c.OpenBlob("main", "files", "data", 1, false)
		require.NoError(t, err)
		defer blob.Close()
		_, err = blob.Seek(-1000, io.SeekEnd)
		require.NoError(t, err)
		tail, err := io.ReadAll(blob)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[len(data)-1000:], tail), "the tail differs")
		require.NoError(t, blob.Close())

		checkDurable(t, path, level, wait(t, c))
		require.NoError(t, c.Close())
		all := query(t, reopen(t, path), "SELECT data FROM files")
		require.Len(t, all, 1)
		require.True(t, all[0] == string(data), "the blob differs")
	})
}

func TestSQLite3Backup(t *testing.T) {
	const fill = `
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 500)
		INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n`
	eachLevel(t, func(t *testing.T, path, level string) {
		dir := filepath.Dir(path)
		c := open(t, dsn(path, level))
		require.NoError(t, c.Exec("CREATE TABLE t(i INTEGER PRIMARY KEY, x)"))
		require.NoError(t, c.Exec(fill))

		// What is backed up is still in the WAL. To the stock VFS, and to this one.
		plain, async := filepath.Join(dir, "plain.db"), filepath.Join(dir, "async.db")
		require.NoError(t, c.Backup("main", stock(plain)))
		require.NoError(t, c.Backup("main", dsn(async, level)))

		// Step by step: the backup takes over what the connection writes meanwhile.
		steps := filepath.Join(dir, "steps.db")
		b, err := c.BackupInit("main", dsn(steps, level))
		require.NoError(t, err)
		defer b.Close()
		done, err := b.Step(5)
		require.NoError(t, err)
		require.False(t, done)
		require.Equal(t, b.PageCount()-5, b.Remaining())
		require.NoError(t, c.Exec("UPDATE t SET x = 'late' WHERE i IN (1, 500)"))
		done, err = b.Step(-1)
		require.NoError(t, err)
		require.True(t, done)
		s, err := vfs.Stats(steps)
		require.NoError(t, err, "the backup isn't written through the VFS")
		require.NotZero(t, s.Commits)
		require.NoError(t, b.Close())
		for path, late := range map[string]string{plain: "0", async: "0", steps: "2"} {
			c := reopen(t, path)
			require.Equal(t, []string{"500"}, query(t, c, "SELECT count(*) FROM t"), path)
			require.Equal(t, []string{late}, query(t, c, "SELECT count(*) FROM t WHERE x = 'late'"), path)
		}

		// Restore over a database that is open, and that another connection reads.
		start := commits(t, path)
		other := open(t, dsn(path, level))
		require.NoError(t, c.Exec("DELETE FROM t"))
		require.Equal(t, []string{"0"}, query(t, other, "SELECT count(*) FROM t"))
		require.NoError(t, c.Restore("main", stock(plain)))
		require.Equal(t, []string{"500"}, query(t, other, "SELECT count(*) FROM t WHERE x <> 'late'"))
		require.Equal(t, start+2, commits(t, path))
		require.NoError(t, c.Restore("main", dsn(steps, level)))
		require.Equal(t, []string{"2"}, query(t, other, "SELECT count(*) FROM t WHERE x = 'late'"))
		require.Equal(t, start+3, commits(t, path))

		checkDurable(t, path, level, wait(t, other))
		require.NoError(t, other.Close())
		require.NoError(t, c.Close())
		c = reopen(t, path)
		require.Equal(t, []string{"500"}, query(t, c, "SELECT count(*) FROM t"))
		require.Equal(t, []string{"2"}, query(t, c, "SELECT count(*) FROM t WHERE x = 'late'"))
	})
}

func TestSQLite3Concurrent(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		c := open(t, dsn(path, level))
		require.NoError(t, c.Exec("CREATE TABLE t(worker, round, PRIMARY KEY(worker, round))"))
		start := commits(t, path)

		// A connection for each goroutine, opened and closed while others write.
		work := func(worker int) (err error) {
			c, err := sqlite3.Open(dsn(path, level))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			insert, _, err := c.Prepare("INSERT INTO t VALUES(?, ?)")
			if err != nil {
				return err
			}
			defer insert.Close()
			for round := range rounds {
				err := errors.Join(insert.BindInt(1, worker), insert.BindInt(2, round), insert.Exec())
				if err != nil {
					return err
				}
			}
			return nil
		}
		errs := make(chan error, workers)
		for worker := range workers {
			go func() { errs <- work(worker) }()
		}
		for range workers {
			require.NoError(t, <-errs)
		}
		require.Equal(t, start+workers*rounds, commits(t, path))
		require.Equal(t, []string{fmt.Sprint(workers * rounds)}, query(t, c, "SELECT count(*) FROM t"))

		// Maintenance: a checkpoint that empties the WAL, and a new database file in place of the old.
		_, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		require.NoError(t, err)
		s, err := vfs.Stats(path)
		require.NoError(t, err)
		require.NotZero(t, s.Checkpoints)
		require.Zero(t, s.WALBytes)
		require.NoError(t, c.Exec("DELETE FROM t WHERE round > 0; VACUUM"))

		checkDurable(t, path, level, wait(t, c))
		require.NoError(t, c.Close())
		require.Equal(t, []string{fmt.Sprint(workers)}, query(t, reopen(t, path), "SELECT count(*) FROM t"))
	})
}
