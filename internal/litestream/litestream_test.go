package litestream

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

var commits = flag.Int("commits", 300, "how many durable commits are waited for between two steps; an eighth at NORMAL")

// all is for the settings that lose: see the README.
var all = flag.Bool("all", false, "also where others than Litestream run checkpoints, which fails now and then")

var cut = flag.Bool("cut", false, "with journal_size_limit=0")

// build builds the program that is Litestream.
func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "replicator")
	out, err := exec.Command("go", "build", "-o", exe, "./replicator").CombinedOutput()
	require.NoError(t, err, string(out))
	return exe
}

// litestream is a database and its replica.
type litestream struct {
	exe, path, folder string
	restored          int
	killed, written   bool // that a writer was killed; that another has written since
	bare              bool // without snapshots
	ahead             int  // how often the replica was
}

func (l *litestream) start(t *testing.T) *process {
	t.Helper()
	cmd := exec.Command(l.exe, "replicate", l.path, l.folder)
	cmd.Env = append(os.Environ(), "FAST=1")
	if l.bare {
		cmd.Env = append(cmd.Env, "BARE=1")
	}
	return start(t, cmd)
}

// restore restores the replica, and checks that it is the database after one of its commits.
// It returns the greatest id in it, which says which.
func (l *litestream) restore(t *testing.T) (last int64, err error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "restored.db")
	l.restored++
	if text, err := exec.Command(l.exe, "restore", l.folder, out).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("restore: %w: %s", err, text)
	}
	return verify(out, l.path)
}

func (l *litestream) check(t *testing.T) int64 {
	t.Helper()
	last, err := l.restore(t)
	require.NoError(t, err, "the database itself: %s", state(l.path))
	return last
}

// state describes a database, for where a check of its replica fails.
func state(path string) string {
	_, err := verify(path, path)
	return fmt.Sprint(err)
}

// differs is how many rows of a replica are others than in the database, or aren't there.
type differs int64

func (n differs) Error() string {
	return fmt.Sprintf("%d rows are others than in the database", int64(n))
}

// verify checks a restored database beside the one that it is a replica of.
func verify(restored, live string) (last int64, err error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.ToSlash(restored)+"?_pragma=query_only(1)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // which has both attached
	var check string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		return 0, fmt.Errorf("integrity_check: %s, %w", check, err)
	}
	var n, first, pairs int64
	err = db.QueryRow("SELECT count(*), coalesce(min(id), 1), coalesce(max(id), 0), coalesce(sum(pair), 0) FROM t").Scan(&n, &first, &last, &pairs)
	if err != nil {
		return 0, err
	}
	// No commit is missing of those before the last, and none is there in part.
	if first != 1 || last != n || n%2 != 0 || pairs != n/2*3 {
		return last, fmt.Errorf("not the database after a commit: %d rows from %d to %d, sum of pairs %d", n, first, last, pairs)
	}
	// The rows are the same as in the database itself.
	if _, err := db.Exec("ATTACH ? AS live", "file:"+filepath.ToSlash(live)+"?mode=ro"); err != nil {
		return last, err
	}
	var differ int64
	if err := db.QueryRow("SELECT count(*) FROM main.t LEFT JOIN live.t AS l USING (id) WHERE l.pad IS NOT main.t.pad").Scan(&differ); err != nil {
		return last, err
	}
	if differ > 0 {
		return last, differs(differ)
	}
	return last, nil
}

// reaches restores until the replica has that commit.
//
// Litestream reads frames that are in the WAL but not published yet. A writer that is killed just then hasn't made that commit,
// and the next writes over it. Until then the replica may be ahead by this one commit; then Litestream finds that out.
func (l *litestream) reaches(t *testing.T, id int64) {
	t.Helper()
	for {
		last, err := l.restore(t)
		if err == differs(2) && l.killed {
			l.ahead++
			if !l.written {
				err = nil
			} else if l.restored <= 500 {
				continue
			}
		}
		if err != nil && last > 0 {
			// Of Litestream's there is none before its first sync.
			t.Fatalf("%v; the database itself: %s", err, state(l.path))
		}
		if err == nil && last >= id {
			return
		}
		if l.restored > 500 {
			t.Fatalf("the replica doesn't come to have commit %d", id)
		}
	}
}

// TestLitestream: the replica is always the database after one of its commits, and comes to have each that was durable,
// through kills and restarts of Litestream and of the application.
func TestLitestream(t *testing.T) {
	exe := build(t)
	for _, level := range []vfs.Level{vfs.Full, vfs.Normal} {
		checkpoints := []string{"off"}
		if *all {
			checkpoints = append(checkpoints, "inline", "background")
			if level == vfs.Full { // what NORMAL makes durable is told by this VFS alone
				checkpoints = append(checkpoints, "stock")
			}
		}
		for _, checkpoint := range checkpoints {
			t.Run(level.String()+"/"+checkpoint, func(t *testing.T) {
				dir := t.TempDir()
				l := &litestream{exe: exe, path: filepath.Join(dir, "app.db"), folder: filepath.Join(dir, "replica")}
				opts := []vfs.DSNOption{vfs.Synchronous(level), vfs.Parameter("checkpoint", checkpoint)}
				if checkpoint == "stock" {
					opts = []vfs.DSNOption{vfs.Synchronous(level), vfs.Parameter("vfs", "os")}
				}
				if *cut {
					opts = append(opts, vfs.Pragma("journal_size_limit", "0"))
				}
				commits := *commits
				if level == vfs.Normal {
					commits = max(1, commits/8) // one of 16 is told
				}
				w := startWriter(t, l.path, opts...)
				r := l.start(t)
				w.more(t, commits)
				l.reaches(t, w.last())

				r.kill()
				w.more(t, commits)
				l.check(t)
				r = l.start(t)
				l.reaches(t, w.last())

				w.kill()
				l.killed = true
				durable := w.last()
				l.reaches(t, durable)
				l.written = true
				w = startWriter(t, l.path, opts...)
				w.more(t, commits)
				l.reaches(t, w.last())
				l.killed = false

				// In order: the last connection of the application's is closed, and Litestream's remain.
				w.stop(t)
				durable = w.last()
				l.reaches(t, durable)
				w = startWriter(t, l.path, opts...)
				w.more(t, commits)
				durable = w.last()
				r.stop(t)
				require.GreaterOrEqual(t, l.check(t), durable)
				r = l.start(t)
				w.more(t, commits)
				w.stop(t)
				r.stop(t)
				require.GreaterOrEqual(t, l.check(t), w.last())
				t.Logf("%d commits, %d restored, ahead by a commit that a killed writer hadn't made: %d", w.last()/2, l.restored, l.ahead)
			})
		}
	}
}

// TestReplicaAhead: Litestream reads the WAL as it is written, not as it is durable. After a power cut the replica may have commits
// at NORMAL that the disk hasn't. Litestream finds that out, and the replica becomes what the database is.
func TestReplicaAhead(t *testing.T) {
	dir := t.TempDir()
	l := &litestream{exe: build(t), path: filepath.Join(dir, "app.db"), folder: filepath.Join(dir, "replica")}
	for tries := 0; ; tries++ {
		w := startWriter(t, l.path, vfs.Synchronous(vfs.Normal), vfs.Parameter("checkpoint", "off"))
		r := l.start(t)
		w.more(t, 20)
		w.kill()
		l.reaches(t, w.last())
		r.kill()
		ahead := l.check(t)
		// What a power cut leaves of the WAL, if its last third wasn't durable.
		info, err := os.Stat(l.path + "-wal")
		require.NoError(t, err)
		require.NoError(t, os.Truncate(l.path+"-wal", info.Size()*2/3))
		require.NoError(t, os.Remove(l.path+"-shm"))
		last, err := l.restore(t)
		require.Equal(t, ahead, last)
		if err != nil {
			t.Log("the replica, after the power cut:", err)
			break
		}
		// Litestream has had the WAL started over meanwhile: its last third was of the one before.
		require.Less(t, tries, 10)
	}

	// It sees by the WAL's size that it is ahead, and has to look before that is as long again as it was.
	r := l.start(t)
	l.becomes(t, r, 0)
	w := startWriter(t, l.path, vfs.Synchronous(vfs.Normal), vfs.Parameter("checkpoint", "off"))
	w.more(t, 10)
	l.becomes(t, r, w.last())
	w.stop(t)
	r.stop(t)
	require.GreaterOrEqual(t, l.check(t), w.last())
}

// becomes waits until the replica is the database, with that row at the least.
func (l *litestream) becomes(t *testing.T, r *process, row int64) {
	t.Helper()
	for range 60 {
		last, err := l.restore(t)
		if err == nil && last >= row {
			return
		}
		if l.restored%10 == 0 {
			t.Log(last, err)
		}
	}
	t.Fatalf("the replica doesn't become what the database is\n%s", r.stderr.String())
}

// TestVerify is the control: what isn't the database after one of its commits is seen.
func TestVerify(t *testing.T) {
	for name, change := range map[string]string{
		"whole":             "",
		"a commit missing":  "DELETE FROM t WHERE id IN (3, 4)",
		"half a commit":     "DELETE FROM t WHERE id = 6",
		"the first missing": "DELETE FROM t WHERE id < 3",
		"another row":       "UPDATE t SET pad = 'x' WHERE id = 5",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{"live", "restored"} {
				db, err := sql.Open("sqlite3", vfs.DSN(filepath.Join(dir, file)))
				require.NoError(t, err)
				_, err = db.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, pair, pad)")
				require.NoError(t, err)
				for range 3 {
					_, err = db.Exec("INSERT INTO t(pair, pad) VALUES(1, 'a'), (2, 'b')")
					require.NoError(t, err)
				}
				if file == "restored" {
					_, err = db.Exec(change)
					require.NoError(t, err)
				}
				require.NoError(t, db.Close())
			}
			last, err := verify(filepath.Join(dir, "restored"), filepath.Join(dir, "live"))
			if change == "" {
				require.NoError(t, err)
				require.EqualValues(t, 6, last)
			} else {
				require.Error(t, err)
			}
		})
	}
}
