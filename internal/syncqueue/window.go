package syncqueue

import "time"

// Counts are totals over the life of a [Queue].
type Counts struct {
	Requests uint64           // requests made
	Merged   uint64           // requests that joined another one, or a running sync
	Covered  uint64           // requests whose bytes were durable already
	Syncs    [numFiles]uint64 // syncs started, by file
	Failures uint64           // syncs that failed
}

// Counts returns the totals so far.
func (q *Queue[W]) Counts() Counts { return q.counts }

// window measures how long commits are acknowledged before they are durable.
//
// Two sets are enough: the commits that the running sync covers, and those after it.
// Of each only the first acknowledgement counts.
//
//	acknowledged:  a  b      c   d     e
//	sync 1:            [------]            covers a, b: the set "during"
//	sync 2:                   [------]     covers c, d; e is in "after"
type window struct {
	during, after acks
	longest       time.Duration
}

type acks struct {
	commits uint64
	first   Time
	to      uint64 // bytes that make all of them durable
}

func (a *acks) add(seq uint64, now Time) {
	if a.commits == 0 {
		a.first = now
	}
	a.commits++
	a.to = max(a.to, seq)
}

// Acknowledged counts a commit whose bytes up to seq aren't all durable,
// and about which the application was told all the same.
func (q *Queue[W]) Acknowledged(seq uint64, now Time) {
	w := &q.window
	switch f := &q.files[WAL]; {
	case seq <= f.durable:
	case f.running != nil && seq <= f.job.Seq:
		w.during.add(seq, now)
	default:
		w.after.add(seq, now)
	}
}

func (w *window) start() {
	// A sync starts after everything that was acknowledged was written.
	w.during, w.after = w.after, acks{}
}

// undone takes back start: the next sync covers both sets.
func (w *window) undone() {
	if w.during.commits > 0 {
		if w.after.commits == 0 || w.during.first < w.after.first {
			w.after.first = w.during.first
		}
		w.after.commits += w.during.commits
		w.after.to = max(w.after.to, w.during.to)
	}
	w.during = acks{}
}

// durable ends the windows of commits whose bytes are durable now. It returns the longest, if there is any.
func (w *window) durable(seq uint64, now Time) (d time.Duration, ended bool) {
	// Where a set is covered in part it stays: rather too long a window than too short a one.
	for _, a := range [...]*acks{&w.during, &w.after} {
		if a.commits > 0 && seq >= a.to {
			d, ended = max(d, now-a.first), true
			*a = acks{}
		}
	}
	w.longest = max(w.longest, d)
	return d, ended
}

// Unsynced returns the number of commits that are acknowledged and not durable,
// and when the first of them was acknowledged.
func (q *Queue[W]) Unsynced() (commits uint64, first Time) {
	w := &q.window
	commits = w.during.commits + w.after.commits
	first = w.after.first
	if w.during.commits > 0 && (w.after.commits == 0 || w.during.first < first) {
		first = w.during.first
	}
	return commits, first
}

// LongestWindow returns the longest time so far
// for which a commit was acknowledged and not yet durable.
func (q *Queue[W]) LongestWindow() time.Duration { return q.window.longest }

// Stall returns the sequence that must be durable before a commit may return
// that wrote the WAL up to seq, given that at most limit bytes may be lost (rule 7).
// It is zero if the commit may return at once.
//
// A request that isn't started at its deadline holds commits back too:
// while another sync runs, at once; while none does, after grace,
// the time that whoever will start it is given to come by.
func (q *Queue[W]) Stall(seq, limit uint64, now Time, grace time.Duration) uint64 {
	f := &q.files[WAL]
	var target uint64
	if seq > f.durable+limit {
		target = seq - limit
	}
	if len(f.queue) > 0 {
		e := f.queue[0]
		if f.running != nil {
			grace = 0
		}
		if now > e.deadline+grace {
			target = max(target, min(e.seq, seq))
		}
	}
	if target <= f.durable {
		return 0
	}
	return target
}
