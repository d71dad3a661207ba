package vfs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/vfs/internal/ckptplan"
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
)

const (
	// holdPatience is how long a commit waits for a checkpoint at most: for a disk that hangs.
	holdPatience = 2 * time.Second
	// explicitPause is how long the checkpointer keeps away
	// when the application prepares a checkpoint of its own.
	explicitPause = 100 * time.Millisecond
)

// checkpointer checkpoints a database in the background, beside the commits.
// What to do, and which commits wait for it, is decided by a [ckptplan.Planner]; how it is done is the [backfiller]'s part.
//
// Nobody sees SQLITE_BUSY who wouldn't without it. It never has the write lock.
// It holds the checkpoint lock only while it copies frames, and not during a sync.
// It works only while a connection of this process has the WAL open, which keeps the files what they are,
// and makes way for one that needs the database for itself.
type checkpointer struct {
	db *database

	mu      sync.Mutex
	plan    *ckptplan.Planner // guarded by mu
	goOn    chan struct{}     // closed when held commits may go on; nil while there are none; guarded by mu
	running chan struct{}     // closed when the goroutine has ended; nil while there is none; guarded by mu
	tally   checkpointTally   // guarded by mu
	warned  bool              // that one hangs; guarded by mu

	pacer pacer
	stops atomic.Int32 // those who wait for the goroutine to end

	backfiller backfiller // the goroutine's
}

// checkpointTally is what the statistics tell; checkpointer.mu guards it.
type checkpointTally struct {
	failed        uint64
	took, longest time.Duration
	lastErr       error
}

func newCheckpointer(db *database) *checkpointer {
	c := &checkpointer{db: db, plan: ckptplan.New()}
	c.backfiller = backfiller{db: db, waiter: newWaiter(), stopped: func() bool { return c.stops.Load() > 0 }}
	return c
}

// filled is called after a commit that has left at least as many frames in the WAL as the threshold says.
// It returns false if the caller has to do the checkpoint.
func (c *checkpointer) filled(ctx context.Context, commit ckptplan.Commit) bool {
	commit.Generation = c.db.generation.Load()
	c.mu.Lock()
	verdict := c.plan.Filled(c.db.now(), commit)
	pace := c.plan.Pace()
	c.start()
	inVain := false
	if verdict == ckptplan.Hold {
		inVain = !c.hold(ctx)
		c.plan.Released(inVain)
	}
	warn := inVain && !c.warned
	c.warned = c.warned || inVain
	c.mu.Unlock()
	if warn {
		c.db.log().Warn("asyncvfs: a checkpoint in the background takes very long; until it ends, commits do checkpoints themselves",
			"database", c.db.name, "waited", holdPatience)
	}
	if verdict == ckptplan.Slow {
		c.pacer.wait(pace)
	}
	return verdict != ckptplan.Inline && !inVain
}

// hold keeps a commit waiting. It returns false if that was too long.
// Called with c.mu held.
func (c *checkpointer) hold(ctx context.Context) bool {
	if c.goOn == nil {
		c.goOn = make(chan struct{})
	}
	goOn := c.goOn
	c.mu.Unlock()
	c.db.tellStallBegan(StallCheckpoint)
	start := time.Now()
	timer := time.NewTimer(holdPatience)
	defer timer.Stop()
	inTime := true
	select {
	case <-goOn:
	case <-ctx.Done():
	case <-timer.C:
		inTime = false
	}
	held := time.Since(start)
	c.db.tellStallEnded(StallCheckpoint, held)
	c.db.times.hold.observe(held, c.db.now())
	c.mu.Lock()
	return inTime
}

// letGo lets held commits go on.
// Called with c.mu held.
func (c *checkpointer) letGo() {
	if c.goOn != nil {
		close(c.goOn)
		c.goOn = nil
	}
}

// start starts the goroutine if there is something to do.
// Called with c.mu held.
func (c *checkpointer) start() {
	if c.running == nil && c.plan.Step() != ckptplan.Nothing {
		c.running = make(chan struct{})
		go c.run(c.running)
	}
}

// run is the goroutine. It ends when there is nothing left to do.
func (c *checkpointer) run(ended chan<- struct{}) {
	defer close(ended)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		step, patience := c.plan.Step(), c.plan.Patience()
		if step == ckptplan.Nothing {
			c.running = nil
			return
		}
		c.mu.Unlock()
		c.db.tellCheckpointBegan(true)
		start := time.Now()
		out, err := c.backfiller.do(step, patience)
		out.Took = time.Since(start)
		out.Aborted = errors.Is(err, errStopped)
		out.Failed = err != nil && !out.Aborted
		c.tellEnded(out, err)
		c.mu.Lock()
		c.tally.took += out.Took
		c.tally.longest = max(c.tally.longest, out.Took)
		if out.Failed {
			c.tally.failed++
			c.note(err)
		}
		if c.plan.Ended(c.db.now(), step, out) {
			c.letGo()
		}
	}
}

// tellEnded tells of a step that has ended.
func (c *checkpointer) tellEnded(out ckptplan.Outcome, err error) {
	if out.Aborted {
		err = nil
	}
	c.db.tellCheckpointEnded(CheckpointEndedInfo{
		Background: true, Frames: out.Frames, Left: out.Left, Duration: out.Took, Stopped: out.Aborted, Err: err,
	})
}

// note logs why checkpoints are left to those that commit, once for each reason.
// Called with c.mu held.
func (c *checkpointer) note(err error) {
	if errors.Is(err, walindex.ErrNotThere) {
		return // for a moment: somebody is about to make it, or to close the database
	}
	before := c.tally.lastErr
	c.tally.lastErr = err
	if before != nil && before.Error() == err.Error() || c.db.failure.Load() != nil {
		return
	}
	log, name := c.db.log(), c.db.name
	c.mu.Unlock()
	defer c.mu.Lock()
	log.Warn("asyncvfs: no checkpoint in the background; commits do them themselves", "database", name, "err", err)
}

// pause ends the goroutine, and keeps it from the database until resume is called.
// When it returns, checkpoints are left to those that commit.
func (c *checkpointer) pause() (resume func()) {
	c.stops.Add(1)
	c.mu.Lock()
	c.plan.Stop()
	c.letGo()
	running := c.running
	c.mu.Unlock()
	if running != nil {
		<-running
	}
	return sync.OnceFunc(func() {
		c.stops.Add(-1)
		c.mu.Lock()
		c.plan.Resume()
		c.mu.Unlock()
	})
}

// keepAway leaves checkpoints to those that commit for a while.
func (c *checkpointer) keepAway(d time.Duration) {
	c.mu.Lock()
	c.plan.KeepAway(c.db.now() + d)
	c.mu.Unlock()
	c.pause()()
}
