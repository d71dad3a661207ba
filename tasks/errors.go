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
	// ErrInputDiffers is returned by CreateOrGet for an id or a unique key that is taken by a task with another type or input.
	ErrInputDiffers = errors.New("task exists with another type or input")
	// ErrBroken is what an error is that doesn't pass: the backend is of no use until the store is opened anew, if then.
	ErrBroken = errors.New("the backend can't go on")
	// ErrTransition is what a [*TransitionError] is, for [errors.Is].
	ErrTransition = errors.New("transition not allowed")
	// ErrUnreadable is what the error is for a task that others have written, of which a time isn't one. Lists leave it out.
	ErrUnreadable = errors.New("task can't be read")
	// ErrInvalid is what an [*InputError] is, for [errors.Is].
	ErrInvalid = errors.New("invalid input")
	// ErrTooLarge is, beside [ErrInvalid], what the error is for an input or a result that is larger than [MaxResult].
	ErrTooLarge = errors.New("too large")
	// ErrBusy is returned, with the backend's error, by a call that has waited for others for as long as it may. It may be made again.
	ErrBusy = errors.New("busy")
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

// ExistsError says that a unique key is taken.
type ExistsError struct {
	ID string // of the task that has it
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("%v: %q has the unique key", ErrExists, e.ID)
}

// Is reports whether target is [ErrExists].
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

// gone reports whether a task has been deleted or changed by others before the change.
func gone(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrTransition) }

// clockError reports whether an error is that the clock is far off, which has nothing to do with the task.
func clockError(err error) bool {
	var input *InputError
	return errors.As(err, &input) && input.Name == "Clock"
}

// unreadable is an [ErrUnreadable]. It says what can't be read.
type unreadable string

func (u unreadable) Error() string { return string(u) }

func (u unreadable) Is(target error) bool { return target == ErrUnreadable }
