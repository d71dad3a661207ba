//go:build cgo && linux

package walreset

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

var (
	runs  = flag.Int("runs", 0, "how often TestHowOften tries each way to checkpoint")
	pause = flag.Duration("pause", time.Millisecond, "how long each checkpoint of the other process pauses where it can go wrong")
)

// TestHowOften counts how often databases are damaged where a process with an old SQLite and one of this VFS commit,
// each with its checkpoints, for half a second. The ways to checkpoint here take turns.
// The old process's checkpoints pause at the point where a commit of another does the harm: without that it is too rare to be counted.
// It fails if checkpoints in the background make it likelier than the stock VFS is. See make hunt-walreset.
func TestHowOften(t *testing.T) {
	if *runs == 0 {
		t.Skip("-runs is 0")
	}
	old := filepath.Join(t.TempDir(), "old")
	out, err := exec.Command("go", "build", "-o", old, "./old").CombinedOutput()
	require.NoError(t, err, string(out))
	ways := []way{
		{"vfs=os", "20", "passive"},
		{"vfs=async&checkpoint=background", "20", "passive"},
		{"vfs=async&checkpoint=inline", "20", "passive"},
		{"vfs=async&checkpoint=off", "20", "passive"},
		{"vfs=async&checkpoint=background", "0", "truncate"}, // as the README tells them to
	}
	damaged := map[way]int{}
	sums := map[way]both{}
	for i := range *runs {
		for j := range ways {
			way := ways[(i+j)%len(ways)]
			b := together(t, old, way)
			if b.damage != "" {
				damaged[way]++
			}
			s := sums[way]
			s.restarts, s.commits, s.mended, s.others = s.restarts+b.restarts, s.commits+b.commits, s.mended+b.mended, s.others+b.others
			sums[way] = s
		}
	}
	for _, way := range ways {
		s := sums[way]
		t.Logf("%-32s other: %-8s %3d of %d databases damaged; %d commits here, %d of the other process, the WAL started over %d times, mended %d times",
			way.params, way.mode, damaged[way], *runs, s.commits, s.others, s.restarts, s.mended)
	}
	// Where it happens seldom, one more or less means nothing.
	n := float64(*runs)
	require.LessOrEqual(t, float64(damaged[ways[1]]), float64(damaged[ways[0]])+max(2, n/5), "checkpoints in the background make it likelier")
	require.Zero(t, damaged[ways[4]], "with what the README tells them to do")
}

// way is how both processes checkpoint.
type way struct {
	params         string // here
	autoCheckpoint string // of the other process
	mode           string // of its wal_checkpoint
}

// both is what came of a run.
type both struct {
	damage                            string
	commits, others, restarts, mended int
}

// together has both processes commit to a new database.
func together(t *testing.T, old string, way way) (b both) {
	path := filepath.Join(t.TempDir(), "app.db")
	log := &counter{}
	vfs.SetLogger(slog.New(slog.NewTextHandler(log, nil)), path)
	defer vfs.SetLogger(nil, path)
	c, err := sqlite3.Open("file:" + path + "?" + way.params + "&_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=wal_autocheckpoint(20)")
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Exec("CREATE TABLE t(x); CREATE TABLE old(x)"))

	stdin, lines, wait := startOld(t, old, path, pause.String(), way.autoCheckpoint, way.mode)
	defer wait()
	defer stdin.Close()
	require.True(t, lines.Scan(), "the other process has ended")

	var generation [4]byte
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); b.commits++ {
		if err := c.Exec("INSERT INTO t VALUES(randomblob(500))"); err != nil {
			b.damage = err.Error() // it has noticed
			break
		}
		// Time for a checkpoint of the other process to begin.
		time.Sleep(rand.N(2 * time.Millisecond))
		if now := salt(t, path); now != generation {
			generation = now
			b.restarts++
		}
	}
	require.NoError(t, stdin.Close())
	if lines.Scan() {
		_, err = fmt.Sscanf(lines.Text(), "rows %d", &b.others)
		require.NoError(t, err)
	} else if b.damage == "" {
		b.damage = "the other process has found it damaged"
	}
	wait()
	b.mended = log.count("3.51.3")
	closed := c.Close()
	if b.damage != "" {
		return b
	}
	require.NoError(t, closed)
	b.damage = inspect(t, path, b.commits, b.others)
	return b
}

// inspect returns what is wrong with a database, opened anew so that nothing is in a cache.
func inspect(t *testing.T, path string, commits, others int) string {
	c, err := sqlite3.Open("file:" + path + "?vfs=os")
	require.NoError(t, err)
	defer c.Close()
	s, _, err := c.Prepare("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM old), (SELECT group_concat(integrity_check) FROM pragma_integrity_check)")
	if err != nil {
		return err.Error()
	}
	defer s.Close()
	if !s.Step() {
		return fmt.Sprint(s.Err())
	}
	rows, old, check := s.ColumnInt(0), s.ColumnInt(1), s.ColumnText(2)
	if check != "ok" || rows != commits || old != others {
		return fmt.Sprintf("%d rows of %d, %d of %d, %.60s", rows, commits, old, others, check)
	}
	return ""
}

// salt returns the number that a WAL's header has of how often it was started over.
func salt(t *testing.T, path string) (b [4]byte) {
	f, err := os.Open(path + "-wal")
	require.NoError(t, err)
	defer f.Close()
	f.ReadAt(b[:], 16)
	return b
}

// counter keeps what is logged.
type counter struct {
	mu   sync.Mutex
	text strings.Builder
}

func (c *counter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *counter) count(s string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Count(c.text.String(), s)
}
