package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
)

// tables makes the tables that the workloads use.
const tables = `
BEGIN;
CREATE TABLE meta(txn INTEGER);
CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, v BLOB);
CREATE INDEX i ON t(k);
INSERT INTO meta VALUES(0);
COMMIT;
`

// part is a transaction's part in one of the databases.
type txnPart struct {
	schema string
	h      *history
	t      *txn
}

// transaction makes changes and commits them, or rolls them back.
func (k *worker) transaction(s txnStep, r *rand.Rand) {
	if !k.exec("BEGIN IMMEDIATE") {
		return
	}
	at, _ := k.run.disk.Len()
	var parts []txnPart
	k.run.lastTxn++
	id := k.run.lastTxn
	for i, h := range k.run.attached() {
		if i > 0 && r.IntN(4) == 0 {
			continue // only the first takes part
		}
		before, err := k.ints("SELECT txn FROM " + schemas[i] + ".meta")
		if err != nil || len(before) == 0 {
			k.failed("read meta", err)
			return
		}
		mode, err := k.text("PRAGMA " + schemas[i] + ".journal_mode")
		if err != nil {
			k.failed("journal_mode", err)
			return
		}
		if mode != "wal" {
			k.journal, mode = mode, "delete"
		}
		if mode != "wal" && k.journal == "memory" {
			defer k.unsafe(h, at)()
		}
		t := h.begin(id, before[0], mode, at)
		if t == nil {
			k.run.violation(fmt.Sprintf("worker %d: %s holds transaction %d, which never was", k.id, h.db, before[0]))
			return
		}
		t.process, t.writer, t.maxDelay, t.maxPending = k.process, k.conn, k.maxDelay, k.maxPending
		parts = append(parts, txnPart{schemas[i], h, t})
	}
	for _, p := range parts {
		for range s.changes {
			if !k.change(p, s.size, r) {
				return
			}
		}
		for range s.nested {
			if !k.nested(p, s, r) {
				return
			}
		}
		if !k.exec(fmt.Sprintf("UPDATE %s.meta SET txn=%d", p.schema, id)) {
			return
		}
	}
	if s.rollback {
		k.exec("ROLLBACK")
		return
	}
	at, _ = k.run.disk.Len()
	for _, p := range parts {
		p.h.commit(p.t, at)
	}
	sync := true
	for _, p := range parts {
		sync = sync && k.here(p.h).sync
	}
	failed := k.failure(parts)
	err := k.conn.Exec("COMMIT")
	k.turn()
	if err != nil {
		k.failed("COMMIT", err)
		if errors.Is(err, sqlite3.IOERR_FSYNC) {
			// H5: reads go on.
			if !k.conn.GetAutocommit() {
				k.exec("ROLLBACK")
			}
			if _, err := k.ints("SELECT txn FROM main.meta"); err != nil {
				k.run.violation(fmt.Sprintf("worker %d: after a failed sync it can't be read: %v", k.id, err))
			}
		}
		return
	}
	if failed != nil && k.run.disabled&rules.FailureIsFinal == 0 {
		k.run.violation(fmt.Sprintf("H5: worker %d committed after %v", k.id, failed))
	}
	for _, p := range parts {
		p.h.visible(p.t)
		if here := k.here(p.h); !k.stock && p.t.depth > here.ours.depth {
			here.ours = p.t
		}
	}
	at, now := k.run.disk.Mark(fmt.Sprintf("commit %d of worker %d at %s", id, k.id, k.now))
	for _, p := range parts {
		p.t.acked, p.t.ackedAt = at, now
		switch {
		case p.t.mode == "wal" && (k.now == Full || k.now == Extra || sync && k.here(p.h).sync && !k.stock):
			p.h.promise(at, p.t, fmt.Sprintf("commit at %s returned", k.now))
		case p.t.mode == "wal" && k.now == Normal && !k.stock:
			p.h.bounded = append(p.h.bounded, p.t)
		case p.t.mode != "wal" && (k.now == Extra || k.now == Full && k.journal != "delete"):
			p.h.promise(at, p.t, fmt.Sprintf("commit at %s with journal_mode=%s returned", k.now, k.journal))
		}
	}
}

// failure returns what has failed one of the databases, if this process has them open in WAL mode.
func (k *worker) failure(parts []txnPart) error {
	for _, p := range parts {
		if err := vfs.Failure(k.path(p.h.db)); !k.stock && p.t.mode == "wal" && err != nil && !errors.Is(err, vfs.ErrNotOpen) {
			return err
		}
	}
	return nil
}

// unsafe takes note that from an event on, until it is told, SQLite has no journal on the disk.
func (k *worker) unsafe(h *history, from int) (end func()) {
	i := len(h.unsafe)
	h.unsafe = append(h.unsafe, span{from, forever})
	return func() { h.unsafe[i].to, _ = k.run.disk.Len() }
}

// nested makes changes within a savepoint, and may roll them back.
func (k *worker) nested(p txnPart, s txnStep, r *rand.Rand) bool {
	if !k.exec("SAVEPOINT s") {
		return false
	}
	before := map[int64]row{}
	for id, row := range p.t.changes {
		before[id] = row
	}
	for range s.changes {
		if !k.change(p, s.size, r) {
			return false
		}
	}
	if r.IntN(2) == 0 {
		if !k.exec("ROLLBACK TO s") {
			return false
		}
		p.t.changes = before
	}
	return k.exec("RELEASE s")
}

// ids is how many different rows there are.
const ids = 200

// change inserts, updates or deletes a row.
func (k *worker) change(p txnPart, size int, r *rand.Rand) bool {
	id := int64(1 + r.IntN(ids))
	key := int64(r.IntN(1000))
	v := make([]byte, r.IntN(size+1))
	for i := range v {
		v[i] = byte(r.Uint32())
	}
	var sql string
	kind := r.IntN(6)
	switch kind {
	case 0: // delete the next one
		sql = "DELETE FROM %[1]s.t WHERE id=(SELECT id FROM %[1]s.t WHERE id>=?1 ORDER BY id LIMIT 1) RETURNING id"
	case 1, 2: // update the next one
		sql = "UPDATE %[1]s.t SET k=?2, v=?3 WHERE id=(SELECT id FROM %[1]s.t WHERE id>=?1 ORDER BY id LIMIT 1) RETURNING id"
	default:
		sql = "INSERT OR REPLACE INTO %[1]s.t VALUES(?1, ?2, ?3) RETURNING id"
	}
	sql = fmt.Sprintf(sql, p.schema)
	s, _, err := k.conn.Prepare(sql)
	if err != nil {
		k.failed(sql, err)
		return false
	}
	defer s.Close()
	s.BindInt64(1, id)
	if kind > 0 {
		s.BindInt64(2, key)
		s.BindBlob(3, v)
	}
	for s.Step() {
		id := s.ColumnInt64(0)
		if kind == 0 {
			p.t.changes[id] = 0
		} else {
			p.t.changes[id] = hashRow(key, v)
		}
	}
	if err := s.Err(); err != nil {
		k.turn()
		k.failed(sql, err)
		return false
	}
	return true
}
