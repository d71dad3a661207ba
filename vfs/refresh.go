package vfs

import (
	"context"
	"encoding/binary"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/internal/syncqueue"
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// After a failed sync the kernel takes the pages for written: a later sync succeeds without them,
// and what is read comes from the page cache. So when the database is opened anew,
// no sync can vouch for the part of the WAL that wasn't durable by then.
// It is written once more, byte for byte, before anything that depends on it is called durable.
// The part that was durable is left alone: a power cut could tear what is written.
//
// This must not meet a write by another process. Nobody writes where this process does while it has the write lock.
// A checkpoint hasn't: but whatever it reads from the WAL is committed, and stays as it is
// until the checkpoint has brought it over.

// refreshChunk is how much of the WAL is read and written at once.
const refreshChunk = 1 << 20

// unsynced is a WAL of which a sync failed. It outlives the [database] that it happened to.
type unsynced struct {
	id     identity // of the database file
	header [walHeaderSize]byte
	upTo   atomic.Int64 // as far as the WAL is durable
	doubt  bool         // which WAL it was couldn't be read: the next one to read the header finds out
	known  walExtent    // what was known of it
	over   bool         // there is nothing left to write; +checklocks:registry.unsyncedMu
}

// walExtent says which part of the WAL is known to be durable, in this generation.
// Other processes restart the WAL too: its salts tell the generations apart.
type walExtent struct {
	salt    salt
	durable int64 // as far as it is
	// syncing is as far as the sync that runs makes it durable.
	syncing int64
}

// rewritten is called before bytes at off are written that were counted before:
// a transaction was rolled back that had written them.
func (db *database) rewritten(off int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.extent.durable = min(db.extent.durable, off)
	db.extent.syncing = min(db.extent.syncing, off)
	db.walEnd.Store(min(db.walEnd.Load(), off))
}

// salt tells a generation of the WAL from others.
type salt [8]byte

// saltOf returns the salts in the WAL's header.
func saltOf(header [walHeaderSize]byte) salt { return salt(header[16:24]) }

// readWALHeader returns the WAL's header, or false if it is too short to have one.
func readWALHeader(wal io.ReaderAt) (header [walHeaderSize]byte, ok bool, err error) {
	n, err := wal.ReadAt(header[:], 0)
	switch {
	case n == len(header):
		return header, true, nil
	case err == io.EOF:
		return header, false, nil
	case err == nil:
		err = sqlite3.IOERR_SHORT_READ
	}
	return header, false, err
}

// enter is called with the write lock held, before a frame is written that has these salts.
// If they are new to this process, another one has restarted the WAL,
// and of what it holds now nothing is known to be durable.
func (db *database) enter(s salt) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if !db.isKnown(s) {
		db.extent = walExtent{salt: s}
		db.walEnd.Store(0)
	}
}

// isKnown reports whether what is known is of the generation that has these salts.
// +checklocks:db.mu
func (db *database) isKnown(s salt) bool { return s == db.extent.salt || db.rules.Has(rules.Salts) }

// remember keeps, after a failed sync, how much of the WAL is durable.
// If it can't be told which WAL that is, nothing is.
func (db *database) remember(wal sqlitevfs.File, known walExtent) {
	if wal == nil {
		return
	}
	u := &unsynced{id: db.id, known: known}
	header, ok, err := readWALHeader(wal)
	if err == nil && !ok || err != nil && db.rules.Has(rules.Doubt) {
		return // it is empty
	}
	u.header, u.doubt = header, err != nil
	if ok {
		u.is(header, db.rules)
	}
	registry.unsyncedMu.Lock()
	defer registry.unsyncedMu.Unlock()
	registry.unsynced = slices.DeleteFunc(registry.unsynced, func(v *unsynced) bool {
		if !v.over && !v.doubt && !u.doubt && v.id.same(u.id) && v.header == u.header {
			u.upTo.Store(max(u.upTo.Load(), v.upTo.Load()))
		}
		return v.over || v.id.same(u.id)
	})
	registry.unsynced = append(registry.unsynced, u)
}

// is takes note of the WAL's header. What is known is of the WAL that has its salts, whenever that is read:
// no generation has those of an earlier one.
func (u *unsynced) is(header [walHeaderSize]byte, off rules.Set) {
	u.header, u.doubt = header, false
	if saltOf(header) == u.known.salt || off.Has(rules.Salts) {
		u.upTo.Store(u.known.durable)
	}
}

// recall returns what is remembered of the WAL, or nil.
// If that can't be told it returns an error, and the WAL isn't opened.
func (db *database) recall(wal sqlitevfs.File) (*unsynced, error) {
	registry.unsyncedMu.Lock()
	defer registry.unsyncedMu.Unlock()
	for _, u := range registry.unsynced {
		if u.over || !u.id.same(db.id) {
			continue
		}
		header, ok, err := readWALHeader(wal)
		if err != nil {
			if db.rules.Has(rules.Doubt) {
				return nil, nil
			}
			return nil, err
		}
		if u.doubt && ok {
			u.is(header, db.rules)
		}
		if ok && header == u.header {
			return u, nil
		}
		u.over = true // another process has restarted it
	}
	return nil, nil
}

// stillUnsynced reports whether the WAL is the one that a sync of failed.
// If another process has restarted it since, there is nothing left to write.
func (w *walFile) stillUnsynced(u *unsynced) (bool, error) {
	header, ok, err := readWALHeader(w.File)
	if err != nil || ok && header == u.header {
		return err == nil, err
	}
	w.db.forget()
	return false, nil
}

// forget ends it: there is nothing left to write once more.
func (db *database) forget() {
	if u := db.unsynced.Swap(nil); u != nil {
		registry.unsyncedMu.Lock()
		u.over = true
		registry.unsyncedMu.Unlock()
	}
}

// refreshBefore is called with the write lock held, before this process's first write, at off:
// all before it is committed.
func (w *walFile) refreshBefore(off int64) error {
	db := w.db
	db.refreshMu.Lock()
	defer db.refreshMu.Unlock()
	u := db.unsynced.Load()
	if u == nil {
		return nil
	}
	if still, err := w.stillUnsynced(u); !still {
		return err
	}
	n, err := w.rewrite(u.upTo.Load(), off)
	w.uncounted.n += n
	w.uncounted.salt = saltOf(u.header)
	if err == nil {
		w.uncounted.end, w.uncounted.generation = max(w.uncounted.end, off), db.generation.Load()
		db.forget()
	}
	return err
}

// refreshCheckpointed is called before a checkpoint writes to the database file
// what it has read at off of the WAL. H1 goes for all of that commit, and those before it.
func (w *walFile) refreshCheckpointed(off int64) error {
	db := w.db
	db.refreshMu.Lock()
	defer db.refreshMu.Unlock()
	u := db.unsynced.Load()
	if u == nil || off < u.upTo.Load() {
		return nil
	}
	if still, err := w.stillUnsynced(u); !still {
		return err
	}
	end, err := commitEnd(w.File, off)
	if err != nil {
		return err
	}
	n, err := w.rewrite(u.upTo.Load(), end)
	db.wrote(syncqueue.WAL, n)
	if err != nil {
		return err
	}
	if err := db.syncWAL(context.Background(), w.main.waiter, db.written(syncqueue.WAL)); err != nil {
		return err
	}
	u.upTo.Store(end)
	db.mu.Lock()
	// A WAL isn't restarted while a checkpoint has work to do.
	db.extent.durable = max(db.extent.durable, end)
	db.walEnd.Store(max(db.walEnd.Load(), end))
	db.mu.Unlock()
	return nil
}

// rewrite writes a part of the WAL once more.
func (w *walFile) rewrite(from, to int64) (written int, err error) {
	buf := make([]byte, min(refreshChunk, max(0, to-from)))
	for from < to {
		p := buf[:min(int64(len(buf)), to-from)]
		n, err := w.File.ReadAt(p, from)
		if n < len(p) {
			if err == nil || err == io.EOF {
				err = sqlite3.IOERR_SHORT_READ
			}
			return written, err
		}
		written += n
		if _, err := w.File.WriteAt(p, from); err != nil {
			return written, err
		}
		from += int64(n)
	}
	return written, nil
}

// commitEnd returns where the commit ends that the frame at off belongs to.
//
// https://sqlite.org/fileformat.html#the_write_ahead_log
func commitEnd(wal io.ReaderAt, off int64) (int64, error) {
	var header [walHeaderSize]byte
	if _, err := wal.ReadAt(header[:], 0); err != nil {
		return 0, err
	}
	pageSize := int64(headerPageSize(header))
	frameSize := frameHeaderSize + pageSize
	frame := walHeaderSize + (off-walHeaderSize)/frameSize*frameSize
	for {
		var header [frameHeaderSize]byte
		if _, err := wal.ReadAt(header[:], frame); err != nil {
			return 0, err
		}
		frame += frameSize
		// Of the size of the database, other than zero: this is the last frame of a transaction.
		if binary.BigEndian.Uint32(header[4:]) != 0 {
			return frame, nil
		}
	}
}

// refreshWAL refreshes the WAL through a connection of its own, which has the write lock meanwhile.
func (db *database) refreshWAL(ctx context.Context) error {
	if db.unsynced.Load() == nil || db.failed() != nil {
		return nil
	}
	c, err := sqlite3.OpenContext(ctx, db.uri)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Exec("PRAGMA busy_timeout=5000; BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if c.TxnState("main") != sqlite3.TXN_WRITE {
		return nil // read-only: it can't do better than a sync
	}
	if f, ok := fileOf(c, "main"); ok && f.wal != nil {
		size, err := f.wal.Size()
		if err != nil {
			return err
		}
		if err := f.wal.refreshBefore(size); err != nil {
			return err
		}
		f.wal.count()
	}
	return c.Exec("ROLLBACK")
}

// ownURI returns the URI by which a connection of the library's own opens the database.
func ownURI(vfsName string, name *sqlitevfs.Filename) string {
	query := url.Values{}
	for key, values := range name.URIParameters() {
		if key != "_pragma" {
			query[key] = values
		}
	}
	query.Set("vfs", vfsName)
	// It is only opened for a database that this process has written to, and never makes one.
	query.Set("mode", "rw")
	query.Del("immutable")
	path := filepath.ToSlash(name.Database())
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String()
}
