package powercut

import (
	"errors"
	"fmt"
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// tale is a history and a trace with an event each millisecond, so that a place in it is a time, too.
//
//	0 -- 1 -- 2 -- 4    1 begins at 10, 2 at 20 and so on; each is committed 5 later.
//	      \-- 5         3 was rolled back.
type tale struct {
	*history
	trace []simdisk.Event
}

func newTale() *tale {
	s := &tale{history: newHistory("a.db")}
	for i := range 1000 {
		s.trace = append(s.trace, simdisk.Event{Kind: simdisk.Mark, Time: ms(i)})
	}
	for _, txn := range []struct {
		id, before int64
		changes    map[int64]row
	}{
		{1, 0, map[int64]row{1: 11, 2: 12}},
		{2, 1, map[int64]row{1: 21, 2: 0, 3: 23}},
		{3, 2, map[int64]row{4: 34}},
		{4, 2, map[int64]row{3: 0, 4: 44}},
		{5, 1, map[int64]row{5: 55}},
	} {
		t := s.begin(txn.id, txn.before, "wal", 10*int(txn.id))
		maps.Copy(t.changes, txn.changes)
		if txn.id != 3 {
			s.commit(t, 10*int(txn.id)+5)
		}
		if txn.id != 3 && txn.id != 5 {
			s.visible(t)
		}
	}
	return s
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// finding is what is found after a transaction.
func (s *tale) finding(id int64) finding {
	f := finding{txn: id, mode: "wal"}
	if t := s.txns[id]; t != nil {
		f.digest = t.digest
	}
	return f
}

// sync puts a sync in the trace. One that ends at 0 doesn't end.
func (s *tale) sync(name string, asked, start, end int, err error) {
	kinds := [2]simdisk.EventKind{simdisk.SyncStart, simdisk.SyncEnd}
	if name == "" {
		kinds = [2]simdisk.EventKind{simdisk.DirSyncStart, simdisk.DirSyncEnd}
	}
	s.trace[start] = simdisk.Event{Kind: kinds[0], Name: name, Time: ms(start), Called: ms(asked), Pair: end}
	if end > 0 {
		s.trace[end] = simdisk.Event{Kind: kinds[1], Name: name, Time: ms(end), Pair: start, Err: err}
	}
}

// require requires what the oracle says if the power is cut after k events: the start of the error, or nothing.
func (s *tale) require(t *testing.T, k int, f finding, want string) {
	t.Helper()
	o := newOracle(s.history, s.trace)
	err := o.advance(k)
	if err == nil {
		err = o.check(f)
	}
	if want == "" {
		require.NoError(t, err, "after %d events", k)
		return
	}
	require.ErrorContains(t, err, want+":", "after %d events", k)
}

// TestOracle is on all but the window of the commits at NORMAL.
func TestOracle(t *testing.T) {
	broken := errors.New("malformed")
	for _, test := range []struct {
		name   string
		k      int
		found  int64
		change func(s *tale, f *finding)
		want   string
	}{
		{"the last", 50, 4, nil, ""},
		{"an earlier one", 50, 1, nil, ""},
		{"none", 50, 0, nil, ""},
		{"no tables", 50, -1, func(s *tale, f *finding) { f.mode = "delete" }, ""},
		{"one that may have been committed", 60, 5, nil, ""},

		{"malformed", 50, 4, func(s *tale, f *finding) { f.err = broken }, "I1"},
		{"malformed where SQLite has no journal", 50, 4, func(s *tale, f *finding) { f.err = broken; s.unsafe = []span{{49, 50}} }, ""},
		{"or had none", 50, 4, func(s *tale, f *finding) { f.err = broken; s.unsafe = []span{{40, 49}} }, "I1"},
		{"or was to have none", 50, 4, func(s *tale, f *finding) { f.err = broken; s.unsafe = []span{{50, 60}} }, "I1"},
		{"another journal mode", 50, 4, func(s *tale, f *finding) { f.mode = "delete" }, "I1"},
		{"a switch to it", 50, 4, func(s *tale, f *finding) { f.mode = "delete"; s.switches = []modeSwitch{{"delete", 50, 52}} }, ""},
		{"to another", 50, 4, func(s *tale, f *finding) { f.mode = "delete"; s.switches = []modeSwitch{{"wal", 50, 52}} }, "I1"},
		{"later", 50, 4, func(s *tale, f *finding) { f.mode = "delete"; s.switches = []modeSwitch{{"delete", 51, 52}} }, "I1"},
		{"before it began", 50, 4, func(s *tale, f *finding) { f.mode = "delete"; s.switches = []modeSwitch{{"delete", 30, 39}} }, "I1"},
		{"while it went on", 50, 4, func(s *tale, f *finding) { f.mode = "delete"; s.switches = []modeSwitch{{"delete", 30, 40}} }, ""},
		{"it was another then", 50, 4, func(s *tale, f *finding) { s.txns[4].mode = "delete" }, "I1"},

		{"rows of another", 50, 4, func(s *tale, f *finding) { f.digest = s.txns[2].digest }, "I2"},
		{"a row too many", 50, 4, func(s *tale, f *finding) { f.digest += row(11).at(9) }, "I2"},
		{"a row too few", 50, 4, func(s *tale, f *finding) { f.digest -= row(44).at(4) }, "I2"},
		{"a row with another id", 50, 4, func(s *tale, f *finding) { f.digest += row(44).at(5) - row(44).at(4) }, "I2"},
		{"rows where there are none", 50, 0, func(s *tale, f *finding) { f.digest = 1 }, "I2"},

		{"it never was", 50, 6, nil, "I5"},
		{"it was rolled back", 50, 3, nil, "I5"},
		{"it isn't committed yet", 44, 4, nil, "I5"},
		{"it hasn't begun", 30, 4, nil, "I5"},

		{"promised", 50, 2, func(s *tale, f *finding) { s.promise(49, s.txns[2], "") }, ""},
		{"more than promised", 50, 4, func(s *tale, f *finding) { s.promise(49, s.txns[2], "") }, ""},
		{"less than promised", 50, 1, func(s *tale, f *finding) { s.promise(49, s.txns[2], "") }, "I3"},
		{"before it was promised", 50, 1, func(s *tale, f *finding) { s.promise(50, s.txns[2], "") }, ""},
		{"another than promised", 60, 5, func(s *tale, f *finding) { s.promise(49, s.txns[2], "") }, "I3"},
		{"the tables are gone", 50, -1, func(s *tale, f *finding) { s.promise(49, s.txns[0], "") }, "I3"},
		{"the tables are there", 50, 0, func(s *tale, f *finding) { s.promise(49, s.txns[0], "") }, ""},
		{"promised more, and then less", 50, 1, func(s *tale, f *finding) {
			s.promise(30, s.txns[2], "")
			s.promise(40, s.txns[1], "")
		}, "I3"},
		{"promised less, and then more", 50, 1, func(s *tale, f *finding) {
			s.promise(40, s.txns[2], "")
			s.promise(30, s.txns[1], "")
		}, "I3"},
		{"promised in another order", 50, 0, func(s *tale, f *finding) {
			s.promise(60, s.txns[4], "")
			s.promise(30, s.txns[1], "")
		}, "I3"},
		{"promised what excludes the other", 90, 4, func(s *tale, f *finding) {
			s.promise(70, s.txns[4], "")
			s.promise(89, s.txns[5], "")
		}, "I3"},
		{"before that", 89, 4, func(s *tale, f *finding) {
			s.promise(70, s.txns[4], "")
			s.promise(89, s.txns[5], "")
		}, ""},
		{"a failed sync doesn't excuse it", 100, 1, func(s *tale, f *finding) {
			s.sync("a.db-wal", 60, 61, 62, syscall.EIO)
			s.promise(49, s.txns[2], "")
		}, "I3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newTale()
			f := s.finding(test.found)
			if test.change != nil {
				test.change(s, &f)
			}
			s.require(t, test.k, f, test.want)
		})
	}
}

// TestOracleWindow: 1, 2 and 4 are committed at NORMAL and return at 100, 200 and 300, with max_delay=100 ms.
func TestOracleWindow(t *testing.T) {
	const wal, dir = "a.db-wal", ""
	pending := func(s *tale, process int) {
		s.txns[2].maxDelay, s.txns[2].walBytes = ms(500), 500
		s.txns[4].walBytes, s.txns[4].process = 501, process
	}
	for _, test := range []struct {
		name   string
		change func(s *tale)
		found  int64
		last   int // event up to which it is allowed
	}{
		{"max_delay", func(s *tale) {}, 2, 400},
		{"of the first that is lost", func(s *tale) {}, 1, 300},
		{"nothing is lost", func(s *tale) {}, 4, 999},
		{"one with its own", func(s *tale) { s.txns[4].maxDelay = ms(150) }, 2, 450},

		{"a sync", func(s *tale) { s.sync(wal, 50, 60, 80, nil) }, 2, 430},
		{"the longest", func(s *tale) { s.sync(wal, 50, 60, 80, nil); s.sync(wal, 85, 86, 90, nil) }, 2, 430},
		{"the longest is the last", func(s *tale) { s.sync(wal, 50, 60, 61, nil); s.sync(wal, 65, 66, 95, nil) }, 2, 430},
		{"of another database", func(s *tale) { s.sync("b.db-wal", 50, 60, 80, nil) }, 2, 430},
		{"not of the database file", func(s *tale) { s.sync("a.db", 50, 60, 80, nil) }, 2, 400},
		{"the directory, too", func(s *tale) { s.sync(dir, 50, 60, 80, nil); s.sync(wal, 85, 86, 90, nil) }, 2, 435},
		{"a sync as long as max_delay", func(s *tale) { s.sync(wal, 10, 11, 110, nil) }, 2, 500},
		{"a longer one counts twice", func(s *tale) { s.sync(wal, 10, 11, 160, nil) }, 2, 600},
		{"one that goes on", func(s *tale) { s.sync(wal, 380, 381, 0, nil) }, 2, 999},
		{"for as long as it has gone on", func(s *tale) { s.sync(wal, 401, 402, 900, nil) }, 2, 400},
		{"not one later", func(s *tale) { s.sync(wal, 500, 501, 900, nil) }, 2, 400},

		{"a failed sync", func(s *tale) { s.sync(wal, 350, 351, 400, syscall.EIO) }, 2, 999},
		{"of the directory", func(s *tale) { s.sync(dir, 350, 351, 400, syscall.EIO) }, 2, 999},
		{"that hasn't failed yet", func(s *tale) { s.sync(wal, 401, 402, 900, syscall.EIO) }, 2, 400},

		{"max_pending", func(s *tale) { s.txns[4].walBytes = 1001 }, 2, 300},
		{"as much as that", func(s *tale) { s.txns[4].walBytes = 1000 }, 2, 400},
		{"together", func(s *tale) { pending(s, 0) }, 1, 300},
		{"but each process on its own", func(s *tale) { pending(s, 1) }, 1, 400},
		{"but not the ones that are there", func(s *tale) { s.txns[2].walBytes, s.txns[4].walBytes = 500, 501 }, 2, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newTale()
			for i, id := range []int64{1, 2, 4} {
				u := s.txns[id]
				u.acked, u.ackedAt, u.maxDelay, u.maxPending = 100*(i+1), ms(100*(i+1)), ms(100), 1000
				s.bounded = append(s.bounded, u)
			}
			test.change(s)
			s.require(t, test.last, s.finding(test.found), "")
			if test.last < 999 {
				s.require(t, test.last+1, s.finding(test.found), "I4")
			}
		})
	}
}

// TestOracleHistory is on what the history makes of the transactions.
func TestOracleHistory(t *testing.T) {
	digestOf := func(rows map[int64]row) (d digest) {
		for id, r := range rows {
			d += r.at(id)
		}
		return d
	}
	s := newTale()
	for id, rows := range map[int64]map[int64]row{
		0: {}, 1: {1: 11, 2: 12}, 2: {1: 21, 3: 23}, 4: {1: 21, 4: 44}, 5: {1: 11, 2: 12, 5: 55},
	} {
		require.Equal(t, digestOf(rows), s.txns[id].digest, id)
	}
	require.NotEqual(t, row(1).at(2), row(2).at(1))
	require.Nil(t, s.begin(7, 6, "wal", 100), "there is no 6")

	// Nobody knows whether 5 is committed, until the next one finds it there, or another.
	for before, want := range map[int64]map[int64]row{
		5: {1: 11, 2: 12, 5: 55, 6: 66}, 4: {1: 21, 4: 44, 6: 66}, 1: {1: 11, 2: 12, 6: 66},
	} {
		s := newTale()
		u := s.begin(6, before, "wal", 60)
		u.changes[6] = 66
		s.commit(u, 65)
		s.visible(u)
		require.Equal(t, digestOf(want), u.digest)
		require.Equal(t, want, s.rows)
		require.True(t, u.isAfter(s.txns[1]))
		require.True(t, u.isAfter(u))
		require.Equal(t, before == 5, u.isAfter(s.txns[5]))
		require.Equal(t, before == 4, u.isAfter(s.txns[2]))
	}
}

// TestOracleInspect: what is found in a database is what the history says.
func TestOracleInspect(t *testing.T) {
	d := testDisk(t, nil, simdisk.Config{})
	require.Equal(t, finding{txn: -1, mode: "delete"}, inspect(d, "a.db"))
	c := openDB(t, "file:"+d.Path("a.db")+"?vfs="+simdisk.Stock)
	require.NoError(t, c.Exec(tables))
	require.Equal(t, finding{mode: "delete"}, inspect(d, "a.db"))
	require.NoError(t, c.Exec("PRAGMA journal_mode=wal; INSERT INTO t VALUES(7, 1, 'x'), (8, 2, 'y'); UPDATE meta SET txn=3"))
	require.NoError(t, c.Close())
	want := finding{txn: 3, mode: "wal", digest: hashRow(1, []byte("x")).at(7) + hashRow(2, []byte("y")).at(8)}
	require.Equal(t, want, inspect(d, "a.db"))

	for want, spoil := range map[string]func(simdisk.Image){
		"not a database": func(img simdisk.Image) { img["a.db"][0]++ },
		"malformed":      func(img simdisk.Image) { img["a.db"] = img["a.db"][:4096] },
		"page 2":         func(img simdisk.Image) { clear(img["a.db"][4096:8192]) },
		"page 4":         func(img simdisk.Image) { clear(img["a.db"][3*4096+3:][:2]) }, // no entries in the index
	} {
		img := d.Image()
		spoil(img)
		require.ErrorContains(t, inspect(testDisk(t, img, simdisk.Config{}), "a.db").err, want)
	}
	c = openDB(t, "file:"+d.Path("a.db")+"?vfs="+simdisk.Stock)
	require.NoError(t, errors.Join(c.Exec("DELETE FROM meta"), c.Close()))
	require.ErrorContains(t, inspect(d, "a.db").err, "no row")
	require.Equal(t, "transaction 3 (number 7)", fmt.Sprint(&txn{id: 3, depth: 7}))
}

func testDisk(t *testing.T, img simdisk.Image, cfg simdisk.Config) *simdisk.Disk {
	cfg.ShmDir = t.TempDir()
	d := simdisk.NewDisk(img, cfg)
	t.Cleanup(d.Remove)
	return d
}

func openDB(t *testing.T, name string) *sqlite3.Conn {
	c, err := sqlite3.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}
