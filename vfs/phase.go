package vfs

import "time"

// phase is what a connection is at, as far as SQLite lets its handles of the database and the WAL see that.
// SQLite doesn't say what a sync of the WAL is for: what comes next does.
//
//	WAL written           no checkpoint, or it is over
//	sync of the WAL       a commit at FULL, if CommitPhaseTwo is next; the start of a checkpoint, if CheckpointStart is
//	CommitPhaseTwo        the end of a commit
//	CheckpointStart, or a write to the database file without it    the start of a checkpoint
//	WAL started over      what was asked for before belongs to a transaction that was rolled back
type phase struct {
	// syncAsked is set once SQLite has asked for a sync: if a commit follows, it is at FULL.
	// A later write doesn't clear it: where the last frame is padded to a sector,
	// part of the padding is written after the sync.
	syncAsked bool

	// H1: checkpointing is set from the sync of the WAL at the start of a checkpoint on,
	// and checkpointErr is what came of it.
	checkpointing bool
	checkpointErr error
	// checkpointOff is set in a checkpoint at synchronous=OFF.
	checkpointOff bool
	// checkpointBegan is when, and zero once its end was told.
	checkpointBegan time.Time
}

func (p *phase) walWritten()   { p.checkpointing = false }
func (p *phase) walRestarted() { p.syncAsked = false }
func (p *phase) walClosed()    { p.syncAsked, p.checkpointing = false, false }
func (p *phase) walSync()      { p.syncAsked, p.checkpointing = true, false }

// commit is the end of a commit, and reports whether it was at FULL.
func (p *phase) commit() (full bool) {
	full, p.syncAsked = p.syncAsked, false
	return full
}

// checkpoint is the start of one. But for OFF, SQLite has just asked for a sync of the WAL.
func (p *phase) checkpoint(now time.Time) {
	p.checkpointing, p.checkpointErr, p.checkpointBegan = true, nil, now
	p.checkpointOff, p.syncAsked = !p.syncAsked, false
}

// told ends what is to be told of a checkpoint. It is false if that has no end to be told.
func (p *phase) told(now time.Time) (took time.Duration, ok bool) {
	if p.checkpointBegan.IsZero() {
		return 0, false
	}
	took, p.checkpointBegan = now.Sub(p.checkpointBegan), time.Time{}
	return took, true
}
