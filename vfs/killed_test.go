package vfs_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

var (
	kills    = flag.Int("kills", defaultKills, "how many processes TestKilledAtRandom kills")
	killSeed = flag.Uint64("killseed", 1, "what TestKilledAtRandom's random choices start from")
)

const (
	killedEnv = "ASYNCVFS_TEST_KILLED"

	// A commit is a row of t, and as many parts as that says.
	killedTables = `
		CREATE TABLE t(writer TEXT, seq INTEGER, parts INTEGER, PRIMARY KEY(writer, seq));
		CREATE TABLE part(writer TEXT, seq INTEGER, part INTEGER, times INTEGER, body TEXT, PRIMARY KEY(writer, seq, part))`
	killedBody = "replace(hex(zeroblob(times)), '00', writer || ' ' || seq || '-' || part || ' ')"
	killedTorn = `SELECT count(*) FROM t WHERE parts <> (
		SELECT count(*) FROM part p WHERE p.writer=t.writer AND p.seq=t.seq AND body=` + killedBody + ")"
	killedStray = "SELECT (SELECT count(*) FROM part) - (SELECT coalesce(sum(parts), 0) FROM t)"
)

var killedWriters = []struct{ tag, level string }{
	{"changing", full}, {"normal1", normal}, {"full1", full}, {"off", off}, {"normal2", normal}, {"full2", full},
}

// killedRetry repeats what was BUSY, since then nothing was done.
func killedRetry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, sqlite3.BUSY) {
			return err
		}
	}
}

// killedOpen says how many rows of the writer it found.
// A small cache makes SQLite write to the WAL within a transaction too.
func killedOpen(path, tag, level string) (c *sqlite3.Conn, rows int, err error) {
	err = killedRetry(func() (err error) {
		c.Close() // if it was BUSY
		c, err = sqlite3.Open(dsn(path, "async", level, "_pragma=wal_autocheckpoint(30)", "_pragma=cache_size(5)"))
		if err != nil {
			return err
		}
		s, _, err := c.Prepare("SELECT coalesce(max(seq), 0) FROM t WHERE writer='" + tag + "'")
		if err != nil {
			return err
		}
		defer s.Close()
		s.Step()
		rows = s.ColumnInt(0)
		return s.Err()
	})
	if err == nil {
		_, err = fmt.Println(tag, rows, "found")
	}
	return c, rows, err
}

// killedWrite commits until the process is killed. It reports each commit once it has returned:
// a line is one write, which nothing buffers.
func killedWrite(path, tag, level string, rng *rand.Rand) error {
	c, rows, err := killedOpen(path, tag, level)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	for {
		parts := max(0, rng.IntN(6)-2)
		sql := fmt.Sprintf("INSERT INTO t VALUES('%s', %d, %d);", tag, rows+1, parts)
		for part := range parts {
			sql += fmt.Sprintf("INSERT INTO part SELECT *, %s FROM (SELECT '%s' AS writer, %d AS seq, %d AS part, %d AS times);",
				killedBody, tag, rows+1, part, rng.IntN(10<<10/len(tag+" 1234-1 ")))
		}
		if parts > 0 {
			sql = "BEGIN IMMEDIATE; " + sql + " COMMIT"
		}
		if err := killedRetry(func() error { return c.Exec(sql) }); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		rows++
		if _, err := fmt.Println(tag, rows, "committed"); err != nil {
			return err
		}

		if rng.IntN(15) == 0 {
			// From CHECKPOINT_PASSIVE to CHECKPOINT_TRUNCATE.
			_, _, err := c.WALCheckpoint("main", sqlite3.CheckpointMode(rng.IntN(4)))
			if err != nil && !errors.Is(err, sqlite3.BUSY) {
				return fmt.Errorf("checkpoint: %w", err)
			}
		}
		if rng.IntN(25) == 0 {
			if err := c.Close(); err != nil {
				return fmt.Errorf("close: %w", err)
			}
			if c, rows, err = killedOpen(path, tag, level); err != nil {
				return fmt.Errorf("open again: %w", err)
			}
		}
		if tag == "changing" && rng.IntN(5) == 0 {
			if err := c.Exec("PRAGMA synchronous=" + []string{"off", "normal", "full"}[rng.IntN(3)]); err != nil {
				return fmt.Errorf("level: %w", err)
			}
		}
	}
}

// TestKilledProcess is no test: it is what the process runs that is killed.
func TestKilledProcess(t *testing.T) {
	env := os.Getenv(killedEnv)
	if env == "" {
		return
	}
	var seed uint64
	var round, writers int
	_, err := fmt.Sscanf(env, "%d %d %d", &seed, &round, &writers)
	require.NoError(t, err)
	path := strings.SplitN(env, " ", 4)[3]
	fmt.Println("ready")
	errs := make(chan error)
	for i := range writers {
		w := killedWriters[(round+i)%len(killedWriters)]
		rng := rand.New(rand.NewPCG(seed, uint64(1+round*len(killedWriters)+i)))
		go func() { errs <- fmt.Errorf("%s: %w", w.tag, killedWrite(path, w.tag, w.level, rng)) }()
	}
	fmt.Fprintln(os.Stderr, <-errs) // where the other process looks for it
	os.Exit(1)
}

// killing is what the test knows about a database, and what it has counted on all of them.
type killing struct {
	path                               string
	rows                               map[string]int // by writer, known to be there
	killed, left, reported, unreported int
}

// kill lets a process write until it has reported that often, or a bit more.
func (k *killing) kill(t *testing.T, round, writers, reports int) {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := osexec.Command(exe, "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %s", killedEnv, *killSeed, round, writers, k.path))
	p := startProcess(t, 1, cmd)
	p.waitReady(t)
	var lines []string
	for p.out.Scan() {
		if lines = append(lines, p.out.Text()); len(lines) == reports {
			require.NoError(t, cmd.Process.Kill()) // what it said before is still read
		}
	}
	require.NoError(t, p.out.Err())
	require.Error(t, cmd.Wait())
	require.Empty(t, p.errors.String())
	require.GreaterOrEqual(t, len(lines), reports)
	k.killed++

	for _, line := range lines {
		var tag, what string
		var seq int
		fmt.Sscan(line, &tag, &seq, &what) // the last line may be half of one
		switch what {
		case "found":
			k.found(t, tag, seq)
		case "committed":
			require.Equal(t, k.rows[tag]+1, seq, tag)
			k.rows[tag] = seq
			k.reported++
		}
	}
	if info, err := os.Stat(k.path + "-wal"); err == nil && info.Size() > 0 {
		k.left++
	}
}

// found compares the rows that somebody finds with those that must be there.
// There can be one more, that its writer hadn't reported yet.
func (k *killing) found(t *testing.T, tag string, rows int) {
	require.GreaterOrEqual(t, rows, k.rows[tag], tag)
	require.LessOrEqual(t, rows, k.rows[tag]+1, tag)
	k.unreported += rows - k.rows[tag]
	k.rows[tag] = rows
}

// check opens the database, which recovers it, and closes it.
func (k *killing) check(t *testing.T, vfs string) {
	c := open(t, k.path, vfs)
	require.Equal(t, "ok", query(t, c, "PRAGMA integrity_check"))
	for _, w := range killedWriters {
		rows, gapless := rowsOf(t, c, w.tag)
		require.True(t, gapless, w.tag)
		k.found(t, w.tag, rows)
	}
	require.Equal(t, "0", query(t, c, killedTorn))
	require.Equal(t, "0", query(t, c, killedStray))
	require.NoError(t, c.Close())
	require.NoFileExists(t, k.path+"-wal")
}

// TestKilledAtRandom: a process with many writers, at all levels, is killed at any moment, again and again.
// What it reported is there afterwards, at each level, since the page cache outlives it.
func TestKilledAtRandom(t *testing.T) {
	const perDatabase = 25 // so that it stays small
	rng := rand.New(rand.NewPCG(*killSeed, 0))
	k := &killing{}
	for first := 0; first < *kills && !t.Failed(); first += perDatabase {
		t.Run(fmt.Sprint("from=", first), func(t *testing.T) {
			k.path, k.rows = filepath.Join(handlesDir(t), "test.db"), map[string]int{}
			c := open(t, k.path, "async", wal)
			exec(t, c, killedTables)
			require.NoError(t, c.Close())

			round := first
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, round %d", *killSeed, round)
				}
			}()
			for ; round < min(first+perDatabase, *kills); round++ {
				writers := len(killedWriters)
				if rng.IntN(5) == 0 {
					writers = 1 + rng.IntN(2) // so that one closes the database as the last now and then
				}
				k.kill(t, round, writers, 1+rng.IntN(1+rng.IntN(400)))
				// Without a check, the next process recovers it.
				if next := []string{"async", "os", ""}[round%3]; next != "" {
					k.check(t, next)
				}
			}
			k.check(t, "os")
		})
	}
	t.Logf("%d kills, %d of them left a WAL; %d commits reported, %d made but not reported yet",
		k.killed, k.left, k.reported, k.unreported)
	require.True(t, k.left > 0 || k.killed < 10)
}
