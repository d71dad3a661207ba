// Taskd serves a table of tasks over HTTP, with a page to look at, from PostgreSQL or a file: see package taskhttp.
// It is the program tasks/taskd of the module it belongs to, whose flags and variables it has, and takes a URL for -store:
//
//	taskd -store 'postgres://service@db1,db2/app?target_session_attrs=read-write'
//
// A password is better in PGPASSWORD or a file, as for other programs of PostgreSQL: a command line can be read by others.
package main

import (
	"github.com/docusnap/asyncvfs/tasks/internal/taskd"
	"github.com/docusnap/asyncvfs/tasks/postgres"
)

// stores are what it opens by a URL.
var stores = taskd.Openers{"postgres": postgres.Open, "postgresql": postgres.Open}

func main() { taskd.Main(stores) }
