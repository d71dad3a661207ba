package tasks

import (
	"context"
	"encoding/json"
	"time"
)

// Backend keeps the tasks of a [Store]. SQLite is the one that [Open] takes; [New] takes any other.
// The store checks all input before a backend sees it.
//
// A backend has its own clock, which stamps what it changes.
type Backend interface {
	CacheBackend
	ClaimBackend
	// Write makes changes, in order and each by itself: one that fails changes nothing,
	// and keeps none of the others from being made. It returns the error of each,
	// among them [ErrNotFound], [ErrExists] and [*TransitionError].
	// If durable is set, it returns once what it has made survives a power cut.
	Write(ctx context.Context, changes []Change, durable bool) []error
	// Sync returns once all changes that could be seen when it was called survive a power cut.
	Sync(ctx context.Context) error
	// Get returns a task, or [ErrNotFound].
	Get(ctx context.Context, id string) (Result, error)
	// List returns tasks in the query's order.
	List(ctx context.Context, q Query) ([]Info, error)
	// Count returns how many tasks there are of each type and status.
	Count(ctx context.Context) (map[Type]map[Status]int, error)
	// Cleanup deletes the tasks that were created that long ago or before, and have one of the statuses
	// unless there are none. It returns how many it deleted.
	Cleanup(ctx context.Context, age time.Duration, statuses []Status) (int, error)
	// Notify returns a channel that is closed once the task may have changed since the call:
	// at once for a change through this backend, within [ChangePoll] for another.
	// Stop ends that early. With an empty id it is for any task; what workers change may be left out.
	Notify(id string) (changed <-chan struct{}, stop func())
	// Close ends what the backend does, and returns once all that it was told is durable.
	Close() error
}

// Query says which tasks to list.
type Query struct {
	Types    []Type   // any if there are none
	Statuses []Status // any if there are none
	Newest   bool     // first; else the oldest
	Limit    int      // 1 to 1000; 0 is 100
	// After is the last task of the page before this one, or the zero Info.
	After Info
}

// Op is what a [Change] does.
type Op int

// The operations.
const (
	OpCreate Op = iota // a task that isn't there yet
	OpUpdate           // its status and, if Result isn't nil, its result
	OpRetry            // from Error back to Pending
	OpDelete
)

// Change is a change of one task.
type Change struct {
	Op     Op
	ID     string
	Type   Type
	Status Status
	Result json.RawMessage
	Error  string
	// From are the statuses that the task may come from; nil is any.
	From []Status
}
