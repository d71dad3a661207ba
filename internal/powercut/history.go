package powercut

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
	"time"
)

var hashSeed = maphash.MakeSeed()

// Level is what PRAGMA synchronous is set to.
type Level string

// The levels.
const (
	Off    Level = "off"
	Normal Level = "normal"
	Full   Level = "full"
	Extra  Level = "extra"
)

// row is what a row holds, as a hash; 0 is that there is none.
type row uint64

func hashRow(k int64, v []byte) row {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(k))
	return row(maphash.Bytes(hashSeed, append(b[:], v...)) | 1)
}

// digest is a hash of a set of rows: the sum of those of its rows.
type digest uint64

func (r row) at(id int64) digest {
	if r == 0 {
		return 0
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(id))
	binary.LittleEndian.PutUint64(b[8:], uint64(r))
	return digest(maphash.Bytes(hashSeed, b[:]))
}

// txn is a transaction on one database. It knows the one before it, so that all of them make a tree:
// where a commit fails, and nobody can say whether it is there, two may follow the same one.
type txn struct {
	id      int64
	before  *txn
	depth   int
	changes map[int64]row
	digest  digest
	mode    string // the journal mode that it was made in

	process    int
	writer     any // its connection
	begun      int // place in the trace where it began
	committed  int // and where it was to be committed, or -1
	acked      int // and where that returned without an error, or -1
	ackedAt    time.Duration
	maxDelay   time.Duration
	maxPending int
	walBytes   int // that it wrote
}

// isAfter reports whether t is u or comes after it.
func (t *txn) isAfter(u *txn) bool {
	for t != nil && t.depth > u.depth {
		t = t.before
	}
	return t == u
}

// promise is that a transaction, and all before it, is durable from some event on.
type promise struct {
	from int
	txn  *txn
	why  string
}

// history is what happened to one database.
type history struct {
	db        string
	txns      map[int64]*txn
	rows      map[int64]row // after head
	head      *txn          // the last that is known to be committed
	bounded   []*txn        // acknowledged at NORMAL, in order
	promises  []promise
	switches  []modeSwitch
	unsafe    []span
	processes [processes]process
}

// processes is how many processes there are that use this project's VFS.
const processes = 2

// process is what a process has to do with a database.
type process struct {
	open  int  // connections through this project's VFS
	ours  *txn // the last commit of those
	sync  bool // async_mode=sync is in force
	modes int  // times that async_mode was set
}

// modeSwitch is a change of the journal mode to another, between two places in the trace.
type modeSwitch struct {
	mode     string
	from, to int
}

// span is a part of the trace, in which a power cut may do anything:
// SQLite keeps no journal that outlives it.
type span struct{ from, to int }

const forever = math.MaxInt

// mayBe reports whether the journal mode may be that if the transaction is the last,
// and the power is cut after k events.
func (h *history) mayBe(mode string, t *txn, k int) bool {
	if mode == t.mode || t.id < 0 {
		return true
	}
	for _, s := range h.switches {
		if s.mode == mode && s.from <= k && s.to >= t.begun {
			return true
		}
	}
	return false
}

func newHistory(db string) *history {
	// Before the database has its tables there is nothing.
	none := &txn{id: -1, depth: -1, mode: "delete"}
	root := &txn{before: none, mode: "wal"}
	h := &history{
		db: db, txns: map[int64]*txn{-1: none, 0: root}, rows: map[int64]row{},
	}
	h.startWith(root)
	return h
}

// startWith is called when the database is as after t, before any other transaction.
func (h *history) startWith(t *txn) {
	h.head = t
	for i := range h.processes {
		h.processes[i].ours = t
	}
}

// begin starts a transaction after the one that the database says was the last.
// It returns nil if there is none such.
func (h *history) begin(id, before int64, mode string, at int) *txn {
	u := h.txns[before]
	if u == nil {
		return nil
	}
	if u.before == h.head {
		// Its commit hasn't returned yet, or has failed and is there all the same.
		u.apply(h.rows)
		h.head = u
	}
	if u != h.head {
		// A commit failed, and isn't there.
		h.rows = map[int64]row{}
		var path []*txn
		for v := u; v != nil; v = v.before {
			path = append(path, v)
		}
		for _, v := range slices.Backward(path) {
			v.apply(h.rows)
		}
		h.head = u
	}
	t := &txn{
		id: id, mode: mode, before: u, depth: u.depth + 1,
		changes: map[int64]row{}, begun: at, committed: -1, acked: -1,
	}
	h.txns[id] = t
	return t
}

func (t *txn) apply(rows map[int64]row) {
	for id, r := range t.changes {
		if r == 0 {
			delete(rows, id)
		} else {
			rows[id] = r
		}
	}
}

// commit is called right before the transaction is committed.
func (h *history) commit(t *txn, at int) {
	t.digest = t.before.digest
	for id, r := range t.changes {
		t.digest += r.at(id) - h.rows[id].at(id)
	}
	t.committed = at
}

// visible is called when the transaction is known to be committed.
func (h *history) visible(t *txn) {
	if h.head == t.before {
		t.apply(h.rows)
		h.head = t
	} else if !h.head.isAfter(t) {
		// Others have seen it, and theirs is acknowledged before.
		panic("powercut: history out of order")
	}
}

func (h *history) promise(from int, t *txn, why string) {
	h.promises = append(h.promises, promise{from, t, why})
}
