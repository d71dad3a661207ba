package vfs

import (
	"context"
	"math"
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/vfs/internal/syncqueue"
)

const never syncqueue.Time = math.MaxInt64

// waiter is somebody who waits for a sync.
// A connection has one, since it waits for one sync at a time.
type waiter struct {
	wake  chan struct{} // answered, or to look whether it is to lead
	err   error         // +checklocks:database.mu
	done  bool          // +checklocks:database.mu
	proxy bool          // when it leads, the syncer does the sync for it; +checklocks:database.mu

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

// syncWAL makes the WAL durable up to seq and returns when it is.
//
// The first to come leads: it lets others join, and then does the sync in its own goroutine, which is faster than
// to hand it to another. Those that come meanwhile wait; when the sync ends,
// it has answered those that it covers, and one of the others leads the next.
// Who has a context that can be cancelled leads too, but hands the sync over to the syncer, since it can't be interrupted.
func (db *database) syncWAL(ctx context.Context, w *waiter, seq uint64) error {
	return db.await(ctx, w, syncqueue.Request[*waiter]{
		File: syncqueue.WAL, Seq: seq, Urgent: true,
	}, nil)
}

// await makes the request, due now, and waits for its answer.
// A sync of the database file is done by syncDB; that of the WAL is the same for all.
func (db *database) await(ctx context.Context, w *waiter, r syncqueue.Request[*waiter], syncDB func() error) (err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	defer func() {
		// Those before it are durable too.
		if err == nil {
			db.tally.durable = max(db.tally.durable, w.commit)
		}
		w.commit = 0
	}()

	w.done, w.err = false, nil
	w.proxy = ctx.Done() != nil && r.File == syncqueue.WAL
	select {
	case <-w.wake: // left over
	default:
	}
	now := db.now()
	r.Waiter, r.Deadline = w, now
	if r.File == syncqueue.WAL && w.commit != 0 {
		db.group.Came(now)
	}
	if answered, err := db.queue.Request(r, now); answered {
		return db.result(err)
	}
	for !w.done {
		if r.File == syncqueue.WAL {
			db.gather(ctx, w)
			if w.done {
				break
			}
		}
		if r.File != syncqueue.WAL || db.complete() {
			if job, ok := db.nextSync(r.File); ok {
				if !w.proxy {
					db.do(job, syncDB)
					continue
				}
				db.hand(job)
			}
		}
		db.mu.Unlock()
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
		db.mu.Lock()
		if !w.done && ctx.Err() != nil {
			db.queue.Cancel(w)
			db.succeed() // it may have been to lead
			return ErrDurabilityUnknown
		}
	}
	return db.result(w.err)
}

// result returns the error of a request.
func (db *database) result(err error) error {
	if err == nil {
		return nil
	}
	if failure := db.failed(); failure != nil {
		return failure
	}
	if wasNotTried(err) {
		return err
	}
	// Only while a test has switched H5 off.
	return &SyncError{Err: err, Database: db.name}
}

// do does a job, with db.mu released meanwhile, and answers those who waited for it.
// +checklocks:db.mu
func (db *database) do(job syncqueue.Job, syncDB func() error) {
	own, flags, names := db.walSync, db.flags, db.walNames
	var handle *syncHandle
	if job.File == syncqueue.WAL {
		handle = db.takeHandle()
	}
	newWAL := job.File == syncqueue.WAL && db.newWAL && !db.rules.Off(rules.EntryBeforeCommit)
	commits, gen := db.tally.commits, db.generation.Load()
	var round uint64
	if job.File == syncqueue.WAL {
		round = db.walSyncs.begin()
	}
	if db.rules.Off(rules.GroupWait) && job.File == syncqueue.WAL {
		// Switched off by a test: whoever waits is answered before the sync.
		db.answer(db.queue.AnswerEarly(job))
	}

	start := time.Now()
	synced := job.File.String()
	var err error
	known := db.extent.salt
	ours := false // the WAL is of the generation that is known
	db.unlocked(func() {
		if job.File == syncqueue.WAL {
			n, _ := own.ReadAt(handle.header[:], 0)
			ours = n == len(handle.header) && saltOf(handle.header) == known || db.rules.Off(rules.Salts)
		}
		if job.File == syncqueue.DB {
			err = syncDB()
		} else {
			// The library's own handle: one that SQLite uses isn't ours to sync.
			err = handle.file.Sync(flags)
		}
		if err == nil && newWAL {
			// H4: the entry of a new WAL is durable before a commit in it is.
			synced = "dir"
			err = db.dir.sync(names[0].vfs, names[0].name)
		}
	})
	took := time.Since(start)
	var covers int64
	if handle != nil {
		covers, handle.busy = handle.covers, false
	}
	if err != nil && wasNotTried(err) {
		db.undone(job, err)
		return
	}

	event := SyncEvent{Database: db.name, File: job.File.String(), Bytes: job.Bytes, Duration: took}
	var failure *SyncError
	if err == nil {
		failed := db.failure.Load()
		if job.File == syncqueue.WAL && (failed == nil || failed.File != job.File.String()) {
			db.newWAL = false
			db.walSyncs.end(round)
			db.tally.durable = max(db.tally.durable, commits)
			if ours && gen == db.generation.Load() && db.isKnown(known) {
				db.extent.durable = max(db.extent.durable, covers)
			}
			if failed != nil {
				// It was under way when another sync failed. What it has made durable isn't to be written once more.
				extent := db.extent
				db.unlocked(func() { db.remember(own, extent, failed) })
			}
		}
	} else {
		failure = &SyncError{
			Err: err, Database: db.name, File: synced,
			DurableCommits: db.tally.durable, Commits: db.tally.commits,
		}
		event.Err = failure
		if !db.rules.Off(rules.FailureIsFinal) {
			// H5: a failed sync is final, and it is never tried again.
			db.failure.CompareAndSwap(nil, failure)
			extent := db.extent
			db.unlocked(func() {
				db.remember(own, extent, failure)
				go db.takeBack()
			})
		}
	}
	db.times.sync(job.File, took, db.now())
	answers := db.queue.Done(job, err, db.now())
	if job.File == syncqueue.WAL {
		db.group.Ended(took, len(answers), db.queue.Waiting(syncqueue.WAL), db.queue.Covered(syncqueue.WAL), db.now())
	}
	db.answer(answers)
	if failure == nil && job.File == syncqueue.WAL && db.markers.due.Load() {
		durable := db.queue.Durable(syncqueue.WAL)
		db.unlocked(func() { db.settleMarker(durable) })
	}
	if failure != nil || db.vfs.onSync != nil || db.observed.listeners.Load() != nil {
		db.unlocked(func() { db.report(event) })
	}
}

// unlocked calls f with db.mu released.
// +checklocks:db.mu
func (db *database) unlocked(f func()) {
	db.mu.Unlock()
	defer db.mu.Lock() // also in a panic: others are deferred that unlock it
	f()
}

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

// answer tells the waiters, and sees to it that somebody does the next sync.
// +checklocks:db.mu
func (db *database) answer(answers []syncqueue.Answer[*waiter]) {
	for _, a := range answers {
		a.Waiter.done, a.Waiter.err = true, a.Err
		a.Waiter.notify()
	}
	db.succeed()
	if db.stop {
		db.wakeSyncer()
	}
}

// succeed sees to it that somebody does the next syncs.
// +checklocks:db.mu
func (db *database) succeed() {
	db.promote(syncqueue.DB)
	if !db.promote(syncqueue.WAL) {
		db.arm()
	}
}

// promote makes one of those who wait for the file's next sync its leader, if that is due.
// +checklocks:db.mu
func (db *database) promote(file syncqueue.File) bool {
	if due, ok := db.queue.DueBeside(file); !ok || due > db.now() || !db.mayStart(file) {
		return false
	}
	for w := range db.queue.Waiters(file) {
		w.notify()
		return true
	}
	return false
}

// arm wakes the syncer if it would sleep past the next sync.
// +checklocks:db.mu
func (db *database) arm() {
	if due, ok := db.queue.Due(syncqueue.WAL); ok && due < db.armed {
		db.wakeSyncer()
	}
}

// +checklocks:db.mu
func (db *database) wakeSyncer() {
	db.armed = 0
	select {
	case db.kick <- struct{}{}:
	default:
	}
}

// hand has a sync of the WAL done for its leader: by the syncer, unless that does one.
// +checklocks:db.mu
func (db *database) hand(job syncqueue.Job) {
	if !db.busy && !db.isHanded {
		db.handed, db.isHanded = job, true
		db.wakeSyncer()
		return
	}
	db.helpers++
	go func() {
		db.mu.Lock()
		defer db.mu.Unlock()
		db.do(job, nil)
		if db.helpers--; db.stop {
			db.wakeSyncer()
		}
	}()
}

// syncer does the syncs that nobody waits for who could do them: those of commits at NORMAL,
// and of leaders whose contexts can be cancelled.
// It runs while the WAL is open, and ends only when no sync of it is running.
func (db *database) syncer(stopped chan<- struct{}) {
	defer close(stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()

	db.mu.Lock()
	defer db.mu.Unlock()
	for {
		if db.isHanded {
			db.isHanded = false
			db.busy = true
			db.do(db.handed, nil)
			db.busy = false
			continue
		}
		now := db.now()
		if job, ok := db.queue.Next(syncqueue.WAL, now); ok {
			db.busy = true
			db.do(job, nil)
			db.busy = false
			continue
		}
		if db.stop && db.queue.Running(syncqueue.WAL) == 0 && db.helpers == 0 {
			return
		}
		db.armed = never
		if due, ok := db.queue.Due(syncqueue.WAL); ok {
			db.armed = due
		}
		timer.Reset(time.Duration(min(db.armed-now, syncqueue.Time(time.Hour))))
		db.mu.Unlock()
		select {
		case <-db.kick:
		case <-timer.C:
		}
		db.mu.Lock()
	}
}

// commitNormal ends a commit at synchronous=NORMAL that has written the WAL up to seq:
// it returns at once unless a power cut would lose too much.
func (db *database) commitNormal(ctx context.Context, w *waiter, k knobs, seq uint64) error {
	db.mu.Lock()
	now := db.now()
	if answered, err := db.request(seq, k); answered {
		defer db.mu.Unlock()
		return db.result(err)
	}
	// Backpressure.
	stalled, began := false, now
	for {
		target := db.queue.Stall(seq, k.maxPending, now, k.maxDelay)
		if target == 0 {
			break
		}
		first := !stalled
		if first {
			stalled = true
			db.tally.stalls++
		}
		db.mu.Unlock()
		if first {
			db.tellStallBegan(StallPending)
		}
		err := db.await(ctx, w, syncqueue.Request[*waiter]{File: syncqueue.WAL, Seq: target}, nil)
		if err != nil {
			db.stallEnded(began)
			return err
		}
		db.mu.Lock()
		now = db.now()
	}
	db.queue.Acknowledged(seq, now)
	db.arm()
	db.mu.Unlock()
	if stalled {
		db.stallEnded(began)
	}
	return nil
}

// stallEnded counts the stall of a commit that began then.
func (db *database) stallEnded(began syncqueue.Time) {
	now := db.now()
	db.times.stall.observe(now-began, now)
	db.tellStallEnded(StallPending, now-began)
}

// request asks for a sync of the WAL that nobody waits for.
// +checklocks:db.mu
func (db *database) request(seq uint64, k knobs) (answered bool, err error) {
	now := db.now()
	return db.queue.Request(syncqueue.Request[*waiter]{
		File: syncqueue.WAL,
		Seq:  seq,
		// The last quarter is for the scheduler: where goroutines use all processors,
		// one that is woken may wait for tens of milliseconds.
		Deadline: now + k.maxDelay - k.maxDelay/4,
		// At half of what may be lost, so that commits go on while the sync runs.
		Limit: k.maxPending / 2,
	}, now)
}
