package taskhttp

import (
	"fmt"
	"sync"

	"github.com/docusnap/asyncvfs/tasks"
)

// bodiesKept is how many tasks' bodies are kept, twice: about 1 KiB each.
const bodiesKept = 2048

// bodies keeps tasks as they were answered last, so that one which hasn't changed isn't encoded again for each who asks.
// It says nothing of whether a task has changed: that is looked up each time.
type bodies struct {
	mu         sync.Mutex
	now, older map[string]*taskBody // by id; guarded by mu
	encoded    int                  // how often one was encoded; guarded by mu
}

// taskBody is a task as it is answered. It isn't changed any more.
type taskBody struct {
	of   tasks.Info
	text []byte
	tag  string
}

// get returns the body of a task.
func (b *bodies) get(t tasks.Info) (*taskBody, error) {
	if k := b.kept(t); k != nil {
		return k, nil
	}
	text, err := encode(viewOf(t))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tasks.ErrUnreadable, err)
	}
	k := &taskBody{t, text, tag(text)}
	b.keep(k)
	return k, nil
}

func (b *bodies) kept(t tasks.Info) *taskBody {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.now[t.ID]
	if !ok {
		k, ok = b.older[t.ID]
	}
	if !ok || k.of != t {
		return nil
	}
	b.put(k)
	return k
}

func (b *bodies) keep(k *taskBody) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.encoded++
	b.put(k)
}

// put drops those that nobody has asked for while as many others were.
//
// Called with b.mu held.
func (b *bodies) put(k *taskBody) {
	if b.now == nil || len(b.now) >= bodiesKept && b.now[k.of.ID] == nil {
		b.older, b.now = b.now, make(map[string]*taskBody, bodiesKept)
	}
	b.now[k.of.ID] = k
}
