package clients_test

import (
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"
)

func Example_databaseSQL() {
	dir, err := os.MkdirTemp("", "asyncvfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := sql.Open("sqlite3", "file:"+filepath.ToSlash(filepath.Join(dir, "app.db"))+
		"?vfs=async&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	_, err = db.Exec("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
	if err != nil {
		log.Fatal(err)
	}
	_, err = db.Exec("INSERT INTO users (name) VALUES (?), (?)", "Ada", "Grace")
	if err != nil {
		log.Fatal(err)
	}

	rows, err := db.Query("SELECT id, name FROM users ORDER BY id")
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			log.Fatal(err)
		}
		fmt.Println(id, name)
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}

	// At NORMAL a commit returns before it is durable; this waits for it.
	var durable string
	if err := db.QueryRow("PRAGMA async_wait").Scan(&durable); err != nil {
		log.Fatal(err)
	}
	fmt.Println(durable)
	// Output:
	// 1 Ada
	// 2 Grace
	// ok
}

func Example_gorm() {
	dir, err := os.MkdirTemp("", "asyncvfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := gorm.Open(gormlite.Open("file:"+filepath.ToSlash(filepath.Join(dir, "app.db"))+
		"?vfs=async&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)"), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	type User struct {
		ID   uint
		Name string
	}
	if err := db.AutoMigrate(&User{}); err != nil {
		log.Fatal(err)
	}
	if err := db.Create([]User{{Name: "Ada"}, {Name: "Grace"}}).Error; err != nil {
		log.Fatal(err)
	}

	var users []User
	if err := db.Order("id").Find(&users).Error; err != nil {
		log.Fatal(err)
	}
	for _, u := range users {
		fmt.Println(u.ID, u.Name)
	}

	// At NORMAL a commit returns before it is durable; this waits for it.
	var durable string
	if err := db.Raw("PRAGMA async_wait").Scan(&durable).Error; err != nil {
		log.Fatal(err)
	}
	fmt.Println(durable)
	// Output:
	// 1 Ada
	// 2 Grace
	// ok
}

func Example_sqlite3() {
	dir, err := os.MkdirTemp("", "asyncvfs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := sqlite3.Open("file:" + filepath.ToSlash(filepath.Join(dir, "app.db")) +
		"?vfs=async&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	err = db.Exec(`
		CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
		INSERT INTO users (name) VALUES ('Ada'), ('Grace');
	`)
	if err != nil {
		log.Fatal(err)
	}

	stmt, _, err := db.Prepare("SELECT id, name FROM users ORDER BY id")
	if err != nil {
		log.Fatal(err)
	}
	defer stmt.Close()
	for stmt.Step() {
		fmt.Println(stmt.ColumnInt(0), stmt.ColumnText(1))
	}
	if err := stmt.Err(); err != nil {
		log.Fatal(err)
	}

	// At NORMAL a commit returns before it is durable; this waits for it.
	wait, _, err := db.Prepare("PRAGMA async_wait")
	if err != nil {
		log.Fatal(err)
	}
	defer wait.Close()
	for wait.Step() {
		fmt.Println(wait.ColumnText(0))
	}
	if err := wait.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 1 Ada
	// 2 Grace
	// ok
}
