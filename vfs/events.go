package vfs

import "time"

// Events are functions that are called when something has happened to a database. Each is optional.
// [AddEvents] sets them. Where none is set, nothing is allocated and no lock taken for them.
//
// They are called by the goroutine that something has happened in, which is said at each, with no lock of this package's held
// that [Stats], [AllStats], [Failure], [AddEvents] or [SetLogger] needs: those may be called.
// Functions of several goroutines run at the same time.
//
// A function must not block: the connection, or all that wait for the next sync or checkpoint, wait for it.
// It must not use a connection, since the one that it is called by is in the midst of something and may hold SQLite's locks,
// nor wait for a sync ([Flush], [WaitDurable], [WaitToken], [SetMode]), which may be this goroutine's to do. Another goroutine may.
//
// A panic in a function ends that call of it, and is logged with its stack, at most once a second for a database.
// Nothing else changes: were it passed on, it would go through SQLite's frames and leave a commit half done.
type Events struct {
	// DatabaseOpened is called by the goroutine that opens the process's first connection to a database.
	DatabaseOpened func(DatabaseOpenedInfo)
	// DatabaseClosed is called by the goroutine that has closed the last connection to a database,
	// or by one of the library's own if that was dropped without being closed.
	DatabaseClosed func(DatabaseClosedInfo)
	// DatabaseFailed is called once a sync has failed, by the goroutine that did it, after those who waited for it are answered.
	DatabaseFailed func(DatabaseFailedInfo)

	// SyncEnded is called after each sync, by the goroutine that did it: a connection's that commits or checkpoints,
	// or one of the library's own. The commits that wait for the sync are answered before.
	SyncEnded func(SyncEvent)
	// CommitWaited is called at the end of each commit in WAL mode that returns only once it is durable, at FULL, EXTRA
	// or in mode [Sync], by the connection's goroutine. Others see the commit by now, and the connection still has its read lock.
	CommitWaited func(CommitWaitedInfo)
	// StallBegan and StallEnded are called when a commit has to wait for another reason, by the connection's goroutine.
	StallBegan func(StallBeganInfo)
	StallEnded func(StallEndedInfo)
	// CheckpointBegan and CheckpointEnded are called by the goroutine that checkpoints: one of the library's own,
	// or, for a checkpoint of SQLite's, the connection's, which holds the checkpoint lock.
	// Such a checkpoint ends with the sync of the database file.
	CheckpointBegan func(CheckpointBeganInfo)
	CheckpointEnded func(CheckpointEndedInfo)
	// WALRestarted is called by the goroutine of the connection whose commit is to be the first in the WAL started over.
	// The connection holds the write lock.
	WALRestarted func(WALRestartedInfo)
}

// DatabaseOpenedInfo is a database that this process has opened.
type DatabaseOpenedInfo struct {
	Database string // full path
	VFS      string // the name that the VFS was registered by
}

// DatabaseClosedInfo is a database that this process has closed.
type DatabaseClosedInfo struct {
	Database   string
	Statistics Statistics // at the end
}

// DatabaseFailedInfo is a database that takes no more commits (see [SyncError]).
type DatabaseFailedInfo struct {
	Database string
	Err      *SyncError
}

// CommitWaitedInfo is a commit that has waited to become durable.
type CommitWaitedInfo struct {
	Database string
	Duration time.Duration // of the wait
	Err      error         // nil, [ErrDurabilityUnknown], or a [*SyncError]
}

// StallReason says why a commit waits.
type StallReason uint8

const (
	// StallPending makes a commit at NORMAL wait: more than max_pending bytes, or what is older than max_delay, isn't durable yet.
	StallPending StallReason = iota
	// StallCheckpoint makes a commit wait for a checkpoint, so that the WAL stays bounded.
	StallCheckpoint
)

// String returns "pending" or "checkpoint".
func (r StallReason) String() string {
	if r == StallCheckpoint {
		return "checkpoint"
	}
	return "pending"
}

// StallBeganInfo is a commit that begins to wait.
type StallBeganInfo struct {
	Database string
	Reason   StallReason
}

// StallEndedInfo is a commit that has waited.
type StallEndedInfo struct {
	Database string
	Reason   StallReason
	Duration time.Duration
}

// CheckpointBeganInfo is a checkpoint that begins.
type CheckpointBeganInfo struct {
	Database   string
	Background bool // by the library, and not by SQLite
}

// CheckpointEndedInfo is a checkpoint that has ended. One in the background may have found nothing to do.
type CheckpointEndedInfo struct {
	Database   string
	Background bool
	Frames     int // in the WAL when it began; -1 if that isn't known, as for those that SQLite does
	Left       int // of them, those that couldn't be brought over yet, or are still read
	Duration   time.Duration
	Stopped    bool  // it made way for somebody who needs the database
	Err        error // nil if it has done what it could
}

// WALRestartedInfo is a WAL that is started over.
type WALRestartedInfo struct {
	Database string
	Bytes    int64 // that were used of it; 0 if it is new
}

// AddEvents sets functions that are called for every database of this process, or for those of the paths given.
// They needn't be open, nor exist. A path is a path, not a URI; any name of the file will do.
//
// It holds for databases that are open, whichever VFS they were opened by, but DatabaseOpened isn't called for those.
// Functions that were set before are called before. remove takes them back; calls that go on aren't waited for.
func AddEvents(e Events, databases ...string) (remove func()) {
	o := &observer{events: e, paths: watch(databases)}
	registry.mu.Lock()
	defer registry.mu.Unlock()
	registry.observers = append(registry.observers[:len(registry.observers):len(registry.observers)], o)
	observeAll()
	return func() {
		registry.mu.Lock()
		defer registry.mu.Unlock()
		registry.observers = without(registry.observers, o)
		observeAll()
	}
}
