package tasks

import (
	"context"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// notifier tells those who wait that a task may have changed.
type notifier struct {
	mu      sync.Mutex
	waiting map[string]map[chan struct{}]struct{} // by id; +checklocks:mu
	polling bool                                  // +checklocks:mu
}

// Notify returns a channel that is closed once the task may have changed.
func (b *sqliteBackend) Notify(id string) (changed <-chan struct{}, stop func()) {
	n := &b.notifier
	c := make(chan struct{})
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-b.closing:
		close(c)
		return c, func() {}
	default:
	}
	if n.waiting == nil {
		n.waiting = map[string]map[chan struct{}]struct{}{}
	}
	if n.waiting[id] == nil {
		n.waiting[id] = map[chan struct{}]struct{}{}
	}
	n.waiting[id][c] = struct{}{}
	if !n.polling {
		n.polling = true
		b.polls.Add(1)
		go b.poll()
	}
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.remove(id, c)
	}
}

// remove needs n.mu.
func (n *notifier) remove(id string, c chan struct{}) {
	delete(n.waiting[id], c)
	if len(n.waiting[id]) == 0 {
		delete(n.waiting, id)
	}
}

// changed tells those who wait for the task.
func (n *notifier) changed(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tell(id)
}

// tell needs n.mu.
func (n *notifier) tell(id string) {
	for c := range n.waiting[id] {
		close(c)
		n.remove(id, c)
	}
}

// poll looks for commits of other connections as long as somebody waits.
func (b *sqliteBackend) poll() {
	defer b.polls.Done()
	ticker := time.NewTicker(ChangePoll)
	defer ticker.Stop()
	var c *sqlite3.Conn
	defer func() { c.Close() }()
	for version := -1; ; {
		var err error
		if c == nil {
			c, err = b.connect(context.Background())
		}
		if !b.pollOnce(c, err, &version) {
			return
		}
		select {
		case <-ticker.C:
		case <-b.closing:
		}
	}
}

// pollOnce tells all who wait if another connection has committed since, or if that can't be found out:
// they look again, and may get the error. It reports whether to go on.
func (b *sqliteBackend) pollOnce(c *sqlite3.Conn, err error, version *int) bool {
	now := -2
	if err == nil {
		// It is the same until another connection has committed.
		now, err = queryInt(c, "PRAGMA data_version")
	}
	closing := false
	select {
	case <-b.closing:
		closing = true
	default:
	}
	n := &b.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	if now != *version || err != nil || closing {
		for id := range n.waiting {
			n.tell(id)
		}
	}
	*version = now
	// Who begins to wait after the last one starts another poll.
	n.polling = !closing && len(n.waiting) > 0
	return n.polling
}
