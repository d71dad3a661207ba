package tasks

import (
	"context"
	"runtime"
	"sync"
)

// gatherer has those who ask at the same time share a look, and the transaction that it takes: on a busy service most of the work of
// a look is that. Unlike with [lookout], who comes while a look waits for a sync doesn't wait for that one to end.
type gatherer struct {
	// look looks at tasks and hands over what it finds of each.
	look func(ids []string, found func(i int, r Result, err error))

	mu     sync.Mutex
	next   map[string]*look // that haven't begun, by id; guarded by mu
	begins bool             // somebody is about to look at them; guarded by mu
}

// at looks at a task.
func (g *gatherer) at(ctx context.Context, id string) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	k := g.join(id)
	select {
	case <-k.done:
		return k.found()
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// join returns a look that begins after the call.
func (g *gatherer) join(id string) *look {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := g.next[id]
	if k == nil {
		k = &look{done: make(chan struct{})}
		if g.next == nil {
			g.next = map[string]*look{}
		}
		g.next[id] = k
	} else {
		k.shared = true
	}
	if !g.begins {
		g.begins = true
		go g.run()
	}
	return k
}

// run looks once all goroutines that can run have had their turn, so that those who are about to ask come along.
func (g *gatherer) run() {
	runtime.Gosched()
	looks, ids := g.take()
	g.look(ids, func(i int, r Result, err error) {
		looks[i].r, looks[i].err = r, err
		close(looks[i].done)
	})
}

func (g *gatherer) take() (looks []*look, ids []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, k := range g.next {
		if len(ids) == lookBatch {
			break
		}
		looks, ids = append(looks, k), append(ids, id)
		delete(g.next, id)
	}
	if g.begins = len(g.next) > 0; g.begins {
		go g.run()
	} else if len(ids) == lookBatch {
		g.next = nil // many have come at once: a map doesn't shrink
	}
	return looks, ids
}
