package taskhttp

import (
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// Task is a task as it is answered. Its times are in RFC 3339, those of tasks in whole seconds, those of attempts in milliseconds.
type Task struct {
	ID        string       `json:"id"`
	Type      tasks.Type   `json:"type"`
	Status    tasks.Status `json:"status"`
	CreatedAt time.Time    `json:"created_at"`
	UpdatedAt *time.Time   `json:"updated_at,omitempty"`
	RunAt     *time.Time   `json:"run_at,omitempty"`
	StartedAt *time.Time   `json:"started_at,omitempty"` // of the last attempt
	EndedAt   *time.Time   `json:"ended_at,omitempty"`
	Attempts  int          `json:"attempts"`
	Uncounted int          `json:"uncounted,omitempty"` // of the attempts, that don't count towards the maximum
	Error     string       `json:"error,omitempty"`     // of the last attempt that failed
	Cancelled bool         `json:"cancelled,omitempty"`
	Owner     string       `json:"owner,omitempty"`
	Priority  int          `json:"priority,omitempty"`
	Labels    tasks.Labels `json:"labels,omitzero"`
	Progress  *Progress    `json:"progress,omitempty"`
}

// Progress is how far a task is.
type Progress struct {
	Done  float64 `json:"done"`
	Total float64 `json:"total"`
	Note  string  `json:"note,omitempty"`
}

// Attempt is one time that a task was claimed.
type Attempt struct {
	Number    int        `json:"number"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"` // missing if nobody has reported on it
	Error     string     `json:"error,omitempty"`
	Uncounted bool       `json:"uncounted,omitempty"`
}

// viewOf returns a task as it is answered.
func viewOf(t tasks.Info) Task {
	v := Task{
		ID: t.ID, Type: t.Type, Status: t.Status, CreatedAt: t.CreatedAt,
		UpdatedAt: timeOf(t.UpdatedAt), RunAt: timeOf(t.RunAt), StartedAt: timeOf(t.StartedAt), EndedAt: timeOf(t.EndedAt),
		Attempts: t.Attempts, Uncounted: t.Uncounted, Error: t.Error, Cancelled: t.Cancelled,
		Owner: t.Owner, Priority: t.Priority, Labels: shownLabels(t.Labels),
	}
	if t.Advance != (tasks.Advance{}) {
		v.Progress = &Progress{t.Done, t.Total, t.Note}
	}
	return v
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// payloadLabel is the label in which the payload is kept, as a hash, that an idempotency key came with.
const payloadLabel = "taskhttp.payload"

// shownLabels returns the labels without the handler's own.
func shownLabels(l tasks.Labels) tasks.Labels {
	if l == (tasks.Labels{}) || l.Get(payloadLabel) == "" {
		return l
	}
	m := l.Map()
	delete(m, payloadLabel)
	return tasks.NewLabels(m)
}
