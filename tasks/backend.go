package tasks

import (
	"context"
	"database/sql"
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
	// Look returns what is known of tasks, and the error of each, among them [ErrNotFound].
	// Its work doesn't depend on how large the results are.
	Look(ctx context.Context, ids []string) ([]Info, []error)
	// Get returns a task with its result, or [ErrNotFound].
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
	// Stop ends that early. With an empty id it is for any task.
	// Many wait for long: while their tasks rest, they cost neither a look nor a part of what others do.
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

// ClaimBackend is what a [Backend] does for workers.
type ClaimBackend interface {
	// Claim hands out the oldest task of these types that is [Pending] and due, or returns [ErrNoTask].
	// It first takes back those whose lease has expired: they are Pending again, or Error after maxAttempts.
	Claim(ctx context.Context, types []Type, lease time.Duration, maxAttempts int) (Claimed, error)
	// Extend makes a lease end that long from now and returns when that is, or [ErrLeaseLost].
	Extend(ctx context.Context, id, lease string, by time.Duration) (time.Time, error)
	// Finish ends an attempt and its lease, or returns [ErrLeaseLost].
	Finish(ctx context.Context, o Outcome, durable bool) error
	// Holds reports whether a lease is still its holder's: neither taken back nor ended by a change of the task.
	Holds(ctx context.Context, id, lease string) (bool, error)
	// Progress sets the result of a task that is [Processing] and leaves all else as it is, the lease too.
	// With a lease it returns [ErrLeaseLost] if that isn't held any more; without one,
	// [ErrNotFound] or a [*TransitionError] if the task isn't Processing.
	Progress(ctx context.Context, id, lease string, result json.RawMessage, durable bool) error
	// Attempts returns a task's attempts in order, or [ErrNotFound].
	Attempts(ctx context.Context, id string) ([]Attempt, error)
}

// Outcome is what came of an attempt.
type Outcome struct {
	ID     string
	Lease  string
	Status Status          // from now on
	Result json.RawMessage // nil leaves the task's as it is
	Error  string          // empty if it succeeded
	Delay  time.Duration   // until the next attempt, if the status is Pending
}

// TxBackend is a [Backend] that can make changes in a transaction of the application.
type TxBackend interface {
	Backend
	// WriteTx makes changes as Write does. They are made if the transaction is committed,
	// and as durable as that is.
	WriteTx(ctx context.Context, tx *sql.Tx, changes []Change) []error
}

// CacheKey is what a result of the cache is stored under.
type CacheKey struct {
	Type Type
	Key  string
}

// CacheBackend keeps the results of [Store.Do]. An entry is a result, the text of an error, or a lease
// that somebody has who computes. Where a lease is an argument, it is the text that names the one who has it.
type CacheBackend interface {
	// CacheGet returns an entry, unless it has expired.
	CacheGet(ctx context.Context, k CacheKey) (CacheEntry, error)
	// CacheClaim returns the entry too, but if there is none, the caller has the lease then, for that long.
	CacheClaim(ctx context.Context, k CacheKey, lease string, d time.Duration) (CacheEntry, error)
	// CacheRenew makes the lease end that much later than now. It reports whether the caller still has it.
	CacheRenew(ctx context.Context, k CacheKey, lease string, d time.Duration) (bool, error)
	// CacheRelease gives the lease back, if the caller still has it.
	CacheRelease(ctx context.Context, k CacheKey, lease string) error
	// CachePut stores an entry instead of the lease, and reports true, if the caller still has it;
	// if lease is "", whatever is there. A ttl of 0 is for ever.
	CachePut(ctx context.Context, k CacheKey, lease string, e CacheEntry, ttl time.Duration, durable bool) (bool, error)
	// CacheDelete deletes the entry of a key, or all that the type has when it is called if the key is "". A lease is lost by that.
	CacheDelete(ctx context.Context, k CacheKey, durable bool) error
	// CacheUsed adds to what is known of the use of entries.
	CacheUsed(ctx context.Context, uses []CacheUse) error
	// CacheSize returns how large all entries are that haven't expired.
	CacheSize(ctx context.Context) (CacheSize, error)
	// CacheTrim deletes what has expired and, above the limit, what is of least use.
	// It returns the size after that, and how many were deleted that hadn't expired.
	CacheTrim(ctx context.Context, limit CacheSize) (size CacheSize, evicted int, err error)
}

// CacheState says what an entry is.
type CacheState int

// The states of an entry.
const (
	CacheMissing CacheState = iota
	CacheLeased             // being computed
	CacheStored             // Raw is the result
	CacheFailed             // Raw is the text of the error
)

// CacheEntry is an entry of the cache.
type CacheEntry struct {
	State CacheState
	Raw   []byte
}

// CacheUse says how often an entry was used, and when it was last.
type CacheUse struct {
	CacheKey
	Uses int
	At   time.Time
}
