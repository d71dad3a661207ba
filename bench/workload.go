// Package bench measures SQLite through the VFS of this project beside go-sqlite3's own.
//
//	make bench         # what the README says, and a report with charts
//	go test -run '^$' -bench 'Workloads/kind=update/rows=1/size=100/conns=64/disk=real/level=normal' ./bench
//
// Runs are bounded by time, and begin with a warm-up that isn't counted. Those that are compared take turns.
package bench

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Kind says what the connections of a workload do.
type Kind string

// Kinds of workloads. Rows are picked at random, of all that there are.
const (
	Insert Kind = "insert" // adds rows at the end
	Update Kind = "update" // changes rows
	Delete Kind = "delete" // deletes rows, and puts them back with the next commit, so that the table keeps its size
	Mixed  Kind = "mixed"  // changes rows, and reads one before each commit
	Read   Kind = "read"   // reads a row
)

// A Workload is what is done with a database.
type Workload struct {
	Kind  Kind
	Rows  int // that a transaction changes
	Size  int // of a row's data, in bytes
	Conns int // connections, each with a goroutine of its own
}

// String returns the workload as a part of a benchmark's name.
func (w Workload) String() string {
	return fmt.Sprintf("kind=%s/rows=%d/size=%d/conns=%d", w.Kind, w.Rows, w.Size, w.Conns)
}

// Workloads returns all that are measured.
func Workloads() (all []Workload) {
	for _, kind := range []Kind{Insert, Update, Delete, Mixed, Read} {
		for _, rows := range []int{1, 100} {
			if kind == Read && rows > 1 {
				continue
			}
			for _, size := range []int{100, 8192} {
				for _, conns := range []int{1, 8, 64, 256} {
					all = append(all, Workload{kind, rows, size, conns})
				}
			}
		}
	}
	return all
}

// filled returns how many rows there are before it starts:
// more than the page cache holds, and as many as can be deleted at a time.
func (w Workload) filled() int {
	switch {
	case w.Kind == Insert:
		return 0
	case w.Kind == Delete:
		return max(w.base(), 2*w.Conns*w.Rows)
	default:
		return w.base()
	}
}

// base is less where rows are large.
func (w Workload) base() int { return min(tableRows, tableRows*1000/w.Size) }

// tableRows is how many rows there are before a workload that doesn't insert. Tests have fewer.
var tableRows = 50_000

// A Setup is a way to run SQLite that is measured.
type Setup struct {
	Name  string // stock, async, or async-inline: async with the checkpoints in the commits
	Disk  string // one of [Disks]
	Level string // of PRAGMA synchronous
}

// String returns the setup as a part of a benchmark's name.
func (s Setup) String() string {
	return fmt.Sprintf("disk=%s/level=%s/setup=%s", s.Disk, s.Level, s.Name)
}

// DSN returns the name of the database in a folder.
func (s Setup) DSN(dir string) string { return s.dsn(dir, s.vfs()) }

func (s Setup) dsn(dir, vfs string) string {
	var params []string
	switch s.Name {
	case "async":
		params = append(params, "checkpoint=background")
	case "async-inline":
		params = append(params, "checkpoint=inline")
	}
	if vfs != "" {
		params = append(params, "vfs="+vfs)
	}
	params = append(params, "_pragma=busy_timeout(600000)", "_pragma=journal_mode(wal)", "_pragma=synchronous("+s.Level+")")
	return "file:" + filepath.ToSlash(DatabasePath(dir)) + "?" + strings.Join(params, "&")
}

func (s Setup) async() bool { return s.Name != "stock" }

// DatabasePath returns the path of the database in a folder.
func DatabasePath(dir string) string { return filepath.Join(dir, "bench.db") }

// levels are those of PRAGMA synchronous, by the number that it returns.
var levels = []string{"off", "normal", "full", "extra"}
