// Program old does one passive checkpoint with an SQLite that has the WAL-reset bug (3.51.1),
// and pauses between its look at the WAL's header and its test for work to do.
// It reads a line from its input to go on, and writes one for each step.
package main

/*
#cgo linux LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup

int registerPaused(void);
void armPause(void);
*/
import "C"

import (
	"database/sql"
	"fmt"
	"log"
	"os"

	_ "github.com/mattn/go-sqlite3"
)

func main() {
	if C.registerPaused() != 0 {
		log.Fatal("can't register the VFS")
	}
	db, err := sql.Open("sqlite3", "file:"+os.Args[1]+"?vfs=paused")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	var version string
	var rows int
	if err := db.QueryRow("SELECT sqlite_version(), count(*) FROM t").Scan(&version, &rows); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready", version)
	var line [1]byte // unbuffered: C reads the next line
	if _, err := os.Stdin.Read(line[:]); err != nil {
		log.Fatal(err)
	}
	C.armPause()
	var busy, frames, done int
	if err := db.QueryRow("PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &frames, &done); err != nil {
		log.Fatal(err)
	}
	fmt.Println("done", busy, frames, done)
	os.Stdin.Read(line[:])
}
