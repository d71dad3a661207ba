package tasks

import (
	"encoding/json"
	"fmt"
	"time"
)

// Type is the kind of document that a task processes.
type Type string

// The types that are known. [Types] makes a store accept others.
const (
	Document    Type = "document"
	Form        Type = "form"
	FormFilling Type = "form_filling"
)

// Status says how far a task is.
type Status string

// The statuses.
const (
	Pending    Status = "pending"
	Processing Status = "processing"
	Completed  Status = "completed"
	Error      Status = "error"
)

// before are the statuses that a task may come from.
var before = map[Status][]Status{
	Pending:    {},
	Processing: {Pending},
	Completed:  {Pending, Processing},
	Error:      {Pending, Processing},
}

// Final reports whether a task with this status is done.
func (s Status) Final() bool { return s == Completed || s == Error }

// Info is what is known of a task, but for its result.
type Info struct {
	ID        string
	Type      Type
	Status    Status
	CreatedAt time.Time
	UpdatedAt time.Time // zero until the first change
	Attempts  int       // how often it was claimed
	Error     string    // of the last attempt that failed

	Uncounted int       // how many of the attempts don't count towards the maximum: snoozed, given back, or ended by another task's crash
	Cancelled bool      // by [Store.Cancel]: the status is Error then
	StartedAt time.Time // of the last attempt, to the millisecond; zero if there was none
	EndedAt   time.Time // when it became Completed or Error, to the millisecond; else zero
	RunAt     time.Time // not to be claimed before; zero if there is no such time
	Owner     string    // empty if there is none
	Priority  int
	Labels    Labels
	Advance   // the last one that was reported
}

// Advance is how far a handler is: see [Store.Report].
type Advance struct {
	Done, Total float64 // in any unit; 0 if it isn't known
	Note        string  // at most [MaxNote] bytes
}

// Result is a task and what came of it.
type Result struct {
	Info
	// Raw is the result as JSON, or nil while there is none.
	Raw json.RawMessage
}

// Decode stores the result in the value that v points to, as [json.Unmarshal] does.
// It returns [ErrNoResult] while there is none.
func (r Result) Decode(v any) error {
	if r.Raw == nil {
		return fmt.Errorf("task %q: %w", r.ID, ErrNoResult)
	}
	if err := json.Unmarshal(r.Raw, v); err != nil {
		return fmt.Errorf("task %q: decode result: %w", r.ID, err)
	}
	return nil
}
