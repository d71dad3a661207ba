package vfs

import (
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// dbSync is a sync of one of a database's files: what it covers, and what comes of it.
type dbSync struct {
	db     *database
	job    syncqueue.Job
	handle *syncHandle  // of the WAL
	syncDB func() error // for the database file

	own        sqlitevfs.File
	flags      sqlitevfs.SyncFlag
	names      []nameKey
	newWAL     bool   // the WAL's directory entry is synced too (H4)
	commits    uint64 // that it makes durable
	generation uint64 // of the WAL
	round      uint64
	known      salt // of the WAL, as far as this process knows

	// Once it is done:
	ours   bool   // the WAL is of the generation that is known
	synced string // what was synced last: wal, db or dir
	event  SyncEvent
	failed bool
}

// begin implements [syncEnv].
// Called with db.mu held.
func (db *database) begin(job syncqueue.Job, handle *syncHandle, syncDB func() error) syncRun {
	var s *dbSync
	if n := len(db.syncs); n > 0 {
		s, db.syncs = db.syncs[n-1], db.syncs[:n-1]
	} else {
		s = &dbSync{}
	}
	*s = dbSync{
		db: db, job: job, handle: handle, syncDB: syncDB,
		own: db.walSync, flags: db.flags, names: db.walNames,
		commits: db.tally.commits, generation: db.generation.Load(), known: db.extent.salt, synced: job.File.String(),
	}
	if job.File == syncqueue.WAL {
		s.newWAL = db.newWAL && !db.rules.Off(rules.EntryBeforeCommit)
		s.round = db.walSyncs.begin()
		handle.covers = db.walEnd.Load()
	}
	return s
}

// do implements [syncRun].
func (s *dbSync) do() error {
	if s.job.File == syncqueue.DB {
		return s.syncDB()
	}
	header := &s.handle.header
	n, _ := s.own.ReadAt(header[:], 0)
	s.ours = n == len(header) && saltOf(*header) == s.known || s.db.rules.Off(rules.Salts)
	// The library's own handle: one that SQLite uses isn't ours to sync.
	if err := s.handle.file.Sync(s.flags); err != nil || !s.newWAL {
		return err
	}
	// H4: the entry of a new WAL is durable before a commit in it is.
	s.synced = "dir"
	return s.db.dir.sync(s.names[0].vfs, s.names[0].name)
}

// ended implements [syncRun].
// Called with s.db.mu held.
func (s *dbSync) ended(err error, took time.Duration) {
	s.event = SyncEvent{Database: s.db.name, File: s.job.File.String(), Bytes: s.job.Bytes, Duration: took}
	if err == nil {
		s.succeeded()
	} else {
		s.fail(err)
	}
	s.db.times.sync(s.job.File, took, s.db.now())
}

// succeeded notes what is durable now.
// Called with s.db.mu held.
func (s *dbSync) succeeded() {
	db := s.db
	// H5: beside a sync of the same file that failed, this one vouches for nothing.
	if s.job.File != syncqueue.WAL || db.queue.Condemned(s.job.File) {
		return
	}
	db.newWAL = false
	db.walSyncs.end(s.round)
	db.durable(s.commits)
	if s.ours && s.generation == db.generation.Load() && db.isKnown(s.known) {
		db.extent.durable = max(db.extent.durable, s.handle.covers)
	}
	if failed := db.failure.Load(); failed != nil {
		// It was under way when another sync failed. What it has made durable isn't to be written once more.
		extent := db.extent
		db.unlocked(func() { db.remember(s.own, extent, failed) })
	}
}

// fail fails the database.
// Called with s.db.mu held.
func (s *dbSync) fail(err error) {
	db := s.db
	failure := &SyncError{
		Err: err, Database: db.name, File: s.synced,
		DurableCommits: db.tally.durable, Commits: db.tally.commits,
	}
	s.failed, s.event.Err = true, failure
	if db.rules.Off(rules.FailureIsFinal) {
		return
	}
	// H5: a failed sync is final, and it is never tried again. The queue is told before mu is released.
	db.queue.Condemn(s.job.File, failure)
	db.publishFailure()
	extent := db.extent
	db.unlocked(func() {
		db.remember(s.own, extent, failure)
		go db.takeBack()
	})
}

// answered implements [syncRun].
// Called with s.db.mu held.
func (s *dbSync) answered() {
	db := s.db
	if !s.failed && s.job.File == syncqueue.WAL && db.markers.due.Load() {
		durable := db.queue.Durable(syncqueue.WAL)
		db.unlocked(func() { db.settleMarker(durable) })
	}
	if s.failed || db.vfs.onSync != nil || db.observed.listeners.Load() != nil {
		db.unlocked(func() { db.report(s.event) })
	}
	db.syncs = append(db.syncs, s)
}

// durable implements [syncEnv].
// Called with db.mu held.
func (db *database) durable(commit uint64) { db.tally.durable = max(db.tally.durable, commit) }

// report tells the log, the callback and the events of a sync that ended.
func (db *database) report(event SyncEvent) {
	if event.Err != nil {
		e := event.Err.(*SyncError)
		db.log().Error("asyncvfs: sync failed; the database takes no more commits until it is closed and opened anew",
			"database", e.Database, "file", e.File, "err", e.Err,
			"durable_commits", e.DurableCommits, "commits", e.Commits)
	}
	if db.vfs.onSync != nil {
		db.vfs.onSync(event)
	}
	db.tellSync(event)
}
