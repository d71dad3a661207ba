package vfsmetrics_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// TestDatabase: what is collected is what the statistics say.
func TestDatabase(t *testing.T) {
	p, reader := meters(t)
	path := tempDB(t)
	stop, err := vfsmetrics.Register(p, vfsmetrics.Databases(path))
	require.NoError(t, err)
	defer stop()

	c := openDB(t, path, vfs.Pragma("wal_autocheckpoint", "0"), vfs.Parameter("max_delay", "1m"), vfs.Parameter("max_pending", "64KiB"))
	exec(t, c, "CREATE TABLE t(x)")
	for range 5 {
		exec(t, c, "INSERT INTO t VALUES(1)")
	}
	exec(t, c, "PRAGMA wal_checkpoint")
	exec(t, c, "PRAGMA synchronous=normal; INSERT INTO t VALUES(randomblob(100000))") // more than may be pending
	exec(t, c, "INSERT INTO t VALUES(2)")
	s := stats(t, path)
	require.NotZero(t, s.PendingCommits)

	got := collect(t, reader)
	db := "{asyncvfs.database=" + path + "}"
	for name, want := range map[string]float64{
		"asyncvfs.commits" + db:                float64(s.Commits),
		"asyncvfs.commit.cancelled" + db:       0,
		"asyncvfs.sync.requests" + db:          float64(s.SyncRequests),
		"asyncvfs.sync.merged" + db:            float64(s.Merged),
		"asyncvfs.checkpoints" + db:            float64(s.Checkpoints),
		"asyncvfs.checkpoint.failures" + db:    0,
		"asyncvfs.wal.restarts" + db:           float64(s.WALRestarts),
		"asyncvfs.wal.sync.duration" + db:      float64(s.WALSyncs),
		"asyncvfs.db.sync.duration" + db:       float64(s.DBSyncs),
		"asyncvfs.commit.wait.duration" + db:   float64(s.CommitWait.Count),
		"asyncvfs.commit.pending.commits" + db: float64(s.PendingCommits),
		"asyncvfs.commit.pending.bytes" + db:   float64(s.PendingBytes),
		"asyncvfs.commit.loss_window.max" + db: float64(s.LossWindow.RecentMaxMicros) / 1e6,
		"asyncvfs.commit.wait.max" + db:        float64(s.CommitWait.RecentMaxMicros) / 1e6,
		"asyncvfs.wal.size" + db:               float64(s.WALBytes),
		"asyncvfs.database.failed" + db:        0,
		"asyncvfs.database.sync_mode" + db:     0,
		"asyncvfs.commit.stall.duration" + strings.TrimSuffix(db, "}") + ",asyncvfs.stall.reason=pending}": float64(s.Stalls),
		"asyncvfs.checkpoint.duration{asyncvfs.checkpoint.background=false," + db[1:]:                      1,
	} {
		require.Contains(t, got.values, name)
		require.InDelta(t, want, got.values[name], 1e-9, name)
	}
	require.NotZero(t, got.values["asyncvfs.commit.pending.age"+db])
	require.NotZero(t, got.values["asyncvfs.sync.duration.max"+db])
	require.InDelta(t, float64(s.WALSyncTime.SumMicros)/1e6, got.sums["asyncvfs.wal.sync.duration"+db], 1e-4)
	require.Equal(t, "s", got.units["asyncvfs.wal.sync.duration"])
	require.Equal(t, "By", got.units["asyncvfs.commit.pending.bytes"])

	// Nothing after stop.
	stop()
	exec(t, c, "PRAGMA synchronous=full; INSERT INTO t VALUES(1)")
	after := collect(t, reader)
	require.NotContains(t, after.values, "asyncvfs.commits"+db)
	require.Equal(t, got.values["asyncvfs.commit.wait.duration"+db], after.values["asyncvfs.commit.wait.duration"+db])
}

// TestReopened: counters go on where a database is closed and opened anew, and gauges end with it.
func TestReopened(t *testing.T) {
	p, reader := meters(t)
	path := tempDB(t)
	stop, err := vfsmetrics.Register(p, vfsmetrics.Databases(path))
	require.NoError(t, err)
	defer stop()
	commits := "asyncvfs.commits{asyncvfs.database=" + path + "}"
	size := "asyncvfs.wal.size{asyncvfs.database=" + path + "}"
	for i := range 3 {
		c, err := sqlite3.Open(vfs.DSN(path))
		require.NoError(t, err)
		exec(t, c, "CREATE TABLE IF NOT EXISTS t(x)")
		exec(t, c, "INSERT INTO t VALUES(1)")
		want := float64(2 + i)
		got := collect(t, reader)
		require.Equal(t, want, got.values[commits])
		require.NotZero(t, got.values[size])
		require.NoError(t, c.Close())
		got = collect(t, reader)
		require.Equal(t, want, got.values[commits])
		require.NotContains(t, got.values, size)
	}
	// One that is opened, used and closed between two collections is counted too.
	for range 3 {
		c, err := sqlite3.Open(vfs.DSN(path))
		require.NoError(t, err)
		exec(t, c, "INSERT INTO t VALUES(1)")
		require.NoError(t, c.Close())
	}
	require.Equal(t, 7.0, collect(t, reader).values[commits])
}

// TestWithoutDatabase: all databases are one series; those that weren't named are in none.
func TestWithoutDatabase(t *testing.T) {
	p, reader := meters(t)
	dir := t.TempDir()
	a, b, other := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db"), filepath.Join(dir, "other.db")
	stop, err := vfsmetrics.Register(p, vfsmetrics.Databases(a, b), vfsmetrics.WithoutDatabase())
	require.NoError(t, err)
	defer stop()
	for _, path := range []string{a, b, other} {
		c := openDB(t, path)
		exec(t, c, "CREATE TABLE t(x)")
		exec(t, c, "INSERT INTO t VALUES(1)")
	}
	got := collect(t, reader)
	require.Equal(t, 4.0, got.values["asyncvfs.commits{}"])
	require.Equal(t, 4.0, got.values["asyncvfs.commit.wait.duration{}"])
	require.Equal(t, float64(max(stats(t, a).WALBytes, stats(t, b).WALBytes)), got.values["asyncvfs.wal.size{}"])
	for name := range got.values {
		require.NotContains(t, name, dir)
	}
}

// badDisk fails the syncs of the WAL while it is set.
type badDisk struct {
	sqlitevfs.VFS
	on atomic.Bool
}

type badFile struct {
	sqlitevfs.File
	disk *badDisk
	wal  bool
}

func (d *badDisk) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	f, flags, err := d.VFS.(sqlitevfs.VFSFilename).OpenFilename(name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &badFile{f, d, flags&sqlitevfs.OPEN_WAL != 0}, flags, nil
}

func (f *badFile) Unwrap() sqlitevfs.File { return f.File }

func (f *badFile) SharedMemory() sqlitevfs.SharedMemory {
	if s, ok := f.File.(sqlitevfs.FileSharedMemory); ok {
		return s.SharedMemory()
	}
	return nil
}

func (f *badFile) Sync(flags sqlitevfs.SyncFlag) error {
	if f.wal && f.disk.on.Load() {
		return errors.New("the disk has failed")
	}
	return f.File.Sync(flags)
}

// TestFailed: a failed sync is told, and that the database has failed.
func TestFailed(t *testing.T) {
	p, reader := meters(t)
	path := tempDB(t)
	disk := &badDisk{VFS: sqlitevfs.Find("")}
	require.NoError(t, vfs.Register("bad-disk", disk, vfs.Logger(slog.New(slog.DiscardHandler))))
	stop, err := vfsmetrics.Register(p, vfsmetrics.Databases(path))
	require.NoError(t, err)
	defer stop()
	c := openDB(t, path, vfs.Parameter("vfs", "bad-disk"))
	exec(t, c, "CREATE TABLE t(x)")
	disk.on.Store(true)
	require.Error(t, c.Exec("INSERT INTO t VALUES(1)"))
	disk.on.Store(false)
	got := collect(t, reader)
	require.Equal(t, 1.0, got.values["asyncvfs.database.failed{asyncvfs.database="+path+"}"])
	require.Equal(t, 1.0, got.values["asyncvfs.wal.sync.duration{asyncvfs.database="+path+",error.type=fsync}"])
}

// TestCommitAllocates: measuring allocates nothing per commit.
func TestCommitAllocates(t *testing.T) {
	p, _ := meters(t)
	for _, level := range []vfs.Level{vfs.Full, vfs.Normal} {
		path := tempDB(t)
		c := openDB(t, path, vfs.Synchronous(level))
		exec(t, c, "CREATE TABLE t(x)")
		s, _, err := c.Prepare("INSERT INTO t VALUES(1)")
		require.NoError(t, err)
		defer s.Close()
		commit := func() {
			if err := s.Exec(); err != nil {
				t.Error(err)
			}
		}
		for range 200 {
			commit()
		}
		without := testing.AllocsPerRun(300, commit)
		stop, err := vfsmetrics.Register(p, vfsmetrics.Databases(path))
		require.NoError(t, err)
		commit()
		require.LessOrEqual(t, testing.AllocsPerRun(300, commit), without, level)
		stop()
	}
}

// TestNames: the instruments are named by OpenTelemetry's conventions, and the package's documentation names each and no others.
func TestNames(t *testing.T) {
	p, reader := meters(t)
	stop, err := vfsmetrics.Register(p)
	require.NoError(t, err)
	defer stop()
	useTasks(t, p)
	useDatabase(t, tempDB(t))
	units := collect(t, reader).units

	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	documented := regexp.MustCompile(`\b(asyncvfs|tasks)\.[a-z_]+(\.[a-z_]+)*\b`).FindAllString(string(doc), -1)
	attributes := []string{"asyncvfs.database", "asyncvfs.stall.reason", "asyncvfs.checkpoint.background",
		"tasks.type", "tasks.status", "tasks.outcome", "tasks.cancelled", "tasks.operation"}
	documented = slices.DeleteFunc(documented, func(name string) bool { return slices.Contains(attributes, name) })
	slices.Sort(documented)
	documented = slices.Compact(documented)
	var names []string
	for name, unit := range units {
		names = append(names, name)
		require.Regexp(t, `^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`, name)
		require.Regexp(t, `^(|s|By|\{[a-z]+\})$`, unit, name)
		for other := range units {
			require.False(t, strings.HasPrefix(other, name+"."), "%s is a metric and a namespace (%s)", name, other)
		}
	}
	slices.Sort(names)
	require.Equal(t, documented, names)
}
