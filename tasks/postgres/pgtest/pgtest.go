// Package pgtest starts PostgreSQL servers for tests.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrMissing is returned where PostgreSQL isn't installed.
var ErrMissing = errors.New("PostgreSQL's programs aren't found: install Debian's package postgresql, " +
	"or set PGTEST_BIN to the folder that has initdb and postgres (15 or newer)")

// Bin returns the folder with PostgreSQL's programs: that of PGTEST_BIN, of PATH, or the newest one of /usr/lib/postgresql.
func Bin() (string, error) {
	if dir := os.Getenv("PGTEST_BIN"); dir != "" {
		return dir, nil
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		// It may be a link to where all of them are.
		if p, err = filepath.EvalSymlinks(p); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(p), "pg_basebackup")); err == nil {
				return filepath.Dir(p), nil
			}
		}
	}
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", ErrMissing
}

// Server is a PostgreSQL server in a temporary folder. It is reached by a socket in that folder, and on a port of loopback.
type Server struct {
	Dir  string // has the data, the socket and the log
	Port int
	bin  string
	cmd  *exec.Cmd
	done chan struct{}
	lock *os.File // of the folder, as long as this process lives
	n    atomic.Int64
}

// Start makes a cluster and starts its server. Settings are lines of postgresql.conf.
// The server doesn't run as root, who may not run one: if root runs the test, the user postgres does, or nobody.
func Start(settings ...string) (*Server, error) {
	s, err := newServer()
	if err != nil {
		return nil, err
	}
	err = s.run("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if err == nil {
		err = s.begin(settings)
	}
	if err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

// Standby makes a copy of the server that follows it by streaming replication, with that name for synchronous_standby_names.
func (s *Server) Standby(name string, settings ...string) (*Server, error) {
	standby, err := newServer()
	if err != nil {
		return nil, err
	}
	err = standby.run("pg_basebackup", "-D", standby.data(), "-h", s.Dir, "-p", strconv.Itoa(s.Port), "-U", "postgres", "-X", "stream", "-R",
		"--no-sync", "-c", "fast")
	if err == nil {
		conninfo := fmt.Sprintf("primary_conninfo='host=127.0.0.1 port=%d user=postgres application_name=%s'", s.Port, name)
		// What pg_basebackup has written there comes last.
		os.Remove(filepath.Join(standby.data(), "postgresql.auto.conf"))
		err = standby.begin(append(settings, conninfo))
	}
	if err != nil {
		standby.Remove()
		return nil, err
	}
	return standby, nil
}

func newServer() (*Server, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	removeLeft(shortTemp())
	// A socket's path may have about 100 bytes.
	dir, err := os.MkdirTemp(shortTemp(), folderPrefix)
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, bin: bin}
	if s.lock, err = hold(dir); err == nil {
		s.Port, err = freePort()
	}
	if err == nil {
		err = own(dir)
	}
	if err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

const (
	folderPrefix = "pgt"
	lockName     = "owner.lock"
)

// removeLeft deletes the folders of servers whose tests were killed: those whose lock nobody has any more.
func removeLeft(temp string) {
	dirs, _ := filepath.Glob(filepath.Join(temp, folderPrefix+"*"))
	for _, dir := range dirs {
		if left(dir) {
			os.RemoveAll(dir)
		}
	}
}

func shortTemp() string {
	if d := os.TempDir(); len(d) < 50 || runtime.GOOS == "windows" {
		return d
	}
	return "/tmp"
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) begin(settings []string) error {
	lines := append([]string{"listen_addresses='127.0.0.1'", "port=" + strconv.Itoa(s.Port), "unix_socket_directories='" + s.Dir + "'",
		"max_connections=200", "shared_buffers=64MB", "logging_collector=off"}, settings...)
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + strings.Join(lines, "\n") + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.Restart()
}

// run runs one of PostgreSQL's programs to its end.
func (s *Server) run(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.Dir
	asUser(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// Restart starts the server, which must not be running, and returns once it takes connections.
func (s *Server) Restart() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data())
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	asUser(cmd)
	done := make(chan struct{})
	if err := startBound(cmd, func() { close(done) }); err != nil {
		return err
	}
	s.cmd, s.done = cmd, done
	for start := time.Now(); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-done:
			text, _ := os.ReadFile(s.logFile())
			return fmt.Errorf("the server has ended: %w: %s", err, text[max(0, len(text)-2000):])
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(start) > time.Minute {
			return fmt.Errorf("the server doesn't start: %w", err)
		}
	}
}

func (s *Server) logFile() string { return filepath.Join(s.Dir, "log") }

// Log returns what the server has logged.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.logFile())
	return string(text)
}

// Kill ends the server and all its processes as kill -9 does, and returns once they have ended. Restart starts it again.
func (s *Server) Kill() {
	kill(s)
	<-s.done
	s.waitGone()
}

// Stop ends the server, which ends all connections.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(os.Interrupt) // the fast shutdown
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		s.Kill()
	}
}

// Pause stops the server's processes, so that it doesn't answer, and Continue lets them go on.
func (s *Server) Pause()    { pause(s) }
func (s *Server) Continue() { resume(s) }

// Promote makes a standby the primary, and returns once it is.
func (s *Server) Promote() error {
	return s.run("pg_ctl", "promote", "-w", "-D", s.data())
}

// Remove ends the server and deletes its folder.
func (s *Server) Remove() {
	if s.cmd != nil {
		s.Kill()
	}
	os.RemoveAll(s.Dir)
	if s.lock != nil {
		s.lock.Close()
	}
}

// URL returns the address of a database.
func (s *Server) URL(database string) string {
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: url.Values{
		"host": {s.Dir}, "port": {strconv.Itoa(s.Port)}, "user": {"postgres"}}.Encode()}).String()
}

// TCP returns the address of a database on loopback.
func (s *Server) TCP(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s", s.Port, database)
}

// Database makes an empty database and returns its name.
func (s *Server) Database(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	name := fmt.Sprintf("d%d", s.n.Add(1))
	_, err = conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0 STRATEGY file_copy")
	return name, err
}

// NewURL makes an empty database for a test and returns its address.
func (s *Server) NewURL(t testing.TB) string {
	t.Helper()
	name, err := s.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.URL(name)
}

// NewSchema returns the name of a schema that isn't there yet. To make one is far less work than a database.
func (s *Server) NewSchema() string { return fmt.Sprintf("t%d", s.n.Add(1)) }

// Main runs a package's tests with a server, which it hands over before, and returns the exit code.
// The server's commits don't wait for the disk unless settings say fsync=on.
func Main(m *testing.M, set func(*Server), settings ...string) int {
	s, err := Start(append([]string{"fsync=off"}, settings...)...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	defer s.Remove()
	set(s)
	return m.Run()
}

// StartTest starts a server for one test.
func StartTest(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := Start(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text := []byte(s.Log())
			lines := bytes.Split(text, []byte("\n"))
			t.Logf("the server's log:\n%s", bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
		}
		s.Remove()
	})
	return s
}
