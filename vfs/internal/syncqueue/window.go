package syncqueue

import (
	"slices"
	"time"
)

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
// A set of them for each sync that runs is enough, and one for those after the last: the commits that it covers,
// and no earlier one does. Of each set only the first acknowledgement counts.
//
//	acknowledged:  a  b      c   d     e
//	sync 1:            [------]            covers a, b: its set
//	sync 2:                   [------]     covers c, d; e is in "after"
type window struct {
	during  []acks // by the start of the sync
	after   acks
	longest time.Duration
}

type acks struct {
	commits uint64
	first   Time
	to      uint64 // bytes that make all of them durable
	seq     uint64 // that the sync covers
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
	if seq <= q.files[WAL].durable {
		return
	}
	for i := range w.during {
		if seq <= w.during[i].seq {
			w.during[i].add(seq, now)
			return
		}
	}
	w.after.add(seq, now)
}

// start is the start of a sync that covers the bytes up to seq.
func (w *window) start(seq uint64) {
	// A sync starts after everything that was acknowledged was written.
	w.after.seq = seq
	w.during = append(w.during, w.after)
	w.after = acks{}
}

// undone takes back the start of such a sync: the next covers its set too.
func (w *window) undone(seq uint64) {
	for i := range w.during {
		if w.during[i].seq != seq {
			continue
		}
		a, next := w.during[i], &w.after
		if i+1 < len(w.during) {
			next = &w.during[i+1]
		}
		if a.commits > 0 {
			if next.commits == 0 || a.first < next.first {
				next.first = a.first
			}
			next.commits += a.commits
			next.to = max(next.to, a.to)
		}
		w.during = slices.Delete(w.during, i, i+1)
		return
	}
}

// durable ends the windows of commits whose bytes are durable now. It returns the longest, if there is any.
func (w *window) durable(seq uint64, now Time) (d time.Duration, ended bool) {
	// Where a set is covered in part it stays: rather too long a window than too short a one.
	end := func(a *acks) {
		if a.commits > 0 && seq >= a.to {
			d, ended = max(d, now-a.first), true
			*a = acks{seq: a.seq}
		}
	}
	for i := range w.during {
		end(&w.during[i])
	}
	end(&w.after)
	w.during = slices.DeleteFunc(w.during, func(a acks) bool { return a.commits == 0 && a.seq <= seq })
	w.longest = max(w.longest, d)
	return d, ended
}

// Unsynced returns the number of commits that are acknowledged and not durable,
// and when the first of them was acknowledged.
func (q *Queue[W]) Unsynced() (commits uint64, first Time) {
	add := func(a acks) {
		if a.commits > 0 && (commits == 0 || a.first < first) {
			first = a.first
		}
		commits += a.commits
	}
	for _, a := range q.window.during {
		add(a)
	}
	add(q.window.after)
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
		if len(f.running) > 0 {
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
