// Program old does one passive checkpoint with an SQLite that has the WAL-reset bug (3.51.1),
// and pauses between its look at the WAL's header and its test for work to do.
// It reads a line from its input to go on, and writes one for each step.
//
//	old PATH
//	old PATH PAUSE AUTOCHECKPOINT MODE    # goes on until its input ends
package main

/*
#cgo linux LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup

int registerPaused(void);
void armPause(void);
void delayPauses(int us);
*/
import "C"

import (
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"sync/atomic"
	"time"

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
	if len(os.Args) > 2 {
		if err := goOn(db, os.Args[2], os.Args[3], os.Args[4]); err != nil {
			log.Fatal(err)
		}
		return
	}
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

// goOn commits and checkpoints in turns until the input ends, and says how many rows there are. Each checkpoint that finds the header changed pauses.
func goOn(db *sql.DB, pause, autoCheckpoint, mode string) error {
	d, err := time.ParseDuration(pause)
	if err != nil {
		return err
	}
	if _, err := db.Exec("PRAGMA busy_timeout=10000; PRAGMA synchronous=normal; PRAGMA wal_autocheckpoint=" + autoCheckpoint); err != nil {
		return err
	}
	C.delayPauses(C.int(d.Microseconds()))
	var ended atomic.Bool
	go func() { io.Copy(io.Discard, os.Stdin); ended.Store(true) }()
	rows := 0
	for i := 0; !ended.Load(); i++ {
		do := "PRAGMA wal_checkpoint(" + mode + ")"
		if i%5 == 0 {
			do = "INSERT INTO old VALUES(randomblob(500))"
			rows++
		}
		if _, err := db.Exec(do); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Println("rows", rows)
	return db.Close()
}
