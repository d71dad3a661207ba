package syncqueue

import "slices"

type waiting[W comparable] struct {
	waiter W
	seq    uint64
	urgent bool
}

// entry is one or more requests that merged.
type entry[W comparable] struct {
	waiters  []waiting[W]
	gen      uint64
	seq      uint64
	deadline Time // when the sync must start at the latest
	due      Time // when it shall start, which is no later
}

func (q *Queue[W]) newEntry() *entry[W] {
	n := len(q.free)
	if n == 0 {
		return &entry[W]{}
	}
	e := q.free[n-1]
	q.free = q.free[:n-1]
	return e
}

// recycle takes back an entry whose waiters are answered.
func (q *Queue[W]) recycle(e *entry[W]) {
	clear(e.waiters)
	e.waiters = e.waiters[:0]
	q.free = append(q.free, e)
}

func (e *entry[W]) add(w waiting[W]) {
	var nobody W
	if w.waiter != nobody {
		e.waiters = append(e.waiters, w)
	}
}

func (e *entry[W]) remove(waiter W) {
	e.waiters = slices.DeleteFunc(e.waiters, func(w waiting[W]) bool { return w.waiter == waiter })
}

// answers gives all the same answer, urgent ones first.
func (q *Queue[W]) answers(ws []waiting[W], err error) []Answer[W] {
	clear(q.out)
	out := q.out[:0]
	for _, urgent := range [...]bool{true, false} {
		for _, w := range ws {
			if w.urgent == urgent {
				out = append(out, Answer[W]{w.waiter, err})
			}
		}
	}
	q.out = out
	return out
}
