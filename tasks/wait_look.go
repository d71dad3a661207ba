package tasks

import (
	"bytes"
	"context"
	"sync"
)

// lookBatch is how many tasks are looked at together, so that who comes next doesn't wait for long.
const lookBatch = 256

// lookout looks at tasks for all who wait. Those who ask for the same task share a look that begins after they asked:
// one that runs may have missed the change that they were told of. It also keeps their goroutines small:
// the stack that a backend needs would stay with each for as long as it waits.
type lookout struct {
	// look looks at tasks and hands over what it finds of each.
	look func(ids []string, found func(i int, r Result, err error))

	mu      sync.Mutex
	next    map[string]*look // that haven't begun, by id; guarded by mu
	running bool             // guarded by mu
}

// look is what is found of a task.
type look struct {
	done   chan struct{}
	shared bool // by two or more; it doesn't change any more once the look has begun
	r      Result
	err    error
}

// found returns it once it is done, as the caller's own.
func (k *look) found() (Result, error) {
	r := k.r
	if k.shared {
		r.Raw = bytes.Clone(r.Raw)
	}
	return r, k.err
}

// at looks at a task. What it returns is the caller's own.
func (l *lookout) at(ctx context.Context, id string) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	l.mu.Lock()
	k := l.next[id]
	if k == nil {
		k = &look{done: make(chan struct{})}
		if l.next == nil {
			l.next = map[string]*look{}
		}
		l.next[id] = k
	} else {
		k.shared = true
	}
	if !l.running {
		l.running = true
		go l.run()
	}
	l.mu.Unlock()
	select {
	case <-k.done:
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	return k.found()
}

// run looks until nobody asks.
func (l *lookout) run() {
	for {
		looks, ids := l.take()
		if len(ids) == 0 {
			return
		}
		l.look(ids, func(i int, r Result, err error) {
			looks[i].r, looks[i].err = r, err
			close(looks[i].done)
		})
	}
}

func (l *lookout) take() (looks []*look, ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, k := range l.next {
		if len(ids) == lookBatch {
			break
		}
		looks, ids = append(looks, k), append(ids, id)
		delete(l.next, id)
	}
	if len(ids) == 0 {
		// Many have waited at once: a map doesn't shrink.
		l.next, l.running = nil, false
	}
	return looks, ids
}

func (s *Store) lookAtInfos(ids []string, found func(int, Result, error)) {
	infos, errs := s.backend.Look(context.Background(), ids)
	for i := range ids {
		found(i, Result{Info: infos[i]}, errs[i])
	}
}

func (s *Store) lookAtResults(ids []string, found func(int, Result, error)) {
	if b, ok := s.backend.(BatchReader); ok {
		b.GetMany(context.Background(), ids, found)
		return
	}
	for i, id := range ids {
		r, err := s.backend.Get(context.Background(), id)
		found(i, r, err)
	}
}
