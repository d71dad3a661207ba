package postgres_test

import (
	"os"
	"testing"

	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
)

// server is for the tests that don't do it any harm.
var server *pgtest.Server

func TestMain(m *testing.M) {
	if os.Getenv("WORKER_URL") != "" { // a process of TestProcesses
		os.Exit(m.Run())
	}
	os.Exit(pgtest.Main(m, func(s *pgtest.Server) { server = s }))
}
