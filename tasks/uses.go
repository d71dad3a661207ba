package tasks

import (
	"context"
	"sync"
	"time"
)

const (
	// Uses of results are written once there are that many tasks, or the first is that old.
	taskUsesMany = 256
	taskUsesAge  = 10 * time.Second
)

// taskUses remembers whose results were read, for [Janitor].KeepUsed. They are written together.
type taskUses struct {
	mu      sync.Mutex
	closed  bool                 // guarded by mu
	at      map[string]time.Time // guarded by mu
	since   time.Time            // of the first; guarded by mu
	writing sync.WaitGroup
}

// TrackUse makes the store remember when a task's result was last read by [Store.Result],
// for [Janitor].ByUse. It is written up to 10s later, or when the store is closed.
func TrackUse() Option { return func(c *config) { c.trackUse = true } }

// read remembers that a result was read.
func (s *Store) read(ctx context.Context, id string) {
	if !s.trackUse {
		return
	}
	u := &s.uses
	now := s.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	if len(u.at) == 0 {
		u.at, u.since = map[string]time.Time{}, now
	}
	u.at[id] = now
	if len(u.at) < taskUsesMany && now.Sub(u.since) < taskUsesAge {
		return
	}
	at := u.at
	u.at = nil
	u.writing.Go(func() { _ = s.backend.Use(context.WithoutCancel(ctx), at) })
}

// writeUses writes what is known of uses, so that a cleanup knows it too.
func (s *Store) flushUses(ctx context.Context) error {
	u := &s.uses
	u.mu.Lock()
	at := u.at
	u.at = nil
	u.mu.Unlock()
	u.writing.Wait()
	if len(at) == 0 {
		return nil
	}
	return s.backend.Use(ctx, at)
}

func (s *Store) closeUses() {
	s.uses.mu.Lock()
	s.uses.closed = true
	s.uses.mu.Unlock()
	_ = s.flushUses(context.Background()) // a task is deleted earlier for that at worst
}
