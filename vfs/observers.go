package vfs

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// observer is what [AddEvents] or [SetLogger] has set, for some databases or for all.
type observer struct {
	events Events
	logger *slog.Logger // nil where it is events
	paths  []watchedPath
}

// observing is what a database has of all that: read without a lock, replaced as a whole.
type observing struct {
	listeners atomic.Pointer[listeners]   // nil if there are none
	logger    atomic.Pointer[slog.Logger] // of this database alone; nil if there is none
	panicked  atomic.Int64                // when that was logged
}

// defaultLogger is what [SetLogger] has set for all databases.
var defaultLogger atomic.Pointer[slog.Logger]

// listeners are the functions of one database, by event.
type listeners struct {
	opened          calls[DatabaseOpenedInfo]
	closed          calls[DatabaseClosedInfo]
	failed          calls[DatabaseFailedInfo]
	syncEnded       calls[SyncEvent]
	commitWaited    calls[CommitWaitedInfo]
	stallBegan      calls[StallBeganInfo]
	stallEnded      calls[StallEndedInfo]
	checkpointBegan calls[CheckpointBeganInfo]
	checkpointEnded calls[CheckpointEndedInfo]
	walRestarted    calls[WALRestartedInfo]
}

func (l *listeners) add(e Events) {
	l.opened.add(e.DatabaseOpened)
	l.closed.add(e.DatabaseClosed)
	l.failed.add(e.DatabaseFailed)
	l.syncEnded.add(e.SyncEnded)
	l.commitWaited.add(e.CommitWaited)
	l.stallBegan.add(e.StallBegan)
	l.stallEnded.add(e.StallEnded)
	l.checkpointBegan.add(e.CheckpointBegan)
	l.checkpointEnded.add(e.CheckpointEnded)
	l.walRestarted.add(e.WALRestarted)
}

// calls are functions that are called with the same argument, one after the other.
type calls[Info any] []func(Info)

func (c *calls[Info]) add(f func(Info)) {
	if f != nil {
		*c = append(*c, f)
	}
}

func (c calls[Info]) call(db *database, info Info) {
	for _, f := range c {
		c.one(db, f, info)
	}
}

func (calls[Info]) one(db *database, f func(Info), info Info) {
	defer func() {
		if p := recover(); p != nil {
			db.panicked(p)
		}
	}()
	f(info)
}

// panicked logs a panic of a function of [Events], once in a while.
func (db *database) panicked(p any) {
	now := int64(db.now())
	last := db.observed.panicked.Load()
	if last != 0 && now-last < int64(time.Second) || !db.observed.panicked.CompareAndSwap(last, max(1, now)) {
		return
	}
	db.log().Error("asyncvfs: a function that was set by AddEvents has panicked",
		"database", db.name, "panic", p, "stack", string(debug.Stack()))
}

// The events, as those say to whom they happen.

func (db *database) tellOpened() {
	if l := db.observed.listeners.Load(); l != nil {
		l.opened.call(db, DatabaseOpenedInfo{db.name, db.vfs.name})
	}
}

func (db *database) tellClosed() {
	if l := db.observed.listeners.Load(); l != nil && len(l.closed) > 0 {
		l.closed.call(db, DatabaseClosedInfo{db.name, db.stats()})
	}
}

func (db *database) tellSync(event SyncEvent) {
	if l := db.observed.listeners.Load(); l != nil {
		l.syncEnded.call(db, event)
		if e, ok := event.Err.(*SyncError); ok && e == db.failure.Load() {
			l.failed.call(db, DatabaseFailedInfo{db.name, e})
		}
	}
}

func (db *database) tellCommit(took time.Duration, err error) {
	if l := db.observed.listeners.Load(); l != nil {
		l.commitWaited.call(db, CommitWaitedInfo{db.name, took, err})
	}
}

func (db *database) tellStallBegan(reason StallReason) {
	if l := db.observed.listeners.Load(); l != nil {
		l.stallBegan.call(db, StallBeganInfo{db.name, reason})
	}
}

func (db *database) tellStallEnded(reason StallReason, took time.Duration) {
	if l := db.observed.listeners.Load(); l != nil {
		l.stallEnded.call(db, StallEndedInfo{db.name, reason, took})
	}
}

func (db *database) tellCheckpointBegan(background bool) {
	if l := db.observed.listeners.Load(); l != nil {
		l.checkpointBegan.call(db, CheckpointBeganInfo{db.name, background})
	}
}

func (db *database) tellCheckpointEnded(i CheckpointEndedInfo) {
	if l := db.observed.listeners.Load(); l != nil {
		i.Database = db.name
		l.checkpointEnded.call(db, i)
	}
}

func (db *database) tellRestarted(bytes int64) {
	if l := db.observed.listeners.Load(); l != nil {
		l.walRestarted.call(db, WALRestartedInfo{db.name, bytes})
	}
}

// SetLogger sets where failures, and what else a person should know, are logged: for every database of this process
// that has none by the option [Logger], or for those of the paths given, whatever else is set.
// A nil logger takes that back. The default is [slog.Default].
//
// Paths are as for [AddEvents]. It holds for databases that are open, too.
func SetLogger(l *slog.Logger, databases ...string) {
	if len(databases) == 0 {
		defaultLogger.Store(l)
		return
	}
	paths := watch(databases)
	registry.mu.Lock()
	defer registry.mu.Unlock()
	// The last that was set holds.
	kept := registry.loggers[:0:0]
	for _, o := range registry.loggers {
		left := slices.DeleteFunc(slices.Clone(o.paths), func(p watchedPath) bool {
			return slices.ContainsFunc(paths, p.same)
		})
		if len(left) > 0 {
			kept = append(kept, &observer{logger: o.logger, paths: left})
		}
	}
	if l != nil {
		kept = append(kept, &observer{logger: l, paths: paths})
	}
	registry.loggers = kept
	observeAll()
}

// log returns the database's logger.
func (db *database) log() *slog.Logger {
	if l := db.observed.logger.Load(); l != nil {
		return l
	}
	return db.vfs.log()
}

// observeAll brings up to date what the open databases have.
// Called with registry.mu held.
func observeAll() {
	for _, db := range registry.dbs {
		db.observe()
	}
}

// observe brings up to date what the database has.
// Called with registry.mu held.
func (db *database) observe() {
	var all *listeners
	for _, o := range registry.observers {
		if o.concerns(db) {
			if all == nil {
				all = new(listeners)
			}
			all.add(o.events)
		}
	}
	db.observed.listeners.Store(all)
	var logger *slog.Logger
	for _, o := range registry.loggers {
		if o.concerns(db) {
			logger = o.logger
		}
	}
	db.observed.logger.Store(logger)
}

func (o *observer) concerns(db *database) bool {
	return len(o.paths) == 0 || slices.ContainsFunc(o.paths, func(p watchedPath) bool { return p.is(db) })
}

func without(list []*observer, o *observer) []*observer {
	return slices.DeleteFunc(slices.Clone(list), func(other *observer) bool { return other == o })
}

// watchedPath is a database, open or not, that was named by a path.
type watchedPath struct {
	name  string // as it was given
	full  string // and without symbolic links, as far as there are such files
	found identity
}

func watch(paths []string) (watched []watchedPath) {
	for _, path := range paths {
		watched = append(watched, watchPath(path))
	}
	return watched
}

func watchPath(path string) watchedPath {
	w := watchedPath{name: path, full: path}
	if full, err := filepath.Abs(path); err == nil {
		w.full = full
	}
	// Of a file that isn't there yet, the directory may be.
	if dir, err := filepath.EvalSymlinks(filepath.Dir(w.full)); err == nil {
		w.full = filepath.Join(dir, filepath.Base(w.full))
	}
	if full, err := filepath.EvalSymlinks(w.full); err == nil {
		w.full = full
	}
	w.look()
	return w
}

// look finds the file. It is made by the time that it is opened, and may have been made anew since it was named.
func (w *watchedPath) look() {
	w.found = identity{}
	if info, err := os.Stat(w.full); err == nil {
		w.found = identity{key: inode(info), info: info}
	}
}

// is reports whether it is this database.
func (w watchedPath) is(db *database) bool {
	return w.found.same(db.id) || db.name == w.full || db.name == w.name
}

func (w watchedPath) same(o watchedPath) bool { return w.full == o.full }

// lookAgain finds the files of all paths that were named. It is called with no lock held, since it does I/O,
// before a database is opened.
func lookAgain() {
	registry.mu.Lock()
	named := slices.Concat(registry.observers, registry.loggers)
	registry.mu.Unlock()
	var again [][]watchedPath
	for _, o := range named {
		paths := slices.Clone(o.paths)
		for i := range paths {
			paths[i].look()
		}
		again = append(again, paths)
	}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	for i, o := range named {
		o.paths = again[i]
	}
}
