package syncqueue

import (
	"iter"
	"slices"
)

// Which sync is next, and which run.

// Waiters returns the waiters of the sync that comes next for the file, urgent ones first.
// One of them may do it.
func (q *Queue[W]) Waiters(file File) iter.Seq[W] {
	return func(yield func(W) bool) {
		e := q.head(file)
		if e == nil {
			return
		}
		for _, urgent := range [...]bool{true, false} {
			for _, w := range e.waiters {
				if w.urgent == urgent && !yield(w.waiter) {
					return
				}
			}
		}
	}
}

// Waiting returns how many wait for the sync that comes next for the file.
func (q *Queue[W]) Waiting(file File) int {
	if e := q.head(file); e != nil {
		return len(e.waiters)
	}
	return 0
}

// head returns the file's first request, unless the barrier holds it back (rules 1 and 4).
func (q *Queue[W]) head(file File) *entry[W] {
	f := &q.files[file]
	if q.failed != nil || len(f.queue) == 0 {
		return nil
	}
	if e := f.queue[0]; !q.heldBack(file, e) {
		return e
	}
	return nil
}

// heldBack is rule 4.
func (q *Queue[W]) heldBack(file File, e *entry[W]) bool {
	return file == WAL && q.barrier != nil && e.gen >= q.barrier.gen
}

// Due returns when the next sync of the file shall start.
// It is false while none can: nothing waits, or a sync is running.
func (q *Queue[W]) Due(file File) (Time, bool) {
	if len(q.files[file].running) > 0 {
		return 0, false
	}
	return q.DueBeside(file)
}

// DueBeside is [Queue.Due] where a sync may run already.
func (q *Queue[W]) DueBeside(file File) (Time, bool) {
	if e := q.head(file); e != nil {
		return e.due, true
	}
	return 0, false
}

// Next hands out the sync that is due for the file, if none is running.
// The caller does it and then calls [Queue.Done].
func (q *Queue[W]) Next(file File, now Time) (Job, bool) {
	if len(q.files[file].running) > 0 {
		return Job{}, false
	}
	return q.NextBeside(file, now)
}

// NextBeside is [Queue.Next], beside those syncs of the file that are running (rule 9).
// The caller does it by a handle that no other sync uses, and that was open before the first write:
// the operating system tells each handle once of what it couldn't write.
func (q *Queue[W]) NextBeside(file File, now Time) (Job, bool) {
	e := q.head(file)
	if e == nil || e.due > now {
		return Job{}, false
	}
	f := &q.files[file]
	f.queue = slices.Delete(f.queue, 0, 1)
	return q.start(file, e), true
}

func (q *Queue[W]) start(file File, e *entry[W]) Job {
	f := &q.files[file]
	f.started++
	// H6: the sync covers what was written before it starts.
	job := Job{File: file, No: f.started, Gen: e.gen, Seq: f.written, Bytes: f.written - f.durable}
	f.running = append(f.running, run[W]{e, job})
	q.counts.Syncs[file]++
	if file == WAL {
		q.window.start(job.Seq)
	}
	return job
}

// end takes the sync out of those that run. It is false if that doesn't run.
func (q *Queue[W]) end(job Job, now Time) (run[W], bool) {
	f := &q.files[job.File]
	i := slices.IndexFunc(f.running, func(r run[W]) bool { return r.job.No == job.No })
	if i < 0 {
		return run[W]{}, false
	}
	r := f.running[i]
	f.running = slices.Delete(f.running, i, i+1)
	f.lastEnd, f.synced = now, true
	return r, true
}
