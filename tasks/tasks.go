// Package tasks keeps document-processing tasks, their status and their results in an SQLite table.
//
// A service creates a task, reports its progress and its result, and answers its clients' polls:
//
//	st, err := tasks.Open(ctx, "tasks.db")
//	err = st.Create(ctx, id, tasks.Document)
//	err = st.Update(ctx, id, tasks.Processing, nil)
//	err = st.Update(ctx, id, tasks.Completed, result)
//	res, err := st.Result(ctx, id)
//	err = res.Decode(&v)
//
// # The table
//
// It is that of DocuSnap's Python module, with columns added that have defaults,
// so that module goes on working on the same file at the same time:
//
//	tasks(id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL, result TEXT,
//	      created_at INTEGER NOT NULL, updated_at INTEGER, ...)
//
// Times are whole seconds since 1970, in UTC. Results are JSON, with text outside ASCII unescaped.
//
// # Transitions
//
// A task is [Pending], then [Processing], then [Completed] or [Error]. Steps may be skipped, but it only goes forward;
// [Store.Retry] takes a task from Error back to Pending. Anything else is a [*TransitionError],
// unless the call has the option [Force]. The check and the change are one statement:
// of two workers that report the same task, one wins.
//
// # Workers
//
// [Store.Run] claims tasks, runs their handlers, and completes or fails them. A claim is a lease:
// a task whose worker is gone is taken back and tried again, after a backoff and up to a number of attempts.
// [Store.Claim], [Store.Extend], [Store.Complete] and [Store.Fail] are its parts.
//
// # The cache
//
// [Store.Do] returns the stored result of the same input, and computes it once, however many ask for it at the same time.
//
// # Durability
//
// A call that changes something returns once that is durable, so that a power cut can't take it back,
// or, with the option [Relaxed], as soon as it is made: a power cut may lose it for a bounded time after that
// (see package [github.com/docusnap/asyncvfs/vfs]). What is lost at worst is a status or a new task,
// never the order of changes and never the table. Calls that come at the same time share transactions and fsyncs.
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
