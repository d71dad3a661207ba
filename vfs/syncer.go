package vfs

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/inflight"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
)

// syncer has a database's syncs done, as the queue says: by whom, when, by which handle of the WAL, and who is answered.
// What a sync is, and what comes of it, is its environment's.
type syncer struct {
	env      syncEnv
	began    time.Time // when the queue's time began
	disabled rules.Set // switched off by a test

	// mu is never held during I/O. It guards what the environment knows of syncs too.
	mu       sync.Mutex
	queue    *syncqueue.Queue[*waiter] // guarded by mu
	group    group                     // guarded by mu
	handles  []*syncHandle             // for syncs of the WAL, of which each has one; guarded by mu
	armed    syncqueue.Time            // when the goroutine will wake; guarded by mu
	handed   syncqueue.Job             // a sync of the WAL that it does for its leader, if isHanded is set; guarded by mu
	isHanded bool                      // guarded by mu
	busy     bool                      // it does a sync; guarded by mu
	helpers  int                       // goroutines that do such syncs beside it; guarded by mu
	stop     bool                      // tells it to end; guarded by mu

	kick chan struct{} // wakes it
}

// syncEnv is what a syncer has its syncs done by. Its methods are called with syncer.mu held.
type syncEnv interface {
	// begin is called before a sync of the file, which is done by the handle if that is the WAL, and by syncDB if not.
	begin(job syncqueue.Job, handle *syncHandle, syncDB func() error) syncRun
	// undone is called instead of ended if the sync couldn't be tried.
	undone(job syncqueue.Job, err error)
	// durable is called once the commit of that number is durable, and all before it; 0 is none.
	durable(commit uint64)
}

// syncRun is a sync that is under way. Its methods are called with syncer.mu held, but do.
type syncRun interface {
	// do does the sync. It is called with no lock held.
	do() error
	// ended is called when it has, before those who wait are answered. It may release the lock meanwhile.
	ended(err error, took time.Duration)
	// answered is called after that. It may release the lock too.
	answered()
}

// init makes it ready, with a function that is told of the windows in which commits could be lost.
func (s *syncer) init(env syncEnv, window func(d time.Duration, now syncqueue.Time), disabled rules.Set) {
	s.env, s.began, s.disabled, s.kick = env, time.Now(), disabled, make(chan struct{}, 1)
	s.queue = syncqueue.New[*waiter](syncqueue.Config{MinInterval: minInterval, Disabled: disabled, Window: window})
	s.group.Planner = inflight.New(maxInFlight)
}

func (s *syncer) now() syncqueue.Time { return time.Since(s.began) }

const never syncqueue.Time = math.MaxInt64

// waiter is somebody who waits for a sync.
// A connection has one, since it waits for one sync at a time.
type waiter struct {
	wake  chan struct{} // answered, or to look whether it is to lead
	err   error         // guarded by syncer.mu
	done  bool          // guarded by syncer.mu
	proxy bool          // when it leads, the syncer does the sync for it; guarded by syncer.mu

	commit uint64      // number of the commit that waits, or 0; the waiter's own
	timer  *time.Timer // the waiter's own
}

func newWaiter() *waiter { return &waiter{wake: make(chan struct{}, 1)} }

func (w *waiter) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// await makes the request, due now, and waits for its answer.
// A sync of the database file is done by syncDB; that of the WAL is the same for all.
func (s *syncer) await(ctx context.Context, w *waiter, r syncqueue.Request[*waiter], syncDB func() error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		// Those before it are durable too.
		if err == nil {
			s.env.durable(w.commit)
		}
		w.commit = 0
	}()

	w.done, w.err = false, nil
	w.proxy = ctx.Done() != nil && r.File == syncqueue.WAL
	select {
	case <-w.wake: // left over
	default:
	}
	now := s.now()
	r.Waiter, r.Deadline = w, now
	if r.File == syncqueue.WAL && w.commit != 0 {
		s.group.Came(now)
	}
	if answered, err := s.queue.Request(r, now); answered {
		return err
	}
	for !w.done {
		if r.File == syncqueue.WAL {
			s.gather(ctx, w)
			if w.done {
				break
			}
		}
		if r.File != syncqueue.WAL || s.complete() {
			if job, ok := s.nextSync(r.File); ok {
				if !w.proxy {
					s.do(job, syncDB)
					continue
				}
				s.hand(job)
			}
		}
		s.mu.Unlock()
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if !w.done && ctx.Err() != nil {
			s.queue.Cancel(w)
			s.succeed() // it may have been to lead
			return ErrDurabilityUnknown
		}
	}
	return w.err
}

// do does a job, with mu released meanwhile, and answers those who waited for it.
// Called with mu held.
func (s *syncer) do(job syncqueue.Job, syncDB func() error) {
	var handle *syncHandle
	if job.File == syncqueue.WAL {
		handle = s.takeHandle()
	}
	run := s.env.begin(job, handle, syncDB)
	if s.disabled.Off(rules.GroupWait) && job.File == syncqueue.WAL {
		// Switched off by a test: whoever waits is answered before the sync.
		s.answer(s.queue.AnswerEarly(job))
	}
	start := time.Now()
	err := s.carryOut(run)
	took := time.Since(start)
	if handle != nil {
		handle.busy = false
	}
	if err != nil && wasNotTried(err) {
		s.env.undone(job, err)
		return
	}
	run.ended(err, took)
	answers := s.queue.Done(job, err, s.now())
	if job.File == syncqueue.WAL {
		s.group.Ended(took, len(answers), s.queue.Waiting(syncqueue.WAL), s.queue.Covered(syncqueue.WAL), s.now())
	}
	s.answer(answers)
	run.answered()
}

// carryOut does the sync with mu released. With unlocked, each sync would allocate a closure.
// Called with mu held.
func (s *syncer) carryOut(run syncRun) error {
	s.mu.Unlock()
	defer s.mu.Lock() // also in a panic: others are deferred that unlock it
	return run.do()
}

// unlocked calls f with s.mu released.
// Called with mu held.
func (s *syncer) unlocked(f func()) {
	s.mu.Unlock()
	defer s.mu.Lock() // also in a panic: others are deferred that unlock it
	f()
}

// answer tells the waiters, and sees to it that somebody does the next sync.
// Called with mu held.
func (s *syncer) answer(answers []syncqueue.Answer[*waiter]) {
	for _, a := range answers {
		a.Waiter.done, a.Waiter.err = true, a.Err
		a.Waiter.notify()
	}
	s.succeed()
	if s.stop {
		s.wakeSyncer()
	}
}

// succeed sees to it that somebody does the next syncs.
// Called with mu held.
func (s *syncer) succeed() {
	s.promote(syncqueue.DB)
	if !s.promote(syncqueue.WAL) {
		s.arm()
	}
}

// promote makes one of those who wait for the file's next sync its leader, if that is due.
// Called with mu held.
func (s *syncer) promote(file syncqueue.File) bool {
	if due, ok := s.queue.DueBeside(file); !ok || due > s.now() || !s.mayStart(file) {
		return false
	}
	for w := range s.queue.Waiters(file) {
		w.notify()
		return true
	}
	return false
}

// arm wakes the syncer if it would sleep past the next sync.
// Called with mu held.
func (s *syncer) arm() {
	if due, ok := s.queue.Due(syncqueue.WAL); ok && due < s.armed {
		s.wakeSyncer()
	}
}

// Called with mu held.
func (s *syncer) wakeSyncer() {
	s.armed = 0
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// hand has a sync of the WAL done for its leader: by the syncer, unless that does one.
// Called with mu held.
func (s *syncer) hand(job syncqueue.Job) {
	if !s.busy && !s.isHanded {
		s.handed, s.isHanded = job, true
		s.wakeSyncer()
		return
	}
	s.helpers++
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.do(job, nil)
		if s.helpers--; s.stop {
			s.wakeSyncer()
		}
	}()
}

// led reports whether somebody waits for the next sync of the WAL: one of them leads it, and lets others join first.
// Called with mu held.
func (s *syncer) led() bool {
	for range s.queue.Waiters(syncqueue.WAL) {
		return true
	}
	return false
}

// run does the syncs that nobody waits for who could do them: those of commits at NORMAL,
// and of leaders whose contexts can be cancelled.
// It runs while the WAL is open, and ends only when no sync of it is running.
func (s *syncer) run(stopped chan<- struct{}) {
	defer close(stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()

	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.isHanded {
			s.isHanded = false
			s.busy = true
			s.do(s.handed, nil)
			s.busy = false
			continue
		}
		now, led := s.now(), s.led()
		if !led {
			if job, ok := s.queue.Next(syncqueue.WAL, now); ok {
				s.busy = true
				s.do(job, nil)
				s.busy = false
				continue
			}
		}
		if s.stop && s.queue.Running(syncqueue.WAL) == 0 && s.helpers == 0 {
			return
		}
		s.armed = never
		if due, ok := s.queue.Due(syncqueue.WAL); ok && !led {
			s.armed = due
		}
		timer.Reset(time.Duration(min(s.armed-now, syncqueue.Time(time.Hour))))
		s.mu.Unlock()
		select {
		case <-s.kick:
		case <-timer.C:
		}
		s.mu.Lock()
	}
}
