// Package waiters keeps those who wait for a task to change.
package waiters

import "sync"

// Set is who waits for which task. The zero value is empty. Its owner's mutex guards it.
type Set struct{ byID map[string]*task }

// task is one that somebody waits for. All who do share the channel: to tell them is the same work for any number.
type task struct {
	changed chan struct{}
	n       int // who wait
}

// Add returns a channel that is closed once the task, or with an empty id any, is told of. Stop ends that early.
// The caller holds mu, and stop takes it.
func (s *Set) Add(id string, mu sync.Locker) (changed <-chan struct{}, stop func()) {
	if s.byID == nil {
		s.byID = map[string]*task{}
	}
	t := s.byID[id]
	if t == nil {
		t = &task{changed: make(chan struct{})}
		s.byID[id] = t
	}
	t.n++
	return t.changed, func() {
		mu.Lock()
		defer mu.Unlock()
		// Once they are told, others may wait for the same task.
		if t.n--; t.n == 0 && s.byID[id] == t {
			delete(s.byID, id)
		}
	}
}

// Told returns a channel for who comes too late to wait.
func Told() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{})
	close(c)
	return c, func() {}
}

// Tell tells those who wait for a task, or with an empty id those who wait for any.
func (s *Set) Tell(id string) {
	if t := s.byID[id]; t != nil {
		close(t.changed)
		delete(s.byID, id)
	}
}

// Changed tells those who wait for one of the tasks, and those who wait for any. Without an id it tells nobody.
func (s *Set) Changed(ids []string) {
	if len(ids) == 0 {
		return
	}
	s.Tell("")
	for _, id := range ids {
		s.Tell(id)
	}
}

// All tells everybody.
func (s *Set) All() {
	for id := range s.byID {
		s.Tell(id)
	}
}

// Empty reports whether nobody waits.
func (s *Set) Empty() bool { return len(s.byID) == 0 }
