package tasks

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound is returned for a task that isn't there.
	ErrNotFound = errors.New("task not found")
	// ErrExists is returned by Create for an id that is taken. The task that has it is left alone.
	ErrExists = errors.New("task exists")
	// ErrTransition is what a [*TransitionError] is, for [errors.Is].
	ErrTransition = errors.New("transition not allowed")
	// ErrInvalid is what an [*InputError] is, for [errors.Is].
	ErrInvalid = errors.New("invalid input")
	// ErrNoResult is returned by [Result.Decode] while a task has no result.
	ErrNoResult = errors.New("no result yet")
	// ErrClosed is returned once the store is closed.
	ErrClosed = errors.New("store is closed")
	// ErrOutcomeUnknown is returned, with the context's error, by a call that was cancelled
	// while its change was being made: it may or may not have been.
	ErrOutcomeUnknown = errors.New("it is not known whether the change was made")
)

// TransitionError says that a task's status doesn't allow the change.
type TransitionError struct {
	ID       string
	From, To Status
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("task %q: %v: %s to %s", e.ID, ErrTransition, e.From, e.To)
}

// Is reports whether target is [ErrTransition].
func (e *TransitionError) Is(target error) bool { return target == ErrTransition }

// InputError says what was wrong with the input, and what is allowed. Nothing was changed.
type InputError struct {
	Name    string // of the argument or option
	Value   string
	Allowed string
}

func (e *InputError) Error() string {
	return fmt.Sprintf("%v: %s %s: want %s", ErrInvalid, e.Name, e.Value, e.Allowed)
}

// Is reports whether target is [ErrInvalid].
func (e *InputError) Is(target error) bool { return target == ErrInvalid }

// taskError wraps the cause of a failed operation on a task.
func taskError(op, id string, err error) error {
	var transition *TransitionError
	if err == nil || errors.As(err, &transition) {
		return err
	}
	return fmt.Errorf("%s task %q: %w", op, id, err)
}
