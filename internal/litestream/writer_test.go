package litestream

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

const connections = 16

// The writer is this test's program, in a process of its own, which can be killed.
func TestMain(m *testing.M) {
	if name := os.Getenv("LITESTREAM_TEST_WRITER"); name != "" {
		if err := write(name); err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// write commits from many connections until a line comes. It prints a line for each commit once it is durable:
// the greatest id of that transaction. Each inserts two rows.
func write(name string) error {
	db, err := sql.Open("sqlite3", name)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(connections)
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY AUTOINCREMENT, pair, pad)"); err != nil {
		return err
	}
	fmt.Println("ready")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		bufio.NewReader(os.Stdin).ReadString('\n')
		cancel()
	}()
	normal := strings.Contains(name, "synchronous%28normal%29")
	var printing sync.Mutex
	errs := make(chan error, connections)
	for range connections {
		go func() {
			errs <- func() error {
				c, err := db.Conn(context.Background())
				if err != nil {
					return err
				}
				defer c.Close()
				for i := 0; ctx.Err() == nil; i++ {
					res, err := c.ExecContext(context.Background(), "INSERT INTO t(pair, pad) VALUES(1, randomblob(100)), (2, randomblob(100))")
					if err != nil {
						return err
					}
					id, err := res.LastInsertId()
					if err != nil {
						return err
					}
					if normal {
						if i%16 != 0 {
							continue
						}
						if _, err := c.ExecContext(context.Background(), "SELECT async_wait()"); err != nil {
							return err
						}
					}
					printing.Lock()
					fmt.Println(id)
					printing.Unlock()
				}
				return nil
			}()
		}()
	}
	for range connections {
		if err := <-errs; err != nil {
			return err
		}
	}
	return db.Close()
}

// process is the writer, or Litestream.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr strings.Builder
	ended  chan struct{}

	mu      sync.Mutex
	changed *sync.Cond
	ready   bool
	durable int64 // the greatest id that was told; guarded by mu
	told    int   // how many were
	over    bool
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, ended: make(chan struct{})}
	p.changed = sync.NewCond(&p.mu)
	var err error
	p.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = &p.stderr
	require.NoError(t, cmd.Start())
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.mu.Lock()
			if id, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
				p.durable = max(p.durable, id)
				p.told++
			} else if lines.Text() == "ready" {
				p.ready = true
			}
			p.changed.Broadcast()
			p.mu.Unlock()
		}
		p.mu.Lock()
		p.over = true
		p.changed.Broadcast()
		p.mu.Unlock()
		cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	p.until(t, func() bool { return p.ready })
	return p
}

// until waits for what the process tells.
func (p *process) until(t *testing.T, so func() bool) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !so() {
		if p.over {
			<-p.ended
			t.Fatalf("%s has ended: %v\n%s", p.cmd.Path, p.cmd.ProcessState, p.stderr.String())
		}
		p.changed.Wait()
	}
}

// more waits for that many commits more that are durable.
func (p *process) more(t *testing.T, n int) {
	t.Helper()
	p.mu.Lock()
	from := p.told
	p.mu.Unlock()
	p.until(t, func() bool { return p.told >= from+n })
}

// last returns the greatest id that was durable before now.
func (p *process) last() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.durable
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// stop ends it in order.
func (p *process) stop(t *testing.T) {
	t.Helper()
	io.WriteString(p.stdin, "\n")
	<-p.ended
	require.True(t, p.cmd.ProcessState.Success(), p.stderr.String())
}

// startWriter starts the writer on a database.
func startWriter(t *testing.T, path string, opts ...vfs.DSNOption) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LITESTREAM_TEST_WRITER="+vfs.DSN(path, opts...))
	return start(t, cmd)
}
