package vfs

import (
	"encoding/json"

	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
)

// tally is what the statistics need beside the queue's counts.
type tally struct {
	commits     uint64 // commits in WAL mode
	durable     uint64 // of them the first so many are known to be durable
	stalls      uint64
	cancelled   uint64
	checkpoints uint64
}

// Statistics are the statistics of a database, since this process opened it.
// PRAGMA async_stats returns them as a JSON object.
// They count what this process does, not what others do to the same database.
// Each [Histogram] has a maximum of all the time and one of the last minute.
type Statistics struct {
	// Database is the full path of the database.
	Database string `json:"database"`
	// Mode is [Async] or [Sync].
	Mode Mode `json:"mode"`
	// Failed is empty, or the text of the [SyncError] that failed the database.
	Failed string `json:"failed"`

	// Commits is the number of commits in WAL mode, at any level.
	Commits uint64 `json:"commits"`
	// DurableCommits is how many of them, the first so many, are known to be durable.
	DurableCommits uint64 `json:"durable_commits"`
	// CancelledCommits is the number of commits that returned [ErrDurabilityUnknown].
	CancelledCommits uint64 `json:"cancelled_commits"`

	// SyncRequests is the number of requests for a sync: by commits, checkpoints, and so on.
	SyncRequests uint64 `json:"sync_requests"`
	// Merged is the number of requests that shared a sync with an earlier one.
	Merged uint64 `json:"merged"`
	// Syncs is the number of syncs done, the sum of the two that follow.
	Syncs uint64 `json:"syncs"`
	// WALSyncs is the number of syncs of the WAL.
	WALSyncs uint64 `json:"wal_syncs"`
	// DBSyncs is the number of syncs of the database file in WAL mode.
	DBSyncs uint64 `json:"db_syncs"`
	// SyncMicros is the time, in microseconds, that all syncs took together.
	SyncMicros int64 `json:"sync_us"`
	// MaxSyncMicros is the longest time, in microseconds, that a sync took.
	MaxSyncMicros int64 `json:"max_sync_us"`

	// PendingBytes is the number of bytes of WAL that aren't durable.
	PendingBytes uint64 `json:"pending_bytes"`
	// PendingCommits is the number of commits at NORMAL that returned and aren't durable.
	PendingCommits uint64 `json:"pending_commits"`
	// OldestPendingMicros is how long ago, in microseconds, the oldest of them returned.
	OldestPendingMicros int64 `json:"oldest_pending_us"`
	// MaxWindowMicros is the longest time, in microseconds,
	// between the return of a commit at NORMAL and the end of the sync that made it durable.
	MaxWindowMicros int64 `json:"max_window_us"`
	// Stalls is the number of commits at NORMAL that had to wait,
	// since max_delay or max_pending was exceeded.
	Stalls uint64 `json:"stalls"`

	// Checkpoints is the number of checkpoints that had something to do.
	Checkpoints uint64 `json:"checkpoints"`
	// CheckpointMicros is the time, in microseconds, that checkpoints in the background took together.
	CheckpointMicros int64 `json:"checkpoint_us"`
	// MaxCheckpointMicros is the longest time, in microseconds, that one took.
	MaxCheckpointMicros int64 `json:"max_checkpoint_us"`
	// FailedCheckpoints is the number of them that failed.
	FailedCheckpoints uint64 `json:"failed_checkpoints"`
	// HeldMicros is the time, in microseconds, that commits waited for them, together.
	HeldMicros int64 `json:"held_us"`
	// MaxHeldMicros is the longest time, in microseconds, that a commit waited.
	MaxHeldMicros int64 `json:"max_held_us"`
	// WALBytes is the size of the WAL file.
	WALBytes int64 `json:"wal_bytes"`
	// WALRestarts is the number of times that the WAL was started over.
	WALRestarts uint64 `json:"wal_restarts"`

	// WALSyncTime is how long syncs of the WAL took. It includes that of its directory, where the WAL is new.
	WALSyncTime Histogram `json:"wal_sync_time"`
	// DBSyncTime is how long syncs of the database file took, in WAL mode.
	DBSyncTime Histogram `json:"db_sync_time"`
	// CommitWait is how long commits at FULL and EXTRA, or in mode [Sync], waited to become durable.
	CommitWait Histogram `json:"commit_wait"`
	// LossWindow is how long commits at NORMAL were returned and not yet durable:
	// for each sync, the longest time of those that it made durable.
	LossWindow Histogram `json:"loss_window"`
	// StallTime is how long those commits waited that Stalls counts.
	StallTime Histogram `json:"stall_time"`
	// HoldTime is how long commits waited for checkpoints in the background.
	HoldTime Histogram `json:"hold_time"`
}

// String returns the statistics as a JSON object.
func (s Statistics) String() string {
	b, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (db *database) stats() Statistics {
	db.checkpointer.mu.Lock()
	ckpt := db.checkpointer.tally
	db.checkpointer.mu.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()

	c, t := db.queue.Counts(), &db.tally
	s := Statistics{
		Database:         db.name,
		Mode:             Mode(db.mode.Load()),
		Commits:          t.commits,
		DurableCommits:   t.durable,
		CancelledCommits: t.cancelled,
		SyncRequests:     c.Requests,
		Merged:           c.Merged,
		Syncs:            c.Syncs[syncqueue.WAL] + c.Syncs[syncqueue.DB],
		WALSyncs:         c.Syncs[syncqueue.WAL],
		DBSyncs:          c.Syncs[syncqueue.DB],
		PendingBytes:     db.queue.Pending(syncqueue.WAL),
		Stalls:           t.stalls,
		Checkpoints:      t.checkpoints,
		WALRestarts:      db.queue.Generation(),

		CheckpointMicros:    ckpt.took.Microseconds(),
		MaxCheckpointMicros: ckpt.longest.Microseconds(),
		FailedCheckpoints:   ckpt.failed,
	}
	db.times.describe(&s, db.now())
	if commits, first := db.queue.Unsynced(); commits > 0 {
		s.PendingCommits = commits
		s.OldestPendingMicros = (db.now() - first).Microseconds()
	}
	if failure := db.failure.Load(); failure != nil {
		s.Failed = failure.Error()
	}
	if db.walSync != nil {
		// Zero if it can't be told.
		s.WALBytes, _ = db.walSync.Size()
	}
	return s
}
