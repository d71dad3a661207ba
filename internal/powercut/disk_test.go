package powercut

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// player plays scripts on a disk, with a handle of its file f. A script is words:
//
//   - w2ab fills sector 2 with a's and the next one with b's; h2a and H2a do so with half a sector
//   - t3 truncates to three sectors
//   - s is a sync, x is one that fails, and X one that fails for good; d and D are the same for the directory
//   - +a makes the file a, and -a removes it
//
// What stands in ( ) behind a sync is done after its start and before its end.
type player struct {
	t *testing.T
	d *Disk
	f *file
}

func testDisk(t *testing.T, img Image, cfg Config) *Disk {
	cfg.ShmDir = t.TempDir()
	d := NewDisk(img, cfg)
	t.Cleanup(d.Remove)
	return d
}

// handle opens a file as Base does, and makes it if there is none.
func handle(t *testing.T, d *Disk, name string) *file {
	ino, err := d.open(name, true)
	require.NoError(t, err)
	f := &file{d: d, ino: ino, name: name, powersafe: d.cfg.Powersafe}
	f.main = f
	return f
}

func newPlayer(t *testing.T, img Image, cfg Config) *player {
	d := testDisk(t, img, cfg)
	return &player{t, d, handle(t, d, "f")}
}

func (p *player) play(words ...string) *player {
	for len(words) > 0 {
		word, inner := words[0], []string(nil)
		words = words[1:]
		if w, opens := strings.CutSuffix(word, "("); opens {
			end := slices.Index(words, ")")
			word, inner, words = w, words[:end], words[end+1:]
		}
		p.d.cfg.Gate = func(op Op) {
			if op.Kind == SyncEnd || op.Kind == DirSyncEnd {
				p.play(inner...)
			}
		}
		fails := strings.Contains("xXD", word)
		p.d.cfg.Fault = func(Op) (f Fault) {
			if fails {
				f = Fault{Err: syscall.EIO, Lost: word == "X"}
			}
			return f
		}
		if err := p.do(word[0], word[1:]); fails {
			require.ErrorIs(p.t, err, syscall.EIO)
		} else {
			require.NoError(p.t, err)
		}
	}
	return p
}

func (p *player) do(what byte, arg string) (err error) {
	switch what {
	case '+':
		_, err = p.d.open(arg, true)
	case '-':
		err = Base{}.Delete(p.d.Path(arg), false)
	case 's', 'x', 'X':
		err = p.f.Sync(0)
	case 'd', 'D':
		err = Base{}.SyncDir(p.d.Path("f"))
	default:
		off, data := sectorSize*int64(arg[0]-'0'), fill(arg[1:])
		switch what {
		case 't':
			return p.f.Truncate(off)
		case 'H':
			off += sectorSize / 2
			fallthrough
		case 'h':
			data = data[:sectorSize/2]
		}
		_, err = p.f.WriteAt(data, off)
	}
	return err
}

var lockLevels = map[string]sqlitevfs.LockLevel{
	"none": sqlitevfs.LOCK_NONE, "shared": sqlitevfs.LOCK_SHARED, "reserved": sqlitevfs.LOCK_RESERVED,
	"pending": sqlitevfs.LOCK_PENDING, "exclusive": sqlitevfs.LOCK_EXCLUSIVE,
}

// TestDiskLocks takes locks with up to three handles: A+shared takes one, A+shared! finds it busy, A-none gives back;
// A=pending is what it holds then, and A?yes and A?no whether A sees a reserved lock.
func TestDiskLocks(t *testing.T) {
	for _, test := range []struct{ name, script string }{
		{"readers don't mind each other", "A+shared B+shared C+shared A=shared B=shared C=shared A?no"},
		{"nor one writer, until it writes", "A+shared B+shared A+reserved A=reserved C+shared A?yes B?yes C?yes"},
		{"one writer only", "A+shared B+shared A+reserved B+reserved! B=shared B+exclusive! B=shared A=reserved"},
		{"a writer that waits lets no reader in", "A+shared B+shared A+reserved A+exclusive! A=pending C+shared! C=none B?yes B=shared"},
		{"nor another writer", "A+shared B+shared A+reserved A+exclusive! B+reserved! B+exclusive! B=shared"},
		{"and goes on once they are gone", "A+shared B+shared A+reserved A+exclusive! B-none A+exclusive A=exclusive"},
		{"each of them", "A+shared B+shared C+shared A+reserved A+exclusive! B-none A+exclusive! C-none A+exclusive"},
		{"or gives up", "A+shared B+shared A+reserved A+exclusive! A-shared A=shared C+shared B?no B+reserved A+reserved!"},
		{"exclusive is alone", "A+shared A+reserved A+exclusive B+shared! B=none B+shared! A-shared B+shared B+reserved"},
		{"without reserved before it", "A+shared A+exclusive A=exclusive B+shared! A-none A=none B+shared"},
		{"a lock is kept if a lower one is asked for", "A+shared A+reserved A+shared A=reserved A+exclusive A+shared A+exclusive A=exclusive"},
		{"nothing to give back", "A-none A-shared A=none A+shared A-shared A=shared B+shared B+reserved B+exclusive! A-none A-none B+exclusive"},
		{"a handle that is closed has none", "A+shared A+reserved A+exclusive Ax B+shared B+reserved B?yes C+shared"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := testDisk(t, nil, Config{})
			other := handle(t, d, "other") // has locks of its own
			require.NoError(t, other.Lock(sqlitevfs.LOCK_EXCLUSIVE))
			handles := map[byte]*file{'A': handle(t, d, "f"), 'B': handle(t, d, "f"), 'C': handle(t, d, "f")}
			for i, word := range strings.Fields(test.script) {
				at := fmt.Sprintf("%d: %s", i, word)
				level, busy := strings.CutSuffix(word[2:], "!")
				switch f := handles[word[0]]; word[1] {
				case '+':
					if err := f.Lock(lockLevels[level]); busy {
						require.Equal(t, sqlite3.BUSY, err, at)
					} else {
						require.NoError(t, err, at)
					}
				case '-':
					require.NoError(t, f.Unlock(lockLevels[level]), at)
				case '=':
					require.Equal(t, lockLevels[level], f.LockState(), at)
				case '?':
					reserved, err := f.CheckReservedLock()
					require.NoError(t, err)
					require.Equal(t, level == "yes", reserved, at)
				case 'x':
					require.NoError(t, f.Close())
				}
			}
		})
	}
}

// openDB opens a database, and returns the connection and its file.
func openDB(t *testing.T, name string) (*sqlite3.Conn, sqlitevfs.FileLockState) {
	c, err := sqlite3.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	f, err := c.FileControl("main", sqlite3.FCNTL_FILE_POINTER)
	require.NoError(t, err)
	locks, ok := vfsutil.UnwrapFile[sqlitevfs.FileLockState](f.(sqlitevfs.File))
	require.True(t, ok)
	return c, locks
}

// TestDiskLocksAsReal does random things with locks, as SQLite may, here and on a file of the operating system.
func TestDiskLocksAsReal(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems lock in other ways")
	}
	for _, n := range []int{2, 3} {
		r := rand.New(rand.NewPCG(uint64(n), 0))
		d := testDisk(t, nil, Config{})
		disk := filepath.Join(t.TempDir(), "a.db")
		var ours, theirs []sqlitevfs.FileLockState
		for range n {
			_, f := openDB(t, "file:"+d.Path("a.db")+"?vfs="+Stock)
			_, g := openDB(t, "file:"+disk)
			ours, theirs = append(ours, f), append(theirs, g)
		}
		states := map[string]bool{}
		for step := range 20000 {
			i := r.IntN(n)
			f, g, have := ours[i], theirs[i], ours[i].LockState()
			at := fmt.Sprintf("step %d: handle %d, holds %d", step, i, have)
			var err, want error
			switch level := sqlitevfs.LockLevel(r.IntN(5)); {
			case r.IntN(3) == 0 || level == sqlitevfs.LOCK_NONE:
				level = min(level, sqlitevfs.LOCK_SHARED)
				err, want = f.Unlock(level), g.Unlock(level)
			case level == sqlitevfs.LOCK_PENDING && have >= sqlitevfs.LOCK_SHARED:
				var got, reserved bool
				got, err = f.CheckReservedLock()
				reserved, want = g.CheckReservedLock()
				require.Equal(t, reserved, got, at)
			case level == sqlitevfs.LOCK_SHARED,
				level == sqlitevfs.LOCK_RESERVED && have == sqlitevfs.LOCK_SHARED,
				level == sqlitevfs.LOCK_EXCLUSIVE && have >= sqlitevfs.LOCK_RESERVED:
				err, want = f.Lock(level), g.Lock(level)
			}
			require.Equal(t, want == nil, err == nil, at)
			if want != nil {
				require.EqualError(t, want, sqlite3.BUSY.Error())
				require.Equal(t, sqlite3.BUSY, err)
			}
			require.Equal(t, g.LockState(), f.LockState(), at)
			var all []sqlitevfs.LockLevel
			for _, f := range ours {
				all = append(all, f.LockState())
			}
			slices.Sort(all)
			states[fmt.Sprint(all)] = true
		}
		// With two: nobody reads, one or both do, and one of them writes or waits to.
		require.Len(t, states, map[int]int{2: 8, 3: 11}[n])
		for i := range n {
			require.NoError(t, ours[i].Unlock(sqlitevfs.LOCK_NONE))
			require.NoError(t, theirs[i].Unlock(sqlitevfs.LOCK_NONE))
		}
	}
}

func exists(t *testing.T, d *Disk, name string) bool {
	ok, err := Base{}.Access(d.Path(name), sqlitevfs.ACCESS_EXISTS)
	require.NoError(t, err)
	return ok
}

func TestDiskNames(t *testing.T) {
	d := testDisk(t, Image{"a": []byte("old")}, Config{})
	moved := func(f *file) bool {
		ok, err := f.HasMoved()
		require.NoError(t, err)
		return ok
	}
	_, err := d.open("b", false)
	require.Equal(t, sqlite3.CANTOPEN, err)
	require.False(t, exists(t, d, "b"))
	require.Equal(t, sqlite3.IOERR_DELETE_NOENT, Base{}.Delete(d.Path("b"), true))
	require.Empty(t, d.Trace())
	_, err = Base{}.Access("/no/a", sqlitevfs.ACCESS_EXISTS)
	require.Error(t, err, "another disk")

	f, g := handle(t, d, "a"), handle(t, d, "a")
	require.Equal(t, f.Identity(), g.Identity())
	require.True(t, exists(t, d, "a"))
	require.False(t, moved(f))
	require.NoError(t, Base{}.Delete(d.Path("a"), false))
	require.False(t, exists(t, d, "a"))
	require.True(t, moved(f))
	require.Empty(t, d.Image())

	// What is open stays, and a new file under that name has no part in it.
	again := handle(t, d, "a")
	require.NotEqual(t, f.Identity(), again.Identity())
	require.False(t, moved(again))
	require.True(t, moved(f))
	_, err = f.WriteAt([]byte("er"), 3)
	require.NoError(t, err)
	p := make([]byte, 9)
	n, err := g.ReadAt(p, 1)
	require.Equal(t, io.EOF, err)
	require.Equal(t, "lder", string(p[:n]))
	require.Equal(t, Image{"a": nil}, d.Image())

	require.NoError(t, Base{}.Delete(d.Path("a"), true))
	var kinds []EventKind
	for _, e := range d.Trace() {
		kinds = append(kinds, e.Kind)
	}
	require.Equal(t, []EventKind{Unlink, Link, Write, Unlink, DirSyncStart, DirSyncEnd}, kinds)
}

func TestDiskContent(t *testing.T) {
	img := Image{"a": []byte("abcdef")}
	d := testDisk(t, img, Config{})
	f := handle(t, d, "a")
	require.NoError(t, f.Truncate(2))
	_, err := f.WriteAt([]byte("x"), 4)
	require.NoError(t, err)
	require.Equal(t, "ab\x00\x00x", string(d.Image()["a"]), "what was cut off doesn't come back")
	require.Equal(t, "abcdef", string(img["a"]), "the image isn't the disk's")
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 5, size)
	p := []byte("??")
	n, err := f.ReadAt(p, 3)
	require.NoError(t, err)
	require.Equal(t, "\x00x", string(p[:n]))
	n, err = f.ReadAt(p, 5)
	require.Equal(t, io.EOF, err)
	require.Zero(t, n)
	// What is written isn't to change with the writer's buffer.
	_, err = f.WriteAt(p, 0)
	require.NoError(t, err)
	p[0] = '!'
	trace := d.Trace()
	require.Equal(t, "\x00x", string(trace[len(trace)-1].Data))
	require.Equal(t, "\x00x", string(d.Image()["a"][:2]))
}

func TestDiskFull(t *testing.T) {
	d := testDisk(t, Image{"a": make([]byte, 1000), "b": make([]byte, 100)}, Config{SpaceLimit: 1300})
	a, b := handle(t, d, "a"), handle(t, d, "b")
	full := func(f *file, off int64, size, written int) {
		n, err := f.WriteAt(bytes.Repeat([]byte("x"), size), off)
		require.Equal(t, sqlite3.FULL, err)
		require.Equal(t, written, n)
	}
	fits := func(f *file, off int64, size int) {
		n, err := f.WriteAt(bytes.Repeat([]byte("x"), size), off)
		require.NoError(t, err)
		require.Equal(t, size, n)
	}
	fits(a, 0, 1000)
	fits(a, 900, 200)
	full(b, 50, 200, 50)
	trace := d.Trace()
	require.Len(t, trace[len(trace)-1].Data, 50)
	require.Len(t, d.Image()["b"], 100)
	full(b, 100, 101, 0)
	full(b, 150, 51, 0)
	require.Len(t, d.Trace(), len(trace), "nothing was written")
	fits(b, 100, 100)
	require.NoError(t, a.Truncate(1000))
	fits(b, 200, 100)
	full(b, 300, 1, 0)
	require.NoError(t, d.unlink("a"))
	fits(b, 300, 1000)
	full(b, 1300, 1, 0)
	d.Mend()
	fits(b, 1300, 1000)
}

func TestDiskFaults(t *testing.T) {
	d := testDisk(t, Image{"a": []byte("abcdef")}, Config{})
	f := handle(t, d, "a")
	var ops []Op
	fault := Fault{Err: syscall.EIO}
	d.cfg.Fault = func(op Op) Fault {
		ops = append(ops, op)
		return fault
	}
	for _, short := range []int{0, 2, 9} {
		fault.Short = short
		n, err := f.WriteAt([]byte("xyz"), int64(short))
		require.Equal(t, syscall.EIO, err)
		require.Equal(t, min(short, 3), n)
	}
	require.Equal(t, "abxyef\x00\x00\x00xyz", string(d.Image()["a"]))
	trace := d.Trace()
	require.Len(t, trace, 2)
	require.Equal(t, "xy", string(trace[0].Data))
	require.Equal(t, syscall.EIO, f.Truncate(0))
	require.Equal(t, syscall.EIO, d.unlink("a"))
	_, err := d.open("b", true)
	require.Equal(t, syscall.EIO, err)
	require.Equal(t, "abxyef\x00\x00\x00xyz", string(d.Image()["a"]))
	require.Len(t, d.Trace(), 2, "nothing happened")
	require.Equal(t, syscall.EIO, f.Sync(0))
	require.Equal(t, syscall.EIO, d.syncDir("a"))
	require.Equal(t, 2, d.FailedSyncs())
	trace = d.Trace()
	require.Equal(t, 3, trace[2].Pair)
	require.Equal(t, 2, trace[3].Pair)
	require.Equal(t, syscall.EIO, trace[3].Err)
	require.Equal(t, syscall.EIO, trace[5].Err)
	var kinds []EventKind
	for _, op := range ops {
		kinds = append(kinds, op.Kind)
	}
	require.Equal(t, []EventKind{Write, Write, Write, Truncate, Unlink, Link, SyncStart, DirSyncStart}, kinds)
	require.Equal(t, Op{Kind: Write, Name: "a", Off: 2, Size: 3}, ops[1])
}

// TestDiskSQLite runs SQLite on the stock VFS.
func TestDiskSQLite(t *testing.T) {
	d := testDisk(t, nil, Config{Powersafe: true})
	name := "file:" + d.Path("a.db") + "?vfs=" + Stock
	w, _ := openDB(t, name)
	require.NoError(t, w.Exec("PRAGMA journal_mode=wal; CREATE TABLE t(x); PRAGMA synchronous=normal; INSERT INTO t VALUES(1)"))
	r, _ := openDB(t, name)
	count := func(c *sqlite3.Conn) string {
		s, err := text(c, "SELECT count(*) FROM t")
		require.NoError(t, err)
		return s
	}
	require.Equal(t, "1", count(r))
	// With a WAL-index of its own the reader wouldn't see this, nor would it be kept from writing.
	require.NoError(t, w.Exec("BEGIN IMMEDIATE; INSERT INTO t VALUES(2)"))
	require.ErrorIs(t, r.Exec("BEGIN IMMEDIATE"), sqlite3.BUSY)
	require.Equal(t, "1", count(r))
	require.NoError(t, w.Exec("COMMIT"))
	require.Equal(t, "2", count(r))

	// The commit isn't durable until the WAL is synced, and its name not until the directory is.
	after := func(choice Choice) string {
		d := testDisk(t, crash(d, nil).Image(choice), Config{})
		c, _ := openDB(t, "file:"+d.Path("a.db")+"?vfs="+Stock)
		n, err := text(c, "SELECT count(*) FROM t")
		if err != nil {
			return err.Error()
		}
		return n
	}
	require.Equal(t, "2", after(All))
	require.Contains(t, after(None), "no such table")
	require.NoError(t, w.Exec("PRAGMA synchronous=full; INSERT INTO t VALUES(3)"))
	require.Equal(t, "3", after(None))

	require.NoError(t, w.Close())
	require.True(t, exists(t, d, "a.db-wal"))
	require.Equal(t, "3", count(r))
	require.NoError(t, r.Close())
	require.False(t, exists(t, d, "a.db-wal"))
	require.Equal(t, "3", after(All))
	require.Equal(t, "3", after(None))
	files, err := filepath.Glob(filepath.Join(d.cfg.ShmDir, "*"))
	require.NoError(t, err)
	require.Empty(t, files)
}
