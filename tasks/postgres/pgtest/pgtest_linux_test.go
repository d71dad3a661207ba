package pgtest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// TestServerOf isn't a test: it is the process of TestKilledTest, which starts a server, tells its process, and waits to be killed.
func TestServerOf(t *testing.T) {
	if os.Getenv("PGTEST_SERVER_OF") == "" {
		t.Skip("it is run by TestKilledTest")
	}
	s := pgtest.StartTest(t, "fsync=off")
	pid, err := os.ReadFile(s.Dir + "/data/postmaster.pid")
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(pid), "\n")
	fmt.Printf("server %s %s\n", first, s.Dir)
	select {}
}

// TestKilledTest: a server doesn't outlive the test that has started it, also if that is killed, and its folder is deleted by the next one.
func TestKilledTest(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestServerOf$", "-test.v")
	cmd.Env = append(os.Environ(), "PGTEST_SERVER_OF=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pid int
	var dir string
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "server" {
			pid, err = strconv.Atoi(f[1])
			require.NoError(t, err)
			dir = f[2]
		}
	}
	require.NotZero(t, pid, "the server hasn't started")
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, syscall.Kill(pid, 0))
	pgtest.RemoveLeft(filepath.Dir(dir))
	require.FileExists(t, filepath.Join(dir, "data", "postmaster.pid"), "the folder of a server that runs")
	require.NoError(t, cmd.Process.Kill())
	cmd.Wait()
	require.Eventually(t, func() bool { return gone(pid) }, 20*time.Second, 5*time.Millisecond, "the server runs on")
	pgtest.RemoveLeft(filepath.Dir(dir))
	require.NoDirExists(t, dir)
}

// gone reports whether a process has ended. One that nobody has waited for yet has.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X")
}
