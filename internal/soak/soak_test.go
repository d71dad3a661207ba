// Package soak has several processes use one database for a long time: one on the stock VFS, one that is killed at random.
package soak

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

var (
	soakFor  = flag.Duration("soak", 8*time.Second, "how long to soak")
	patience = flag.Duration("patience", time.Minute, "how long a process may be silent before it is taken to hang")
)

const roleVar = "ASYNCVFS_SOAK_ROLE" // vfs, name and folder of a process that the test starts

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		part := strings.SplitN(role, " ", 3)
		w := worker{vfs: part[0], name: part[1], dir: part[2]}
		// It ends when its parent closes its input, or ends.
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			os.Stdin.Read(make([]byte, 1))
			cancel()
		}()
		if err := w.run(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// seen is what the processes have said.
type seen struct {
	mu    sync.Mutex
	acked map[string]int      // the last row of each writer that was acknowledged
	did   map[string]int      // how often
	left  map[string][]leaves // what each process had left after its rounds
}

// leaves are what a process has while it has no connection.
type leaves struct{ fds, goroutines, heap int }

// process starts a process. The channel is closed when it has ended, and all that it said is noted.
func (s *seen) process(t *testing.T, dir, vfsName, name string) (*exec.Cmd, func(), <-chan error) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), roleVar+"="+vfsName+" "+name+" "+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() {
		// A hang: the goroutines go to the log.
		hang := time.AfterFunc(*patience, func() {
			t.Errorf("%s says nothing for %v", name, *patience)
			cmd.Process.Signal(syscall.SIGQUIT)
		})
		for lines := bufio.NewScanner(out); lines.Scan(); hang.Reset(*patience) {
			s.note(name, lines.Text())
		}
		hang.Stop()
		ended <- cmd.Wait()
	}()
	return cmd, func() { in.Close() }, ended
}

func (s *seen) note(name, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var writer string
	var row int
	var l leaves
	switch {
	case strings.HasPrefix(line, "did "):
		s.did[line[4:]]++
	case scan(line, "ack %s %d", &writer, &row):
		s.acked[writer] = row
		s.did["commit"]++
	case scan(line, "left %d %d %d", &l.fds, &l.goroutines, &l.heap):
		s.left[name] = append(s.left[name], l)
	}
}

func scan(line, format string, to ...any) bool {
	n, err := fmt.Sscanf(line, format, to...)
	return err == nil && n == len(to)
}

func TestSoak(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "soak.db")
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	require.NoError(t, c.Exec("CREATE TABLE t(writer TEXT, row INT, data BLOB, PRIMARY KEY(writer, row))"))
	require.NoError(t, c.Close())

	s := &seen{acked: map[string]int{}, did: map[string]int{}, left: map[string][]leaves{}}
	over := time.After(*soakFor)
	var stops []func()
	var ends []<-chan error
	for name, vfsName := range map[string]string{"steady": "async", "other": "async", "stock": "os"} {
		_, stop, ended := s.process(t, dir, vfsName, name)
		stops, ends = append(stops, stop), append(ends, ended)
	}
	kills := 0
	for soaking := true; soaking; kills++ {
		victim, _, ended := s.process(t, dir, "async", fmt.Sprintf("victim%d", kills))
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(3 * time.Second)))):
		case <-over:
			soaking = false
		case err := <-ended:
			require.NoError(t, err, "a process ended by itself")
		}
		victim.Process.Kill()
		<-ended
	}
	for i, stop := range stops {
		stop()
		require.NoError(t, <-ends[i])
	}

	t.Logf("%d kills; %v", kills, s.did)
	for name, left := range s.left {
		if strings.HasPrefix(name, "victim") || len(left) < 2 {
			continue
		}
		first, last := left[0], left[len(left)-1]
		t.Logf("%s, after its first round and its last: %+v, %+v", name, first, last)
		require.LessOrEqual(t, last.fds, first.fds, "descriptors of %s", name)
		require.LessOrEqual(t, last.goroutines, first.goroutines, "goroutines of %s", name)
		require.Less(t, last.heap, 2*first.heap+64<<20, "memory of %s", name)
	}
	require.NotEmpty(t, s.left["steady"])

	c, err = sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	defer c.Close()
	stmt, _, err := c.Prepare("PRAGMA integrity_check")
	require.NoError(t, err)
	defer stmt.Close()
	require.True(t, stmt.Step())
	require.Equal(t, "ok", stmt.ColumnText(0))
	rows, _, err := c.Prepare("SELECT writer, count(*), max(row) FROM t GROUP BY writer")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Step() {
		writer, n, last := rows.ColumnText(0), rows.ColumnInt(1), rows.ColumnInt(2)
		require.Equal(t, n, last, "%s has a gap", writer)
		require.GreaterOrEqual(t, last, s.acked[writer], "%s has lost rows", writer)
		require.LessOrEqual(t, last, s.acked[writer]+1, "%s has more than it said", writer)
		delete(s.acked, writer)
	}
	require.NoError(t, rows.Err())
	require.Empty(t, s.acked, "writers that are gone")
}
