package syncqueue

import "errors"

// ErrRunning is returned by [Queue.Start] when a sync of the file is running.
var ErrRunning = errors.New("syncqueue: a sync of this file is running")

// Start hands out a sync of the file that nobody has asked for, or that isn't due yet,
// so that a test needn't bring about what makes it due.
func (q *Queue[W]) Start(file File, now Time) (Job, error) {
	f := &q.files[file]
	if q.failed != nil {
		return Job{}, q.failed
	}
	if len(f.running) > 0 {
		return Job{}, ErrRunning
	}
	if e := q.head(file); e != nil {
		f.queue = f.queue[1:]
		return q.start(file, e), nil
	}
	return q.start(file, &entry[W]{gen: q.gen, deadline: now, due: now}), nil
}

// running returns the first sync of the file that runs, or none.
func running[W comparable](q *Queue[W], file File) Job {
	if r := q.files[file].running; len(r) > 0 {
		return r[0].job
	}
	return Job{File: file}
}
