package vfs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	// checkpointIdle is how long the checkpointer keeps its connection.
	checkpointIdle = time.Second
	// checkpointSlack is how many bytes the WAL may grow by, past the threshold, before commits wait:
	// the fewer times it is restarted, the fewer commits have to wait for that.
	checkpointSlack = 8 << 20
	// checkpointShare is the part of the time that commits may wait for checkpoints before the WAL is let grow
	// beyond the threshold.
	checkpointShare = 64
	// checkpointRest is the part of the limit that commits may wait for,
	// unless so many rounds haven't got there.
	checkpointRest   = 16
	checkpointRounds = 3
	// checkpointBrake slows commits down from the third round on, so that less comes than is brought over.
	// Where nothing else runs, Go on Linux sleeps for a whole millisecond.
	checkpointBrake = 50 * time.Microsecond
	// lookPatience is how long a commit waits until the checkpoint that it has begun has looked at the WAL:
	// it is for a file system that hangs, and for extensions of the application's, which the connection has too.
	lookPatience = time.Second
	// readerPatience is how long commits are kept waiting for readers of the WAL to end.
	// Commits at FULL are among those readers, so it is for more than a sync.
	readerPatience = 10 * time.Millisecond
	// checkpointRetry is how long checkpoints are left to those that commit after one has failed.
	checkpointRetry = time.Second
	// explicitPause is how long the checkpointer keeps away
	// when the application prepares a checkpoint of its own.
	explicitPause = 100 * time.Millisecond
)

// checkpointer checkpoints a database in the background, through a connection of its own.
//
// A passive checkpoint runs while commits go on, and so it never brings over the last of them:
// the WAL would grow without end. So when it is past its limit,
//
//  1. a passive checkpoint brings over most of it, and the database file is synced;
//  2. the next commits wait, after their end, until a checkpoint has brought over the rest
//     and no reader needs the WAL any more. The next to write restarts it.
//
// The second step holds the write lock. Nobody sees SQLITE_BUSY who wouldn't without it:
// the connection that it waits with is one that writes,
// so whoever meets the lock would have met that connection's.
//
// Nobody else sees the connection either: it is gone before the application's last is closed,
// or one needs the database for itself. And the commit that begins a checkpoint waits until that has looked at the WAL:
// SQLite takes the write lock for a moment if it finds the WAL's index half written,
// as it would be if that connection's next commit ended just then.
type checkpointer struct {
	db *database
	// own is 1 while the connection has a handle of the database, or is about to.
	own atomic.Int32

	mu      sync.Mutex
	state   checkpointState // +checklocks:mu
	stopped chan struct{}   // closed when the goroutine has ended; nil while there is none; +checklocks:mu
	stop    bool            // tells the goroutine to end; +checklocks:mu
	next    int             // frames in the WAL at which to run again; +checklocks:mu
	seen    int             // the most frames in the WAL so far; +checklocks:mu
	limit   int             // frames in the WAL at which commits wait for the rest to be brought over; +checklocks:mu
	eager   bool            // they wait although the limit isn't reached; +checklocks:mu
	waiting int             // commits that do; +checklocks:mu
	rounds  int             // passive checkpoints so far, each for what came during the one before; +checklocks:mu
	goOn    chan struct{}   // closed when they may go on; +checklocks:mu
	looked  chan struct{}   // closed when a checkpoint that was asked for has looked at the WAL; nil after that; +checklocks:mu
	awayTo  time.Time       // +checklocks:mu

	ended time.Time       // the last time that commits waited, or that there was nothing left to bring over; +checklocks:mu
	held  time.Duration   // how long commits wait, lately; +checklocks:mu
	tally checkpointTally // +checklocks:mu

	generation uint64 // of the WAL that next and seen are about; +checklocks:mu

	wake chan struct{} // wakes the goroutine

	// The goroutine's own.
	conn      *sqlite3.Conn
	file      *dbFile
	busySince time.Time
	reached   int // frames that the last checkpoint had brought over
	retry     int // frames in the WAL at which commits may be made to wait again, after that was in vain
}

// checkpointState says what the goroutine is at.
type checkpointState int

const (
	resting   checkpointState = iota
	passive                   // bringing over what it can
	caughtUp                  // most of a WAL past its limit has been brought over
	finishing                 // commits wait for the rest
)

// checkpointTally is what the statistics tell; checkpointer.mu guards it.
type checkpointTally struct {
	failed        uint64
	took, longest time.Duration
	held, maxHeld time.Duration
}

func newCheckpointer(db *database) *checkpointer {
	return &checkpointer{db: db, wake: make(chan struct{}, 1), held: time.Millisecond}
}

// filled is called after a commit that has left so many frames in the WAL, which is at least threshold.
// It returns false if the caller has to do the checkpoint.
func (c *checkpointer) filled(ctx context.Context, pages, threshold, pageSize int) bool {
	c.mu.Lock()
	// This process has restarted the WAL, or another one has: commits of several connections don't come in order.
	if gen := c.db.generation.Load(); gen != c.generation || pages < c.seen/2 {
		c.next, c.seen, c.generation = 0, 0, gen
		if c.state == caughtUp {
			c.end(resting, 0)
		}
	}
	c.seen = max(c.seen, pages)
	if c.stop || time.Now().Before(c.awayTo) {
		c.mu.Unlock()
		return false
	}
	c.limit = threshold + min(2*threshold, checkpointSlack/pageSize)
	switch c.state {
	case resting:
		if pages >= c.next {
			// Where commits are slow, they can wait for each checkpoint.
			if c.rounds == 0 {
				c.eager = time.Since(c.ended) > checkpointShare*c.held
			}
			c.begin(passive)
			c.looked = make(chan struct{})
			ctx, cancel := context.WithTimeout(ctx, lookPatience)
			c.hold(ctx, c.looked)
			cancel()
		}
	case caughtUp:
		c.begin(finishing)
	}
	// Past twice the limit, commits are faster than the checkpoint.
	if c.state == finishing || c.state == passive && pages >= 2*c.limit {
		c.waiting++
		c.hold(ctx, c.goOn)
		c.waiting--
	}
	slow := c.state == passive && c.rounds > 1
	c.mu.Unlock()
	if slow {
		time.Sleep(checkpointBrake)
	}
	return true
}

// hold keeps a commit waiting.
// +checklocks:c.mu
func (c *checkpointer) hold(ctx context.Context, goOn <-chan struct{}) {
	c.mu.Unlock()
	start := time.Now()
	select {
	case <-goOn:
	case <-ctx.Done():
	}
	held := time.Since(start)
	c.mu.Lock()
	c.tally.held += held
	c.tally.maxHeld = max(c.tally.maxHeld, held)
}

// begin gives the goroutine work.
// +checklocks:c.mu
func (c *checkpointer) begin(state checkpointState) {
	c.state = state
	if c.goOn == nil {
		c.goOn = make(chan struct{})
	}
	if c.stopped == nil {
		c.stopped = make(chan struct{})
		c.own.Store(1)
		go c.run(c.stopped)
	}
	c.wakeUp()
}

func (c *checkpointer) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// end ends the work. It is next due when so many frames are in the WAL.
// +checklocks:c.mu
func (c *checkpointer) end(state checkpointState, next int) {
	c.state, c.next, c.rounds = state, next, 0
	if state == caughtUp && c.waiting > 0 {
		c.begin(finishing) // nobody else may come to ask for it
	}
	if state == resting && c.goOn != nil {
		close(c.goOn)
		c.goOn = nil
	}
}

// hasLooked lets the commit go on that began the checkpoint.
func (c *checkpointer) hasLooked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.letGo()
}

// letGo is hasLooked for who has the lock.
// +checklocks:c.mu
func (c *checkpointer) letGo() {
	if c.looked != nil {
		close(c.looked)
		c.looked = nil
	}
}

// run is the goroutine. It ends when there has been nothing to do for a while.
func (c *checkpointer) run(stopped chan<- struct{}) {
	idle := time.NewTimer(checkpointIdle)
	defer idle.Stop()
	for timeout := false; ; {
		c.mu.Lock()
		state, limit, eager := c.state, c.limit, c.eager
		working := state == passive || state == finishing
		if c.stop || timeout && !working {
			c.mu.Unlock()
			break
		}
		c.mu.Unlock()
		if working {
			c.work(state, limit, eager)
			continue
		}
		idle.Reset(checkpointIdle)
		select {
		case <-c.wake:
			timeout = false
		case <-idle.C:
			timeout = true
		}
	}
	c.disconnect()
	c.mu.Lock()
	// Work that came meanwhile comes again with the next commit.
	c.end(resting, 0)
	c.letGo()
	c.stopped = nil
	c.own.Store(0)
	c.mu.Unlock()
	close(stopped)
}

// work does one step.
func (c *checkpointer) work(state checkpointState, limit int, eager bool) {
	start := time.Now()
	mode := sqlite3.CHECKPOINT_PASSIVE
	if state == finishing {
		mode = sqlite3.CHECKPOINT_RESTART
	}
	frames, left, err := c.checkpoint(mode)
	if frames >= 0 && frames < c.reached {
		c.reached, c.retry = 0, 0 // the WAL was restarted
	}
	// A reader that holds up two checkpoints in a row may go on for long: no commit waits for that.
	held := left > 0 && frames-left == c.reached
	if frames >= 0 {
		c.reached = frames - left
	}
	enough := state == passive && err == nil && (eager || frames >= limit) && frames >= c.retry && left <= limit && !held
	if enough {
		// So that little is left to be synced when commits wait.
		err = c.file.syncDB(false)
	}
	took := time.Since(start)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.letGo()
	c.tally.took += took
	c.tally.longest = max(c.tally.longest, took)
	if err == nil && left == 0 {
		c.ended = time.Now()
	}
	switch {
	case err != nil && !errors.Is(err, sqlite3.BUSY):
		// Commits do it themselves for a while, as SQLite does.
		c.tally.failed++
		c.awayTo = time.Now().Add(checkpointRetry)
		c.end(resting, 0)
	case enough && c.seen-frames > limit/checkpointRest && c.rounds < checkpointRounds:
		c.rounds++ // much has come meanwhile
		if c.waiting == 0 {
			c.state, c.next = resting, 0 // the next commit begins it
		}
	case enough:
		c.end(caughtUp, 0)
	case frames < 0:
		c.end(resting, c.seen+limit/4) // another connection had the lock that SQLite looks at the WAL with
	case frames < limit:
		c.end(resting, limit)
	default:
		// It is done, or readers keep it from being done.
		if state == finishing && err != nil {
			c.retry = frames + limit
		}
		if state == finishing && err == nil {
			c.held += (took - c.held) / 4
		}
		c.end(resting, frames+limit/4)
	}
}

// close ends the goroutine and closes the connection.
// Until it returns, checkpoints are left to those that commit.
func (c *checkpointer) close() {
	c.mu.Lock()
	stopped := c.stopped
	if stopped == nil {
		c.mu.Unlock()
		return
	}
	c.stop = true
	c.wakeUp()
	c.mu.Unlock()
	<-stopped
	c.mu.Lock()
	c.stop = false
	c.mu.Unlock()
}

// keepAway closes the connection, and leaves checkpoints to those that commit for a while.
func (c *checkpointer) keepAway(d time.Duration) {
	c.mu.Lock()
	c.awayTo = time.Now().Add(d)
	c.mu.Unlock()
	c.close()
}
