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
	// Look returns what is known of tasks, and the error of each, among them [ErrNotFound].
	// Its work doesn't depend on how large the results are.
	Look(ctx context.Context, ids []string) ([]Info, []error)
	// Get returns a task with its result, or [ErrNotFound].
	Get(ctx context.Context, id string) (Result, error)
	// List returns tasks in the query's order.
	List(ctx context.Context, q Query) ([]Info, error)
	// Count returns how many tasks there are of each type and status, of an owner unless that is "".
	Count(ctx context.Context, owner string) (map[Type]map[Status]int, error)
	// Input returns a task's input, nil if it has none, or [ErrNotFound].
	Input(ctx context.Context, id string) (json.RawMessage, error)
	// Use says that the results of tasks were read at a time. It may be lost, and is no change that anybody is told of.
	Use(ctx context.Context, at map[string]time.Time) error
	// Cleanup deletes tasks. It returns how many it deleted.
	Cleanup(ctx context.Context, q CleanupQuery) (int, error)
	// Notify returns a channel that is closed once the task may have changed since the call:
	// at once for a change through this backend, within [ChangePoll] for another.
	// Stop ends that early. With an empty id it is for any task.
	// Many wait for long: while their tasks rest, they cost neither a look nor a part of what others do.
	// Workers that have found no task wait for any, and claim again every 250ms all the same, but for a [ClaimPoller].
	Notify(id string) (changed <-chan struct{}, stop func())
	// Close ends what the backend does, and returns once all that it was told is durable.
	Close() error
}

// Query says which tasks to list.
type Query struct {
	Types    []Type   // any if there are none
	Statuses []Status // any if there are none
	Owner    string   // any if it is empty
	// Label is a name and its value that the tasks have, or empty.
	Label  [2]string
	Newest bool // first; else the oldest
	Limit  int  // 1 to 1000; 0 is 100
	// After is the last task of the page before this one, or the zero Info.
	After Info
}

// CleanupQuery says which tasks to delete: those that were created that long ago or before. A clock that was set makes none of them old.
type CleanupQuery struct {
	Age      time.Duration
	Statuses []Status // any if there are none
	Owner    string   // any if it is empty
	// ByUse spares those whose results were read since: see [Backend].Use.
	ByUse bool
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
	// Cancelled is whether an update to [Error] is a cancellation.
	Cancelled bool
	// New is what a task is created with beside its type, or nil. The status of such a task may be [Completed], with a result.
	New *Creation
}

// Creation is what a task is created with. What isn't set is 0 or empty.
type Creation struct {
	Owner       string
	Priority    int
	RunAt       time.Time
	MaxAttempts int
	Backoff     time.Duration
	Timeout     time.Duration
	// UniqueKey is a key that only one of the owner's tasks may have: another one is an [*ExistsError] with that one's id.
	UniqueKey string
	Labels    map[string]string
	Input     json.RawMessage
}

// ClaimBackend is what a [Backend] does for workers.
//
// Leases and delays are spans of time: a backend whose clock may be set must see to it that they neither end early
// nor last longer by more than their own length when that happens.
type ClaimBackend interface {
	// Claim hands out the first task of these types that is [Pending] and due, or returns [ErrNoTask].
	// First is who was created first, each level of priority being worth [PriorityAge], and of those the one that was inserted first.
	// Types that are paused, or are at one of their limits, are left out: see [TypeLimits].
	// It takes no lock that writers need while there is nothing to claim, and its work doesn't grow with tasks that aren't due.
	//
	// It first takes back the tasks of these types whose lease has expired. The attempt counts if the worker had no other lease,
	// or if the task is suspect; no other lease of that worker counts as its only one until it is extended.
	// The task is suspect from then on, until an attempt at it ends otherwise; it is Pending after the backoff, or [Error]
	// if its attempts that count have reached the maximum, the task's own if that isn't 0.
	// A worker that has a suspect task isn't handed out another one.
	Claim(ctx context.Context, q ClaimQuery) (Claimed, error)
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
	// Report sets the progress of a task that is [Processing] as Progress sets the result.
	Report(ctx context.Context, id, lease string, p Advance, durable bool) error
	// Attempts returns a task's attempts in order, or [ErrNotFound].
	Attempts(ctx context.Context, id string) ([]Attempt, error)
	// Step returns the result of a step of a task, or nil. Steps are kept until the task is [Completed] or deleted.
	Step(ctx context.Context, id, step string) (json.RawMessage, error)
	// SetStep stores the result of a step, or returns [ErrLeaseLost].
	SetStep(ctx context.Context, id, lease, step string, result json.RawMessage, durable bool) error
	// SetLimits sets what holds for a type from now on, in all processes.
	SetLimits(ctx context.Context, t Type, l TypeLimits) error
	// Pause sets whether a type is paused, and leaves its other limits as they are, whoever sets them at the same time.
	Pause(ctx context.Context, t Type, paused bool) error
	// Limits returns what was set for each type.
	Limits(ctx context.Context) (map[Type]TypeLimits, error)
}

// ClaimPoller is a [Backend] that tells workers when there may be a task to claim, also because a time has come.
type ClaimPoller interface {
	Backend
	// NotifyClaim is Notify for who has found no task to claim: the channel is closed once there may be one.
	NotifyClaim() (changed <-chan struct{}, stop func())
	// ClaimPoll returns how often a worker that has found no task shall claim again all the same.
	ClaimPoll() time.Duration
}

// BatchClaimer is a [Backend] that claims several tasks at once, where that is much less work than one after the other.
// [Store.Run] does so if it has handlers to spare: up to twice as many as it found before, so that processes share what there is.
type BatchClaimer interface {
	Backend
	// ClaimMany claims as Claim does, up to n tasks, 1 or more. It returns those that there are, one at the least,
	// or an error: [ErrNoTask] if there is none.
	ClaimMany(ctx context.Context, q ClaimQuery, n int) ([]Claimed, error)
}

// BatchReader is a [Backend] that reads several tasks with little more work than one, as a server does,
// which has to be asked over a connection. [Store.Status], [Store.Result], [Store.Wait] and [Store.Watch] share
// what Look and GetMany read if they are called at the same time.
type BatchReader interface {
	Backend
	// GetMany is Get of several tasks. It hands over what it finds of each, or its error, and returns when all are handed over.
	GetMany(ctx context.Context, ids []string, found func(i int, r Result, err error))
}

// ClaimQuery says what to claim.
type ClaimQuery struct {
	Types       []Type
	Lease       time.Duration
	Worker      string // who claims: the leases of a worker end together when it dies
	MaxAttempts int    // of tasks that have no maximum of their own
	// Backoff returns how long a task waits after an attempt, given the number of those that count, and the task's own backoff or 0.
	Backoff func(attempt int, own time.Duration) time.Duration
}

// Outcome is what came of an attempt.
type Outcome struct {
	ID     string
	Lease  string
	Status Status          // from now on
	Result json.RawMessage // nil leaves the task's as it is
	Error  string          // empty if it succeeded
	Delay  time.Duration   // until the next attempt, if the status is Pending
	// Uncounted is whether the attempt doesn't count towards the maximum.
	Uncounted bool
}

// TxBackend is a [Backend] that can make changes in a transaction of the application. Of which kind that is, a *sql.Tx or
// a type of a driver's own, is the backend's: it returns [ErrNoTx] for another.
type TxBackend interface {
	Backend
	// WriteTx makes changes as Write does. They are made if the transaction is committed,
	// and as durable as that is.
	WriteTx(ctx context.Context, tx any, changes []Change) []error
	// FinishTx, ExtendTx, ProgressTx and ReportTx are what Finish, Extend, Progress and Report are, in a transaction of the application.
	FinishTx(ctx context.Context, tx any, o Outcome) error
	ExtendTx(ctx context.Context, tx any, id, lease string, by time.Duration) (time.Time, error)
	ProgressTx(ctx context.Context, tx any, id, lease string, result json.RawMessage) error
	ReportTx(ctx context.Context, tx any, id, lease string, p Advance) error
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
