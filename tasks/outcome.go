package tasks

import (
	"errors"
	"fmt"
	"time"
)

// permanent is an error after which there is no further attempt.
type permanent struct{ err error }

func (e *permanent) Error() string { return e.err.Error() }
func (e *permanent) Unwrap() error { return e.err }

// Permanent returns an error that a handler returns, or that [Store.Fail] is given, if no further attempt can help,
// as for a corrupt scan: the task is [Error] at once. Nil stays nil.
// A result that can't be stored, because it is too large or no JSON has a form for it, is one by itself.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// IsPermanent reports whether an error is one of [Permanent].
func IsPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

// snoozed is an error that isn't the task's fault.
type snoozed struct {
	d     time.Duration
	cause error
}

func (e *snoozed) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("snoozed for %v", e.d)
	}
	return fmt.Sprintf("snoozed for %v: %v", e.d, e.cause)
}
func (e *snoozed) Unwrap() error { return e.cause }

// Snooze returns an error that a handler returns, or that [Store.Fail] is given, to have the task again after that time,
// without the attempt being counted, as for an answer 429 of a service. The cause, which is kept as the attempt's error, may be nil.
func Snooze(d time.Duration, cause error) error { return &snoozed{max(0, d), cause} }

// ErrAttemptTimeout is the cause of a handler's context that has taken longer than it may: see [Timeout].
var ErrAttemptTimeout = errors.New("attempt timed out")

// ErrShutdown is the cause of a handler's context when [Store.Run] shall end and the grace period is over.
var ErrShutdown = errors.New("the worker shuts down")

// outcomeOf returns what becomes of a task whose attempt has failed.
func (s *Store) outcomeOf(c Claimed, cause error) Outcome {
	o := Outcome{ID: c.ID, Lease: c.Lease, Status: Error, Error: errorText(cause)}
	var snooze *snoozed
	if errors.As(cause, &snooze) {
		o.Status, o.Delay, o.Uncounted = Pending, snooze.d, true
		return o
	}
	most := c.MaxAttempts
	if most == 0 {
		most = s.workers.maxAttempts
	}
	counted := c.Attempts - c.Uncounted
	if !IsPermanent(cause) && counted < most {
		o.Status, o.Delay = Pending, s.delay(counted, c.Backoff)
	}
	return o
}

// delay is the time until the next attempt, given the task's own backoff or 0.
func (s *Store) delay(attempt int, own time.Duration) time.Duration {
	if own > 0 {
		return doubled(own, attempt)
	}
	return max(0, s.workers.backoff(attempt))
}
