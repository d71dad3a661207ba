// Package syncqueue holds the rules of the queue
// in which requests to sync a database's files wait, merge and are answered.
//
// It does no I/O, starts no goroutine, reads no clock and knows nothing of SQLite:
// events go in (bytes written, a request, the end of a sync, the end of a WAL generation),
// jobs and answers come out, and time is a value that the caller passes.
//
// The rules:
//
//  1. Order: requests for a file are served first in, first out.
//  2. Merge: a request joins the one that waits for the same file and generation:
//     the greater sequence, the earlier deadline, the waiters of both.
//  3. Coverage: a request whose sequence is durable is answered at once,
//     one whose bytes were written before a running sync started is answered by that.
//  4. Barrier: nothing merges across the end of a generation,
//     and no request of the next generation is served
//     before the database sync that closes the last one.
//  5. Clear: once a generation is closed its requests are answered and removed.
//  6. Trigger: a request is served at once if its deadline has come, if enough bytes wait,
//     or if none waits that it could join and the last sync is [Config.MinInterval] ago;
//     else at its deadline.
//  7. Backpressure: [Queue.Stall] says which sequence must be durable
//     before a commit may return.
//  8. Result: the end of a sync answers every waiter that it covers,
//     and a failed one answers all, for good.
//  9. Beside: several syncs of a file may run at a time, and end in any order.
//     Each covers what was written before it started, so a later one that ends first answers for the earlier,
//     and never an earlier one for a later. Once one has failed, none of the others makes anything durable.
package syncqueue

import (
	"time"

	"github.com/docusnap/asyncvfs/internal/rules"
)

// Time is the time since any moment that the caller sticks to.
type Time = time.Duration

// File is one of the two files of a database that are synced.
type File uint8

// The files of a database.
const (
	WAL File = iota
	DB
	numFiles
)

// String returns "wal" or "db".
func (f File) String() string {
	if f == WAL {
		return "wal"
	}
	return "db"
}

// Config holds what stays the same over the life of a [Queue].
type Config struct {
	// MinInterval is the time since the last sync of a file
	// after which a request for it needn't wait for its deadline.
	MinInterval time.Duration
	// Window, if not nil, is called for each sync, or end of a generation, that makes commits durable that were acknowledged before,
	// with the longest time for which one of them was acknowledged and not yet durable.
	Window func(d time.Duration, now Time)
	// Disabled are safety rules that a test switches off.
	Disabled rules.Set
}

// Request asks for a file's bytes to be made durable.
type Request[W comparable] struct {
	// Waiter is told of the result; its zero value stands for nobody.
	Waiter W
	// Seq is the number of bytes that must be durable, as [Queue.Written] counts them.
	Seq uint64
	// Deadline is when the sync must start at the latest.
	Deadline Time
	// Limit is the number of bytes not yet durable
	// at which the sync starts before its deadline; 0 is no limit.
	Limit uint64
	// File is the file to sync.
	File File
	// Urgent waiters are answered before the others.
	Urgent bool
}

// Job is a sync to be done.
// It covers the bytes up to Seq, those that were written before the job was handed out.
type Job struct {
	No    uint64 // number of the file's job, from 1 on
	Seq   uint64
	Gen   uint64
	Bytes uint64
	File  File
}

// Answer is the result of a request. Where several come at once, urgent ones come first.
// The slice that they come in is valid until the next call.
type Answer[W comparable] struct {
	Waiter W
	Err    error
}

type fileState[W comparable] struct {
	queue   []*entry[W] // ordered by generation, one entry for each
	running []run[W]    // in the order in which they started
	started uint64      // number of the last job
	failed  bool        // a sync of this file has failed
	written uint64
	durable uint64
	lastEnd Time
	synced  bool // lastEnd is set
}

// run is a sync that runs.
type run[W comparable] struct {
	*entry[W]
	job Job
}

// barrier keeps the requests of a generation back until its predecessor is closed.
type barrier struct {
	gen   uint64 // the generation that begins
	walTo uint64 // the WAL's bytes of the generations before it
	dbTo  uint64 // the database bytes that must be durable before it begins
}

// Queue is the queue of one database. It isn't safe for concurrent use.
type Queue[W comparable] struct {
	cfg     Config
	failed  error
	files   [numFiles]fileState[W]
	gen     uint64
	barrier *barrier
	window  window
	counts  Counts

	// Kept, so that a commit allocates nothing.
	free []*entry[W]
	ws   []waiting[W]
	out  []Answer[W]
}

// New returns an empty queue.
func New[W comparable](cfg Config) *Queue[W] {
	return &Queue[W]{cfg: cfg}
}

// Wrote counts n bytes written to the file, after the write returned.
// A sync that starts later covers them.
func (q *Queue[W]) Wrote(file File, n int) {
	q.files[file].written += uint64(n)
}

// Written returns the number of bytes written to the file so far.
func (q *Queue[W]) Written(file File) uint64 { return q.files[file].written }

// Durable returns the number of bytes of the file that are durable, or need not be any more.
func (q *Queue[W]) Durable(file File) uint64 { return q.files[file].durable }

// Pending returns the number of bytes of the file that aren't durable.
func (q *Queue[W]) Pending(file File) uint64 {
	return q.files[file].written - q.files[file].durable
}

// Generation returns the number of times that the WAL was restarted.
func (q *Queue[W]) Generation() uint64 { return q.gen }

// Failed returns the error of the sync that failed, or nil.
func (q *Queue[W]) Failed() error { return q.failed }

// Condemned reports whether a sync of the file has failed.
func (q *Queue[W]) Condemned(file File) bool { return q.files[file].failed }

// Running returns how many syncs of the file are running.
func (q *Queue[W]) Running(file File) int { return len(q.files[file].running) }

// Covered returns how many wait for syncs of the file that are running.
func (q *Queue[W]) Covered(file File) (n int) {
	for _, r := range q.files[file].running {
		n += len(r.waiters)
	}
	return n
}

// Request puts a request into the queue.
// Where the answer is known already, it is returned with true and the waiter isn't kept.
func (q *Queue[W]) Request(r Request[W], now Time) (answered bool, err error) {
	f := &q.files[r.File]
	q.counts.Requests++

	// H5: a failed sync is final.
	if q.failed != nil {
		return true, q.failed
	}
	// Rule 3.
	if r.Seq <= f.durable {
		q.counts.Covered++
		return true, nil
	}
	w := waiting[W]{waiter: r.Waiter, seq: r.Seq, urgent: r.Urgent}
	// Rule 3, and H6: the running sync started after these bytes were written.
	for _, run := range f.running {
		if r.Seq <= run.job.Seq {
			q.counts.Merged++
			run.add(w)
			return false, nil
		}
	}

	// Rule 2. Only the newest generation takes requests (rule 4).
	var e *entry[W]
	if n := len(f.queue); n > 0 && f.queue[n-1].gen == q.gen {
		q.counts.Merged++
		e = f.queue[n-1]
		e.seq = max(e.seq, r.Seq)
		e.deadline = min(e.deadline, r.Deadline)
		e.due = min(e.due, e.deadline)
	} else {
		e = q.newEntry()
		e.gen, e.seq, e.deadline, e.due = q.gen, r.Seq, r.Deadline, r.Deadline
		f.queue = append(f.queue, e)
		// Rule 6: nobody syncs, and the last sync is old enough.
		if len(f.running) == 0 && (!f.synced || now-f.lastEnd >= q.cfg.MinInterval) {
			e.due = min(e.due, now)
		}
	}
	e.add(w)
	// Rule 6: enough bytes wait.
	if r.Limit != 0 && q.Pending(r.File) >= r.Limit {
		e.due = min(e.due, now)
	}
	// Rule 1: what is before it has to be served by then too.
	if !q.heldBack(r.File, e) {
		for _, older := range f.queue {
			older.due = min(older.due, e.due)
		}
	}

	if r.File == DB && q.cfg.Disabled.Off(rules.ClearClosed) {
		q.clearLiterally(e)
	}
	return false, nil
}

// Cancel removes a waiter, which won't be answered. The request itself stays.
func (q *Queue[W]) Cancel(waiter W) {
	for i := range q.files {
		f := &q.files[i]
		for _, e := range f.queue {
			e.remove(waiter)
		}
		for _, run := range f.running {
			run.remove(waiter)
		}
	}
}
