// Package ckptplan decides when a database is checkpointed in the background, and which commits wait for that.
//
// It does no I/O, starts no goroutine, reads no clock and knows nothing of SQLite:
// events go in (a commit that leaves so many frames in the WAL, the end of a round of checkpointing,
// somebody who wants it kept away), what to do comes out, and time is a value that the caller passes.
//
//	         a commit, enough frames               as far as the limit
//	Resting ────────────────────────▶ Passive ────────────────────▶ Ready
//	   ▲  ▲                              │                             │ the next commit
//	   │  └───── the round has ended ────┘                             ▼
//	   └──────────────────── the round has ended ───────────────── Finishing
//
// A passive round brings frames over while commits go on, and so never the last of them: the WAL would grow without end.
// So once a WAL that is past its limit has been brought over but for a little, commits wait, after their end,
// until the rest is brought over too. The next commit then starts the WAL over.
package ckptplan

import "time"

// Time is the time since any moment that the caller sticks to.
type Time = time.Duration

const (
	// Slack is how many bytes the WAL may grow by, past the threshold, before commits wait:
	// the fewer times it is started over, the fewer commits have to wait for that.
	Slack = 8 << 20
	// Share is the part of the time that commits may wait for checkpoints before the WAL is let grow
	// beyond the threshold.
	Share = 64
	// Rest is the part of the limit that commits may wait for, unless MaxRounds passive rounds haven't got there.
	Rest      = 16
	MaxRounds = 3
	// FirstPace is how much time there is for a commit in the round after the first.
	FirstPace = 75 * time.Microsecond
	// Retry is how long checkpoints are left to those that commit after one has failed.
	Retry = time.Second
	// Patience is how long commits wait for readers of the WAL to end, where that is not much past its limit.
	// Commits at FULL are among those readers, so it is for more than a sync.
	Patience = 10 * time.Millisecond
	// MaxPatience is the most of it, for a WAL far past its limit.
	MaxPatience = time.Second
)

// Commit is a commit in the WAL.
type Commit struct {
	Frames     int    // in the WAL
	Own        int    // of them, those of this commit
	Threshold  int    // frames at which a checkpoint is due, at least 1; Frames is no less
	PageSize   int    // in bytes
	Generation uint64 // changes when this process starts the WAL over
}

// Verdict is what a commit does next.
type Verdict uint8

const (
	// GoOn lets it return.
	GoOn Verdict = iota
	// Inline makes it do the checkpoint, as SQLite does.
	Inline
	// Hold keeps it waiting until [Planner.Ended], or [Planner.Stop], says that commits go on.
	// Then [Planner.Released] is called.
	Hold
	// Slow lets it return after [Planner.Pace], since more comes than is brought over.
	Slow
)

// Step is what there is to do in the background.
type Step uint8

const (
	// Nothing is to be done.
	Nothing Step = iota
	// Round brings over what it can while commits go on.
	Round
	// Finish brings over all, and waits for the readers of the WAL to end, while commits wait.
	Finish
)

// Outcome is what has come of a step.
type Outcome struct {
	Frames  int           // in the WAL when it began, or -1 if that can't be told
	Left    int           // of them, those that weren't brought over, or are still read
	Took    time.Duration // it
	Failed  bool          // for another reason than locks
	Aborted bool          // by [Planner.Stop]
}

type state uint8

const (
	resting state = iota
	passive
	ready
	finishing
)

// Planner plans the checkpoints of one database. It isn't safe for concurrent use.
type Planner struct {
	state      state
	stops      int    // those who want it kept away, now
	awayTo     Time   // it is kept away until then
	stuck      bool   // a commit has waited in vain for the step that runs
	generation uint64 // of the WAL that next and seen are about
	next       int    // frames in the WAL at which to begin again
	seen       int    // the most frames in the WAL so far
	limit      int    // frames in the WAL at which commits wait for the rest
	eager      bool   // they wait although the limit isn't reached
	waiting    int    // commits that do
	rounds     int    // passive rounds so far, each for what came during the one before
	reached    int    // frames that the last step had brought over
	heldUp     bool   // a reader has kept two steps in a row from bringing anything over
	retry      int    // frames in the WAL at which commits may be made to wait again, after that was in vain

	ended Time          // the last time that nothing was left
	held  time.Duration // how long commits wait, lately
}

// New returns the planner of a database that has no checkpoint to do.
func New() *Planner { return &Planner{held: time.Millisecond} }

// Filled is a commit's end. It may give the background something to do: see [Planner.Step].
func (p *Planner) Filled(now Time, c Commit) Verdict {
	// This process has started the WAL over, or another one has: commits of several connections don't come in order.
	if c.Generation != p.generation || c.Frames < p.seen/2 {
		p.next, p.seen, p.generation = 0, 0, c.Generation
		if p.state == ready {
			p.rest(0)
		}
	}
	p.seen = max(p.seen, c.Frames)
	if p.stops > 0 || p.stuck || now < p.awayTo {
		return Inline
	}
	p.limit = c.Threshold + min(2*c.Threshold, Slack/c.PageSize)
	switch p.state {
	case resting:
		if c.Frames >= p.next {
			// Where commits are slow, they can wait for each checkpoint.
			p.eager = now-p.ended > Share*p.held
			p.state = passive
		}
	case ready:
		p.state = finishing
	}
	switch {
	case p.state == finishing,
		// Commits are faster than the checkpoint.
		p.state == passive && c.Frames >= max(2*p.limit, p.retry),
		// It would be the one to do it, and has written more than all before it.
		p.state == passive && c.Own >= c.Threshold:
		p.waiting++
		return Hold
	case p.state == passive && p.rounds > 0:
		return Slow
	}
	return GoOn
}

// Pace returns how much time there is for each commit while [Slow] is the verdict: the more, the more rounds there were.
func (p *Planner) Pace() time.Duration { return time.Duration(p.rounds) * FirstPace }

// Released is a held commit that goes on. If it has waited in vain, commits do checkpoints themselves
// until the step that runs has ended.
func (p *Planner) Released(inVain bool) {
	p.waiting--
	if inVain && p.Step() != Nothing {
		p.stuck = true
	}
}

// Step returns what there is to do in the background. Its end is [Planner.Ended].
func (p *Planner) Step() Step {
	switch {
	case p.stops > 0:
		return Nothing
	case p.state == passive:
		return Round
	case p.state == finishing:
		return Finish
	}
	return Nothing
}

// Patience returns how long [Finish] waits for readers.
// The further the WAL is past its limit, the longer: where short readers overlap, it would grow without end.
// A long one isn't worth that.
func (p *Planner) Patience() time.Duration {
	if p.heldUp {
		return Patience
	}
	times := time.Duration(max(1, p.seen/max(1, p.limit)))
	return min(Patience*times*times, MaxPatience)
}

// Ended is the end of a step. It reports whether held commits go on.
func (p *Planner) Ended(now Time, step Step, o Outcome) bool {
	p.stuck = false
	if o.Aborted || p.stops > 0 {
		return p.rest(0)
	}
	if o.Failed {
		p.awayTo = now + Retry
		return p.rest(0)
	}
	if o.Frames < 0 {
		return p.rest(p.seen + p.limit/4)
	}
	if o.Frames < p.reached {
		p.reached, p.retry, p.heldUp = 0, 0, false // the WAL was started over
	}
	// That reader may go on for long: commits seldom wait for it.
	p.heldUp = o.Left > 0 && o.Frames-o.Left == p.reached
	p.reached = o.Frames - o.Left
	if o.Left == 0 {
		p.ended = now
	}
	if step == Finish {
		switch {
		case o.Left > 0 && p.heldUp:
			p.retry = o.Frames + max(p.limit, o.Frames/2)
		case o.Left > 0:
			p.retry = o.Frames + p.limit
		default:
			p.held += (o.Took - p.held) / 4
		}
		return p.rest(o.Frames + p.limit/4)
	}
	caughtUp := (p.eager || o.Frames >= p.limit) && o.Left <= p.limit && !p.heldUp
	switch {
	case o.Frames >= p.retry && (caughtUp || p.heldUp && o.Frames >= 2*p.limit):
		if caughtUp && p.seen-o.Frames > p.limit/Rest && p.rounds < MaxRounds {
			p.rounds++ // much has come meanwhile
			return false
		}
		p.state, p.rounds = ready, 0
		if p.waiting > 0 {
			p.state = finishing // nobody else may come to ask for it
		}
		return false
	case o.Frames < p.limit:
		return p.rest(p.limit)
	}
	return p.rest(o.Frames + p.limit/4)
}

// rest ends the work until so many frames are in the WAL. Held commits go on.
func (p *Planner) rest(next int) bool {
	p.state, p.next, p.rounds = resting, next, 0
	return true
}

// Stop keeps the background away from the database until [Planner.Resume]:
// checkpoints are left to those that commit. Held commits go on. Whoever stops resumes.
func (p *Planner) Stop() {
	p.stops++
	p.rest(0)
}

// Resume ends a [Planner.Stop].
func (p *Planner) Resume() { p.stops-- }

// KeepAway leaves checkpoints to those that commit, until then. A step that runs goes on.
func (p *Planner) KeepAway(until Time) { p.awayTo = max(p.awayTo, until) }
