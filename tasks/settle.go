package tasks

import (
	"context"
	"fmt"
)

// SettleBackend is a [Backend] that knows what is durable already.
type SettleBackend interface {
	Backend
	// Settle returns once all that could be read of tasks when it was called survives a power cut.
	// It has nothing synced where that is known to be so.
	Settle(ctx context.Context) error
}

// Settle returns once all that can have been read of tasks until now is durable, whoever has changed it, so that a power cut
// can't take back what somebody is told of it. Calls share a sync, and where all of it is known to be durable, there is none.
// With a backend that doesn't know, it is [Store.Sync].
func (s *Store) Settle(ctx context.Context) error {
	b, ok := s.backend.(SettleBackend)
	if !ok {
		return s.Sync(ctx)
	}
	if err := b.Settle(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}
