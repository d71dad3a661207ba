package tasks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// MinLease and MaxLease bound how long a task may be leased at once.
	MinLease = time.Second
	MaxLease = 24 * time.Hour
	// DefaultMaxAttempts is how often a task is handed out before it is [Error].
	DefaultMaxAttempts = 5
	// MaxErrorText is how much of an attempt's error is kept, in bytes.
	MaxErrorText = 4 << 10
)

var (
	// ErrNoTask is returned by [Store.Claim] if there is nothing to do at the moment.
	ErrNoTask = errors.New("no task to claim")
	// ErrLeaseLost is returned to a worker that doesn't hold its task any more: the lease expired and was taken back,
	// or the task was deleted or its status changed by others. What the worker has done is void.
	ErrLeaseLost = errors.New("lease lost")
)

// leaseExpired is the error of an attempt that nobody reported on in time.
const leaseExpired = "lease expired"

// Claimed is a task that a worker holds.
type Claimed struct {
	Info
	Lease      string    // a secret of its holder
	LeaseUntil time.Time // others may take the task after that
	// Input is what the task was created with: see [Input].
	Input json.RawMessage
	// MaxAttempts, Backoff and Timeout are the task's own, or 0: see [TaskAttempts], [TaskBackoff] and [TaskTimeout].
	MaxAttempts      int
	Backoff, Timeout time.Duration

	began time.Time // by this process's clocks
}

// Attempt is one time that a task was claimed.
type Attempt struct {
	Number    int // from 1
	StartedAt time.Time
	EndedAt   time.Time // zero if nobody has reported on it
	Error     string    // empty if it succeeded or hasn't ended
	Uncounted bool      // whether it doesn't count towards the maximum
}

func checkLease(d time.Duration) error {
	if d < MinLease || d > MaxLease {
		return &InputError{"lease", d.String(), "1s to 24h"}
	}
	return nil
}

// Claim hands out the first task of these types that is [Pending] and due (see [PriorityAge]), which is [Processing] then,
// and nobody else's until the lease ends: 1s to 24h from now. No types are all those that the store accepts.
// It returns [ErrNoTask] if there is none. A task that failed isn't handed out before its backoff is over.
//
// A worker that needs longer calls [Store.Extend]; it reports by [Store.Complete] or [Store.Fail].
// A task that somebody has set to Processing by [Store.Update] has no lease, and is never taken back.
// Once a lease has expired, the next Claim for that type takes it back: the attempt has failed, and the task is Pending again
// after its backoff, or [Error] after the maximum of attempts. So a task may be worked on more than once.
// If the worker, which is the process with all of its stores and calls of [Store.Run], had other leases, nobody knows whose task has killed it: then the attempt doesn't count,
// and the task is one that a worker has one at a time of from then on, so that it shows which of them it is.
// The clocks of hosts that share a database must agree well compared to the lease. A clock that is set changes
// neither leases nor backoffs, once a process that has noticed the step has looked at the table.
//
// It doesn't wait for durability: a power cut, which ends the worker too, may turn a task back to Pending.
// A call that is cancelled may have claimed a task that nobody knows of ([ErrOutcomeUnknown]): it comes back with its lease.
func (s *Store) Claim(ctx context.Context, lease time.Duration, types ...Type) (Claimed, error) {
	if err := checkLease(lease); err != nil {
		return Claimed{}, err
	}
	for _, t := range types {
		if err := s.checkType(t); err != nil {
			return Claimed{}, err
		}
	}
	if len(types) == 0 {
		types = s.types
	}
	list, err := s.claimBy(ctx, lease, types, func(q ClaimQuery) ([]Claimed, error) {
		c, err := s.backend.Claim(ctx, q)
		return []Claimed{c}, err
	})
	if err != nil {
		return Claimed{}, err
	}
	return list[0], nil
}

// claimBy claims one task or more for the store's worker.
func (s *Store) claimBy(ctx context.Context, lease time.Duration, types []Type, claim func(ClaimQuery) ([]Claimed, error)) ([]Claimed, error) {
	if err := s.checkClock(); err != nil {
		return nil, err
	}
	list, err := claim(ClaimQuery{types, lease, s.worker, s.workers.maxAttempts, s.delay})
	if err != nil {
		if !errors.Is(err, ErrNoTask) {
			err = fmt.Errorf("claim task: %w", err)
		}
		return nil, err
	}
	for _, c := range list {
		s.hooks.claimed(ctx, c.Info, s.now())
	}
	return list, nil
}

// Extend makes the lease end that long from now, 1s to 24h, and sets c.LeaseUntil.
// It returns [ErrLeaseLost] if the task isn't the worker's any more.
func (s *Store) Extend(ctx context.Context, c *Claimed, lease time.Duration) error {
	if err := cmp.Or(checkID(c.ID), checkLease(lease), s.checkClock()); err != nil {
		return err
	}
	until, err := s.backend.Extend(ctx, c.ID, c.Lease, lease)
	if err == nil {
		c.LeaseUntil = until
	}
	return taskError("extend lease of", c.ID, err)
}

// Complete sets the task to [Completed] with that result, as [Store.Update] does.
// It returns [ErrLeaseLost] if the task isn't the worker's any more.
// Of the options, those about durability have an effect.
func (s *Store) Complete(ctx context.Context, c Claimed, result any, opts ...CallOption) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	raw, err := s.encode(result)
	if err != nil {
		return taskError("complete", c.ID, err)
	}
	return s.finish(ctx, "complete", c, Outcome{ID: c.ID, Lease: c.Lease, Status: Completed, Result: raw}, nil, opts)
}

// Fail ends the attempt with that error, of which the first [MaxErrorText] bytes are kept.
// The task is [Pending] again, to be claimed after its backoff (see [Backoff]),
// or [Error] after the maximum of attempts (see [MaxAttempts]). The cause may say otherwise: see [Permanent] and [Snooze].
// It returns [ErrLeaseLost] if the task isn't the worker's any more.
// Of the options, those about durability have an effect.
func (s *Store) Fail(ctx context.Context, c Claimed, cause error, opts ...CallOption) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if cause == nil {
		return &InputError{"cause", "nil", "an error"}
	}
	return s.finish(ctx, "fail", c, s.outcomeOf(c, cause), cause, opts)
}

// GiveBack ends the attempt without a penalty: the task is [Pending] again, to be claimed at once, and the attempt doesn't count.
// The reason is kept with the attempt. It returns [ErrLeaseLost] if the task isn't the worker's any more.
// Of the options, those about durability have an effect.
func (s *Store) GiveBack(ctx context.Context, c Claimed, reason error, opts ...CallOption) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if reason == nil {
		return &InputError{"reason", "nil", "an error"}
	}
	return s.finish(ctx, "give back", c, givenBack(c, reason), reason, opts)
}

func givenBack(c Claimed, reason error) Outcome {
	return Outcome{ID: c.ID, Lease: c.Lease, Status: Pending, Error: errorText(reason), Uncounted: true}
}

func (s *Store) finish(ctx context.Context, op string, c Claimed, o Outcome, cause error, opts []CallOption) error {
	if err := s.checkClock(); err != nil {
		return err
	}
	err := s.backend.Finish(ctx, o, !s.call(opts).relaxed)
	if err == nil {
		i := AttemptEndedInfo{Task: c.Info, Status: o.Status, Err: cause, Delay: o.Delay, Uncounted: o.Uncounted}
		if !c.began.IsZero() {
			i.Took = time.Since(c.began)
		}
		s.hooks.ended(ctx, i)
	}
	return taskError(op, o.ID, err)
}

// Attempts returns the attempts at a task, the first one first, or [ErrNotFound]. Their times are in milliseconds.
func (s *Store) Attempts(ctx context.Context, id string) ([]Attempt, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	list, err := s.backend.Attempts(ctx, id)
	return list, taskError("get attempts at", id, err)
}
