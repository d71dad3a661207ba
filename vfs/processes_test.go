package vfs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

const (
	processEnv   = "ASYNCVFS_TEST_PROCESS"
	processTable = "CREATE TABLE t(writer TEXT, seq INTEGER, PRIMARY KEY(writer, seq))"
)

// processWriter is somebody who writes a sequence of rows, one a commit.
type processWriter struct {
	tag, vfs, level, path string
	from, to              int
}

func (w processWriter) String() string {
	return fmt.Sprintf("%s %s %s %d %d %s", w.tag, w.vfs, w.level, w.from, w.to, w.path)
}

// write reports each commit once it has returned.
// It checkpoints in every way, and closes and opens its connection now and then.
func (w processWriter) write(committed func(seq int)) (err error) {
	var c *sqlite3.Conn
	retry := func(f func() error) error {
		for {
			// BUSY means that nothing was done.
			if err := f(); !errors.Is(err, sqlite3.BUSY) {
				return err
			}
		}
	}
	reopen := func() error {
		if err := c.Close(); err != nil {
			return err
		}
		return retry(func() (err error) {
			c, err = sqlite3.Open(dsn(w.path, w.vfs, "_pragma=busy_timeout(30000)", w.level, "_pragma=wal_autocheckpoint(30)"))
			return err
		})
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	modes := []sqlite3.CheckpointMode{
		sqlite3.CHECKPOINT_PASSIVE, sqlite3.CHECKPOINT_RESTART, sqlite3.CHECKPOINT_PASSIVE, sqlite3.CHECKPOINT_TRUNCATE,
	}
	for seq := w.from; seq <= w.to; seq++ {
		if c == nil || seq%25 == 0 {
			if err := reopen(); err != nil {
				return fmt.Errorf("open: %w", err)
			}
		}
		sql := fmt.Sprintf("INSERT INTO t VALUES('%s', %d)", w.tag, seq)
		if err := retry(func() error { return c.Exec(sql) }); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		committed(seq)
		if seq%10 == 0 {
			_, _, err := c.WALCheckpoint("main", modes[seq/10%len(modes)])
			if err != nil && !errors.Is(err, sqlite3.BUSY) {
				return fmt.Errorf("checkpoint: %w", err)
			}
		}
	}
	return nil
}

// TestProcess is no test: it is what another process runs.
func TestProcess(t *testing.T) {
	env := os.Getenv(processEnv)
	if env == "" {
		return
	}
	var w processWriter
	_, err := fmt.Sscanf(env, "%s %s %s %d %d", &w.tag, &w.vfs, &w.level, &w.from, &w.to)
	require.NoError(t, err)
	w.path = strings.SplitN(env, " ", 6)[5]
	fmt.Println("ready")
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, w.write(func(seq int) { fmt.Println(seq, "committed") }))
}

// process is another process that writes.
type process struct {
	cmd      *osexec.Cmd
	in       io.WriteCloser
	out      *bufio.Scanner
	errors   strings.Builder
	start    string // what makes it begin
	reported int    // the last row that it said was committed
}

// startProcess starts it and waits until it is ready.
func startProcess(t *testing.T, from int, cmd *osexec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, start: "\n", reported: from - 1}
	cmd.Stderr = &p.errors
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	p.in = in
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewScanner(out)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill() // if the test failed before its end
		cmd.Wait()
	})
	return p
}

func startWriter(t *testing.T, w processWriter) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := osexec.Command(exe, "-test.run=^TestProcess$")
	cmd.Env = append(os.Environ(), processEnv+"="+w.String())
	p := startProcess(t, w.from, cmd)
	p.waitReady(t)
	return p
}

// begin lets it write.
func (p *process) begin() error {
	_, err := io.WriteString(p.in, p.start)
	return errors.Join(err, p.in.Close())
}

func (p *process) waitReady(t *testing.T) {
	t.Helper()
	require.True(t, p.out.Scan(), "%s", &p.errors)
	require.Equal(t, "ready", p.out.Text())
}

// next reads one report. It is false once there are no more.
func (p *process) next() (bool, error) {
	for p.out.Scan() {
		number, ok := strings.CutSuffix(p.out.Text(), " committed")
		if !ok {
			continue
		}
		seq, err := strconv.Atoi(number)
		if err != nil || seq != p.reported+1 {
			return false, fmt.Errorf("reported %q after %d", p.out.Text(), p.reported)
		}
		p.reported = seq
		return true, nil
	}
	return false, p.out.Err()
}

// readAll reads all the reports there are.
func (p *process) readAll() error {
	for {
		if more, err := p.next(); err != nil || !more {
			return err
		}
	}
}

// rowsOf returns how many rows a writer has, and whether they are those from 1 on.
func rowsOf(t *testing.T, c *sqlite3.Conn, tag string) (n int, gapless bool) {
	t.Helper()
	const sql = "SELECT count(*) || ' ' || coalesce(min(seq), 1) || ' ' || coalesce(max(seq), 0) FROM t WHERE writer='%s'"
	var first, last int
	_, err := fmt.Sscan(query(t, c, fmt.Sprintf(sql, tag)), &n, &first, &last)
	require.NoError(t, err)
	return n, first == 1 && last == n
}

// processShell writes with the sqlite3 shell.
func processShell(t *testing.T, exe, path string, n int) *process {
	var sql strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&sql, "INSERT INTO t VALUES('sqlite', %d);\n.print %d committed\n", i, i)
		if i%10 == 0 {
			fmt.Fprintf(&sql, "PRAGMA wal_checkpoint(%s);\n", []string{"PASSIVE", "RESTART", "TRUNCATE"}[i/10%3])
		}
	}
	p := startProcess(t, 1, osexec.Command(exe, "-batch", "-bail", path))
	p.start = sql.String()
	_, err := io.WriteString(p.in, ".timeout 30000\nPRAGMA wal_autocheckpoint=30;\n.print ready\n")
	require.NoError(t, err)
	for p.out.Scan() && p.out.Text() != "ready" {
	}
	require.Equal(t, "ready", p.out.Text(), "%s", &p.errors)
	return p
}

const processScript = `
import sqlite3, sys
path, n = sys.argv[1], int(sys.argv[2])
db = sqlite3.connect(path, timeout=30, isolation_level=None)
print("ready", flush=True)
sys.stdin.readline()
for i in range(1, n + 1):
    while True:
        try:
            db.execute("INSERT INTO t VALUES('python', ?)", (i,))
            break
        except sqlite3.OperationalError as e:
            if "locked" not in str(e): raise
    print(i, "committed", flush=True)
    if i % 10 == 0:
        mode = ("PASSIVE", "RESTART", "TRUNCATE")[i // 10 % 3]
        db.execute("PRAGMA wal_checkpoint(%s)" % mode).fetchall()
db.close()
`

func processPython(t *testing.T, exe, path string, n int) *process {
	p := startProcess(t, 1, osexec.Command(exe, "-c", processScript, path, strconv.Itoa(n)))
	p.waitReady(t)
	return p
}

// TestOtherProcesses: other processes, on this VFS and on others, write and checkpoint at the same time.
func TestOtherProcesses(t *testing.T) {
	const n = 120
	path := filepath.Join(handlesDir(t), "test.db")
	c := open(t, path, "async", wal)
	exec(t, c, processTable)

	others := map[string]*process{}
	for _, w := range []processWriter{
		{tag: "full", vfs: "async", level: full},
		{tag: "normal", vfs: "async", level: normal},
		{tag: "stock", vfs: "os", level: normal},
	} {
		w.path, w.from, w.to = path, 1, n
		others[w.tag] = startWriter(t, w)
	}
	missing := map[string]error{}
	for tag, start := range map[string]func(*testing.T, string, string, int) *process{
		"sqlite3": processShell, "python3": processPython,
	} {
		if exe, err := osexec.LookPath(tag); err != nil {
			missing[tag] = err
		} else {
			others[tag] = start(t, exe, path, n)
		}
	}
	own := []processWriter{
		{tag: "own-full", vfs: "async", level: full},
		{tag: "own-normal", vfs: "async", level: normal},
		{tag: "own-off", vfs: "async", level: off},
		{tag: "own-stock", vfs: "os", level: normal},
	}

	var wg sync.WaitGroup
	errs := make(chan error, len(own)+2*len(others))
	reported := make([]int, len(own))
	for _, p := range others {
		wg.Go(func() { errs <- p.begin() })
		wg.Go(func() { errs <- p.readAll() })
	}
	for i, w := range own {
		w.path, w.from, w.to = path, 1, n
		wg.Go(func() { errs <- w.write(func(seq int) { reported[i] = seq }) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}

	for tag, p := range others {
		require.NoError(t, p.cmd.Wait(), "%s: %s", tag, &p.errors)
	}
	require.NoError(t, c.Close())
	require.Zero(t, handlesListed(path))
	require.NoFileExists(t, path+"-wal")
	checkIntegrity(t, path)

	c = open(t, path, "os")
	check := func(tag, writer string, reported int) {
		t.Run(tag, func(t *testing.T) {
			if err := missing[tag]; err != nil {
				t.Skip("not here: ", err)
			}
			rows, gapless := rowsOf(t, c, writer)
			require.True(t, gapless)
			require.Equal(t, reported, rows)
			require.Equal(t, n, rows)
		})
	}
	for i, w := range own {
		check(w.tag, w.tag, reported[i])
	}
	total := n * len(own)
	for tag, p := range others {
		check(tag, strings.TrimSuffix(tag, "3"), p.reported)
		total += p.reported
	}
	for tag := range missing {
		check(tag, tag, 0)
	}
	require.Equal(t, strconv.Itoa(total), query(t, c, "SELECT count(*) FROM t"))
}
