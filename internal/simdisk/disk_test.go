package simdisk

import (
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
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
	"github.com/stretchr/testify/require"
)

// player plays scripts on a disk, with a handle of its file f. A script is words:
//
//   - w2ab fills sector 2 with a's and the next one with b's; h2a and H2a do so with half a sector,
//     and m2a with the second half of one and the first of the next
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
func handle(d *Disk, name string) *file {
	f := &file{d: d, ino: must(d.open(name, true)), name: name, powersafe: d.cfg.Powersafe}
	f.main = f
	return f
}

func newPlayer(t *testing.T, img Image, cfg Config) *player {
	d := testDisk(t, img, cfg)
	return &player{t, d, handle(d, "f")}
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
		var fault Fault
		if strings.Contains("xXD", word) {
			fault = Fault{Err: syscall.EIO, Lost: word == "X"}
		}
		p.d.cfg.Fault = func(Op) Fault { return fault }
		require.Equal(p.t, fault.Err, p.do(word[0], word[1:]))
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
		case 'h':
			data = data[:sectorSize/2]
		case 'H':
			off, data = off+sectorSize/2, data[:sectorSize/2]
		case 'm':
			off += sectorSize / 2
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
			other := handle(d, "other") // has locks of its own
			require.NoError(t, other.Lock(sqlitevfs.LOCK_EXCLUSIVE))
			handles := map[byte]*file{'A': handle(d, "f"), 'B': handle(d, "f"), 'C': handle(d, "f")}
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
					require.Equal(t, level == "yes", must(f.CheckReservedLock()), at)
				case 'x':
					require.NoError(t, f.Close())
				}
			}
		})
	}
}

// TestDiskLocksAsReal does random things with locks, as SQLite may, here and on a file of the operating system.
// With a hot journal SQLite goes from shared to exclusive.
func TestDiskLocksAsReal(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems lock in other ways")
	}
	for _, test := range []struct {
		handles, states int // that they are in together, whoever is in which
		hot             bool
	}{{2, 8, false}, {3, 11, false}, {3, 11, true}} {
		t.Run(fmt.Sprintf("%d-%t", test.handles, test.hot), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 0))
			d := testDisk(t, nil, Config{})
			disk := filepath.Join(t.TempDir(), "a.db")
			var ours, theirs []sqlitevfs.FileLockState
			for range test.handles {
				_, f := openDB(t, "file:"+d.Path("a.db")+"?vfs="+Stock)
				_, g := openDB(t, "file:"+disk)
				ours, theirs = append(ours, f), append(theirs, g)
				defer f.Unlock(sqlitevfs.LOCK_NONE)
				defer g.Unlock(sqlitevfs.LOCK_NONE)
			}
			states := map[string]bool{}
			for step := range 20000 {
				i := r.IntN(test.handles)
				f, g, have := ours[i], theirs[i], ours[i].LockState()
				at := fmt.Sprintf("step %d: handle %d, holds %d", step, i, have)
				var err, want error
				var got, reserved bool
				switch level := sqlitevfs.LockLevel(r.IntN(5)); {
				case r.IntN(3) == 0 || level == sqlitevfs.LOCK_NONE:
					level = min(level, sqlitevfs.LOCK_SHARED)
					err, want = f.Unlock(level), g.Unlock(level)
				case level == sqlitevfs.LOCK_PENDING && have >= sqlitevfs.LOCK_SHARED:
					got, err = f.CheckReservedLock()
					reserved, want = g.CheckReservedLock()
				case level == sqlitevfs.LOCK_SHARED,
					level == sqlitevfs.LOCK_RESERVED && have == sqlitevfs.LOCK_SHARED,
					level == sqlitevfs.LOCK_EXCLUSIVE && (have > sqlitevfs.LOCK_SHARED || test.hot && have == sqlitevfs.LOCK_SHARED):
					err, want = f.Lock(level), g.Lock(level)
				}
				require.Equal(t, fmt.Sprint(want), fmt.Sprint(err), at)
				require.Equal(t, reserved, got, at)
				require.Equal(t, g.LockState(), f.LockState(), at)
				var all []sqlitevfs.LockLevel
				for _, f := range ours {
					all = append(all, f.LockState())
				}
				slices.Sort(all)
				states[fmt.Sprint(all)] = true
			}
			require.Len(t, states, test.states)
		})
	}
}

func exists(d *Disk, name string) bool {
	return must(Base{}.Access(d.Path(name), sqlitevfs.ACCESS_EXISTS))
}

func TestDiskNames(t *testing.T) {
	d := testDisk(t, Image{"a": []byte("old")}, Config{})
	_, err := d.open("b", false)
	require.Equal(t, sqlite3.CANTOPEN, err)
	require.False(t, exists(d, "b"))
	require.Equal(t, sqlite3.IOERR_DELETE_NOENT, Base{}.Delete(d.Path("b"), true))
	require.Empty(t, d.Trace())
	_, err = Base{}.Access("/no/a", sqlitevfs.ACCESS_EXISTS)
	require.Error(t, err, "another disk")

	f, g := handle(d, "a"), handle(d, "a")
	require.Equal(t, f.Identity(), g.Identity())
	require.True(t, exists(d, "a"))
	require.False(t, must(f.HasMoved()))
	require.NoError(t, Base{}.Delete(d.Path("a"), false))
	require.False(t, exists(d, "a"))
	require.True(t, must(f.HasMoved()))
	require.Empty(t, d.Image())

	// What is open stays, and a new file under that name has no part in it.
	again := handle(d, "a")
	require.NotEqual(t, f.Identity(), again.Identity())
	require.False(t, must(again.HasMoved()))
	require.True(t, must(f.HasMoved()))
	must(f.WriteAt([]byte("er"), 3))
	p := make([]byte, 9)
	n, err := g.ReadAt(p, 1)
	require.Equal(t, io.EOF, err)
	require.Equal(t, "lder", string(p[:n]))
	require.Equal(t, Image{"a": nil}, d.Image())

	require.NoError(t, Base{}.Delete(d.Path("a"), true))
	var kinds string
	for _, e := range d.Trace() {
		kinds += e.Kind.String() + " "
	}
	require.Equal(t, "unlink link write unlink syncdir dirsynced ", kinds)
}

func TestDiskContent(t *testing.T) {
	img := Image{"a": []byte("abcdef")}
	d := testDisk(t, img, Config{})
	f := handle(d, "a")
	require.NoError(t, f.Truncate(2))
	must(f.WriteAt([]byte("x"), 4))
	require.Equal(t, "ab\x00\x00x", string(d.Image()["a"]), "what was cut off doesn't come back")
	require.Equal(t, "abcdef", string(img["a"]), "the image isn't the disk's")
	require.EqualValues(t, 5, must(f.Size()))
	p := []byte("??")
	n, err := f.ReadAt(p, 5)
	require.Equal(t, io.EOF, err)
	require.Zero(t, n)
	require.Equal(t, 2, must(f.ReadAt(p, 3)))
	must(f.WriteAt(p, 0))
	p[0] = '!' // the writer's buffer isn't the disk's either
	require.Equal(t, "\x00x", string(d.Trace()[2].Data))
	require.Equal(t, "\x00x\x00\x00x", string(d.Image()["a"]))
}

func TestDiskFull(t *testing.T) {
	d := testDisk(t, Image{"a": make([]byte, 1000), "b": make([]byte, 100)}, Config{SpaceLimit: 1300})
	a, b := handle(d, "a"), handle(d, "b")
	full := func(t *testing.T, f *file, off int64, size, written int) {
		n, err := f.WriteAt(make([]byte, size), off)
		require.Equal(t, sqlite3.FULL, err)
		require.Equal(t, written, n)
	}
	fits := func(f *file, off int64, size int) { must(f.WriteAt(make([]byte, size), off)) }
	fits(a, 0, 1000)
	fits(a, 900, 200)
	full(t, b, 50, 200, 50)
	trace := d.Trace()
	require.Len(t, trace[len(trace)-1].Data, 50)
	require.Len(t, d.Image()["b"], 100)
	full(t, b, 100, 101, 0)
	full(t, b, 150, 51, 0)
	require.Len(t, d.Trace(), len(trace), "nothing was written")
	fits(b, 100, 100)
	require.NoError(t, a.Truncate(1000))
	fits(b, 200, 100)
	full(t, b, 300, 1, 0)
	require.NoError(t, d.unlink("a"))
	fits(b, 300, 1000)
	full(t, b, 1300, 1, 0)
	t.Run("removed", func(t *testing.T) {
		require.NoError(t, a.Truncate(0))
		full(t, b, 1300, 1, 0)
	})
	d.Mend()
	fits(b, 1300, 1000)
}

func TestDiskFaults(t *testing.T) {
	d := testDisk(t, Image{"a": []byte("abcdef")}, Config{})
	f := handle(d, "a")
	var ops []Op
	var kinds string
	fault := Fault{Err: syscall.EIO}
	d.cfg.Fault = func(op Op) Fault {
		ops, kinds = append(ops, op), kinds+op.Kind.String()+" "
		return fault
	}
	for _, short := range []int{0, 2, 9} {
		fault.Short = short
		n, err := f.WriteAt([]byte("xyz"), int64(short))
		require.Equal(t, syscall.EIO, err)
		require.Equal(t, min(short, 3), n)
	}
	require.Len(t, d.Trace(), 2)
	require.Equal(t, "xy", string(d.Trace()[0].Data))
	require.Equal(t, syscall.EIO, f.Truncate(0))
	require.Equal(t, syscall.EIO, d.unlink("a"))
	_, err := d.open("b", true)
	require.Equal(t, syscall.EIO, err)
	require.Equal(t, Image{"a": []byte("abxyef\x00\x00\x00xyz")}, d.Image())
	require.Len(t, d.Trace(), 2, "nothing happened")
	require.Equal(t, syscall.EIO, f.Sync(0))
	require.Equal(t, syscall.EIO, d.syncDir("a"))
	require.Equal(t, 2, d.FailedSyncs())
	for i, e := range d.Trace()[2:] {
		require.Equal(t, (2+i)^1, e.Pair)
		require.Equal(t, i%2 == 1, e.Err != nil)
	}
	require.Equal(t, "write write write truncate unlink link sync syncdir ", kinds)
	require.Equal(t, Op{Kind: Write, Name: "a", Off: 2, Size: 3}, ops[1])
}
