package tasks

import (
	"sync"

	"github.com/docusnap/asyncvfs/tasks/internal/waiters"
)

// notifier tells those who wait that a task may have changed.
type notifier struct {
	mu      sync.Mutex
	waiting waiters.Set // guarded by mu
	polling bool        // somebody looks for what others commit; guarded by mu
	closed  bool        // guarded by mu
	// own are the entries of the log of changes that this backend has written since the last look at it, in order:
	// whom they concern is told. Guarded by mu.
	own []logRange
}

// wait returns a channel that is closed once the task may have changed. It calls start if nobody looks for what others commit.
func (n *notifier) wait(id string, start func()) (changed <-chan struct{}, stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return waiters.Told()
	}
	if !n.polling {
		n.polling = true
		start()
	}
	return n.waiting.Add(id, &n.mu)
}

// changed tells those who wait for one of the tasks, or for any.
func (n *notifier) changed(ids ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting.Changed(ids)
}

// all tells everybody.
func (n *notifier) all() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting.All()
}

// close tells everybody, also those who come later.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.all()
}

// goOn reports whether somebody waits. If not, the next one has to start to look again.
func (n *notifier) goOn() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.polling = !n.closed && !n.waiting.Empty()
	if !n.polling {
		n.own = nil
	}
	return n.polling
}

// looking reports whether somebody looks for what others commit.
func (n *notifier) looking() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.polling
}

// wrote says which entries of the log are this backend's own.
func (n *notifier) wrote(r logRange) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.polling || r.after >= r.upTo {
		return
	}
	if last := len(n.own) - 1; last >= 0 && n.own[last].upTo == r.after {
		n.own[last].upTo = r.upTo
		return
	}
	n.own = append(n.own, r)
}

// ownUpTo returns the own entries up to a number, and forgets them.
func (n *notifier) ownUpTo(seq int64) (own []logRange) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.own) > 0 && n.own[0].after < seq {
		r := n.own[0]
		if r.upTo > seq {
			n.own[0].after, r.upTo = seq, seq
			return append(own, r)
		}
		own, n.own = append(own, r), n.own[1:]
	}
	return own
}
