// Taskd serves a table of tasks over HTTP, with a page to look at: see package taskhttp.
//
//	taskd -store tasks.db                 # prints a token of the right admin
//	TASKD_TOKENS=/etc/taskd/tokens.json taskd -listen :8377 -store /var/lib/taskd/tasks.db
//	taskd -demo                           # with workers that process the Go toolchain's source, so that there is something to see
//
// Each flag may be given as an environment variable instead: TASKD_LISTEN for -listen, and so on. A flag is stronger.
// Secrets are in neither: they are in the file that -tokens names, a JSON array such as
//
//	[{"secret": "…", "name": "scanner", "rights": "write", "owner": "scanner", "prefix": "", "expires": "2030-01-01T00:00:00Z"}]
//
// or, for one token of the right admin, in the environment variable TASKD_TOKEN.
//
// It serves /metrics in Prometheus' text format to who has the right admin: how many tasks there are of each type and status, the age
// of the oldest that could run, what workers, leases and the cache have done, and the database's syncs. The names are those of package vfsmetrics,
// whose dashboard and alert rules are for this program, too.
//
// -streams, -clientstreams, -polls and -clientpolls say how many streams of events and long polls there may be at the same time,
// in all and of one client. One more is answered with 503 or 429, and when to try again.
//
// SIGTERM and SIGINT end it: from then on every commit is durable when it is made, what waits is answered, requests and handlers
// that run may end, for the time that -grace says, and the database is closed. A second signal ends it at once.
// It exits with 0 then, with 2 if its configuration isn't right, and with 1 if anything else has failed.
package main

import "github.com/docusnap/asyncvfs/tasks/internal/taskd"

func main() { taskd.Main(nil) }
