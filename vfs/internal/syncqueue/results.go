package syncqueue

import (
	"slices"

	"github.com/docusnap/asyncvfs/internal/rules"
)

// What the end of a sync, or of a generation, means for those who wait.

// AnswerEarly answers those who wait for a sync that runs, before it ends.
// It is what the rule [rules.GroupWait] forbids, for a test.
func (q *Queue[W]) AnswerEarly(job Job) []Answer[W] {
	for _, r := range q.files[job.File].running {
		if r.job.No == job.No {
			out := q.answers(r.waiters, nil)
			r.waiters = nil
			return out
		}
	}
	return nil
}

// Condemn records that a sync of the file has failed, and goes on to be counted as running until [Queue.Done] is called.
// From here on nothing is handed out, requests are refused with err, and no other sync of the file that runs makes anything durable;
// those who wait are answered by Done, or by [Queue.Fail]. It is for who has something to do in between.
func (q *Queue[W]) Condemn(file File, err error) {
	if q.cfg.Disabled.Off(rules.FailureIsFinal) {
		return
	}
	q.files[file].failed = true
	if q.failed == nil {
		q.failed = err
	}
}

// Done ends a sync and returns the answers, urgent ones first.
// After a failure every waiter of both files is answered, and so is every later request.
func (q *Queue[W]) Done(job Job, err error, now Time) []Answer[W] {
	r, ok := q.end(job, now)
	if !ok {
		return nil
	}
	f := &q.files[job.File]
	defer q.recycle(r.entry)

	if err != nil {
		q.counts.Failures++
		if !q.cfg.Disabled.Off(rules.FailureIsFinal) {
			// H5: the kernel may have dropped the bytes; no later sync can vouch for them.
			f.failed = true
			return q.fail(err, r.waiters)
		}
		return q.answers(r.waiters, err)
	}

	if f.failed {
		// H5, for one that ran at the same time: what it covers may have been dropped before it came to it.
		return q.answers(r.waiters, q.failed)
	}
	seq := r.job.Seq
	if q.cfg.Disabled.Off(rules.SyncCoversWritten) {
		seq = f.written
	}
	ws := append(q.ws[:0], r.waiters...)
	// Rule 9. Those that run go on, and answer nobody.
	for i := range f.running {
		if other := f.running[i]; other.job.No < job.No || q.cfg.Disabled.Off(rules.LaterSyncs) {
			ws = append(ws, other.waiters...)
			other.waiters = other.waiters[:0]
		}
	}
	// It is durable; but if the database has failed meanwhile, all are told so.
	return q.answers(q.advance(ws, job.File, seq, now), q.failed)
}

// Undone ends a sync that didn't take place: what it needs couldn't be had.
// Nothing is lost, so the queue goes on. Those who wait for that sync get the error;
// somebody must ask again.
func (q *Queue[W]) Undone(job Job, err error, now Time) []Answer[W] {
	r, ok := q.end(job, now)
	if !ok {
		return nil
	}
	defer q.recycle(r.entry)
	if job.File == WAL {
		q.window.undone(job.Seq)
	}
	return q.answers(r.waiters, err)
}

// Fail fails the queue for good, as a sync that fails does.
func (q *Queue[W]) Fail(err error) []Answer[W] {
	return q.fail(err, nil)
}

// fail empties the queue and answers everybody with the first failure.
func (q *Queue[W]) fail(err error, ws []waiting[W]) []Answer[W] {
	if q.failed == nil {
		q.failed = err
	}
	for i := range q.files {
		f := &q.files[i]
		for _, e := range f.queue {
			ws = append(ws, e.waiters...)
		}
		f.queue = nil
		for _, run := range f.running {
			// That sync may end well, but the database has failed.
			ws = append(ws, run.waiters...)
			run.waiters = nil
		}
	}
	return q.answers(ws, q.failed)
}

// Synced records a sync of the file that was done without a job,
// and that started when seq bytes were written.
func (q *Queue[W]) Synced(file File, seq uint64, now Time) []Answer[W] {
	if q.failed != nil {
		return nil // H5
	}
	return q.answers(q.advance(q.ws[:0], file, seq, now), nil)
}

// advance records that the file is durable up to seq, and appends to ws who waited for that.
func (q *Queue[W]) advance(ws []waiting[W], file File, seq uint64, now Time) []waiting[W] {
	f := &q.files[file]
	f.durable = max(f.durable, seq)
	if file == WAL {
		if d, ended := q.window.durable(seq, now); ended && q.cfg.Window != nil {
			q.cfg.Window(d, now)
		}
	}
	for len(f.queue) > 0 && f.queue[0].seq <= f.durable {
		ws = append(ws, f.queue[0].waiters...)
		q.recycle(f.queue[0])
		f.queue = slices.Delete(f.queue, 0, 1)
	}
	// Waiters of a merged request may ask for less than all of it.
	for _, e := range f.queue {
		e.waiters = slices.DeleteFunc(e.waiters, func(w waiting[W]) bool {
			covered := w.seq <= f.durable
			if covered {
				ws = append(ws, w)
			}
			return covered
		})
	}
	if b := q.barrier; b != nil && file == DB && f.durable >= b.dbTo {
		// Rule 5: the generation is closed, its requests go.
		q.barrier = nil
		ws = q.advance(ws, WAL, b.walTo, now)
	}
	q.ws = ws
	return ws
}

// Restart begins a new generation of the WAL: all of the last one is in the database file.
// Rule 5 applies as soon as that is durable (H2), until which rule 4 holds the new generation back.
func (q *Queue[W]) Restart(now Time) []Answer[W] {
	q.gen++
	b := barrier{gen: q.gen, walTo: q.files[WAL].written, dbTo: q.files[DB].written}
	if q.failed != nil {
		return nil
	}
	if q.files[DB].durable >= b.dbTo {
		return q.answers(q.advance(q.ws[:0], WAL, b.walTo, now), nil)
	}
	if q.barrier != nil {
		// Two generations closed by one database sync.
		b.gen = min(b.gen, q.barrier.gen)
	}
	q.barrier = &b
	return nil
}

// clearLiterally is rule 5 as CN112347107B words it, for a test:
// the queued requests for the WAL go, whatever they asked for.
// Who waits for them is answered with the database's sync.
func (q *Queue[W]) clearLiterally(db *entry[W]) {
	f := &q.files[WAL]
	for _, e := range f.queue {
		for _, w := range e.waiters {
			db.add(waiting[W]{waiter: w.waiter, urgent: w.urgent})
		}
	}
	f.queue = nil
	f.durable = f.written
}
