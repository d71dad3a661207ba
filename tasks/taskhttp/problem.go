package taskhttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
)

// The types of problems are URI references that nothing is to be found at: see RFC 9457, 3.1.1.
const (
	typePrefix = "tag:asyncvfs,2026:"

	typeNotFound    = typePrefix + "not-found"
	typeExists      = typePrefix + "exists"
	typeTransition  = typePrefix + "transition"
	typeInvalid     = typePrefix + "invalid"
	typeTooLarge    = typePrefix + "too-large"
	typeBusy        = typePrefix + "busy"
	typeBroken      = typePrefix + "broken"
	typeUnknown     = typePrefix + "outcome-unknown"
	typeFailed      = typePrefix + "task-failed"
	typeLimit       = typePrefix + "limit"
	typeKeyInFlight = typePrefix + "idempotency-key-in-flight"
	typeKeyReused   = typePrefix + "idempotency-key-reused"
	typeRight       = typePrefix + "right"
	typeCrossSite   = typePrefix + "cross-site"
	typeUnreadable  = typePrefix + "unreadable"
)

// Problem is an error as it is answered: a problem document (RFC 9457) of the type application/problem+json.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Task is the id of the task that it is about, if it is about one.
	Task string `json:"task,omitempty"`

	retry int   // seconds after which to try again; 0 is never
	cause error // for the log
}

func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Title + ": " + p.Detail
	}
	return p.Title
}

// problem writes a problem as the answer.
func (h *Handler) problem(w http.ResponseWriter, r *http.Request, p *Problem) {
	// Where the client has gone, there is nobody to answer, and nothing has gone wrong here.
	if p.Status >= 500 && r.Context().Err() == nil {
		h.log.LogAttrs(r.Context(), levelOf(p), "request failed", attrsOf(r, p)...)
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"title":"Internal error","status":500}`) // strings and numbers always can be marshalled
	}
	head := w.Header()
	head.Set("Content-Type", "application/problem+json")
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	if p.retry > 0 {
		head.Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.Status == http.StatusUnauthorized {
		head.Set("WWW-Authenticate", `Bearer realm="tasks"`)
	}
	h.writeDeadline(w)
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// notFound is what who asks for a task that isn't there is told, and who asks for another's: the two can't be told apart.
func notFound(id string) *Problem {
	return &Problem{Status: http.StatusNotFound, Type: typeNotFound, Title: "There is no such task", Task: id}
}

// problemOf returns the problem that an error of the store is.
func problemOf(err error, id string) *Problem {
	var (
		p          *Problem
		transition *tasks.TransitionError
		input      *tasks.InputError
		sync       *vfs.SyncError
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, tasks.ErrNotFound):
		return notFound(id)
	case errors.Is(err, tasks.ErrUnreadable):
		return &Problem{Status: http.StatusInternalServerError, Type: typeUnreadable, Title: "Another program has written what can't be read of the task",
			Task: id, Detail: err.Error(), cause: err}
	case errors.Is(err, tasks.ErrOutcomeUnknown), errors.As(err, &sync):
		return &Problem{Status: http.StatusGatewayTimeout, Type: typeUnknown, Title: "It is not known whether the change was made, or is durable", Task: id, cause: err}
	case errors.Is(err, tasks.ErrInputDiffers):
		return &Problem{Status: http.StatusConflict, Type: typeExists, Title: "There is such a task, of another kind", Task: id}
	case errors.Is(err, tasks.ErrExists):
		return &Problem{Status: http.StatusConflict, Type: typeExists, Title: "There is such a task", Task: id}
	case errors.As(err, &transition):
		return &Problem{Status: http.StatusConflict, Type: typeTransition, Title: "The task's status doesn't allow that", Task: id,
			Detail: "from " + string(transition.From) + " to " + string(transition.To)}
	case errors.As(err, &input) && input.Name == "Clock":
		return &Problem{Status: http.StatusServiceUnavailable, Type: typeBroken, Title: "The server's clock is wrong", cause: err}
	case errors.Is(err, tasks.ErrTooLarge) && errors.As(err, &input):
		return &Problem{Status: http.StatusRequestEntityTooLarge, Type: typeTooLarge, Title: "Too large", Detail: input.Name + ": want " + input.Allowed}
	case errors.As(err, &input):
		return &Problem{Status: http.StatusUnprocessableEntity, Type: typeInvalid, Title: "Not allowed", Detail: input.Name + " " + input.Value + ": want " + input.Allowed}
	case errors.Is(err, tasks.ErrClosed), errors.Is(err, tasks.ErrBroken), errors.Is(err, tasks.ErrDeleted):
		return &Problem{Status: http.StatusServiceUnavailable, Type: typeBroken, Title: "The store is closed or out of order", cause: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, tasks.ErrBusy):
		return &Problem{Status: http.StatusServiceUnavailable, Type: typeBusy, Title: "Busy", retry: 1, cause: err}
	}
	return &Problem{Status: http.StatusInternalServerError, Title: "Internal error", cause: err}
}

// Kind returns the last part of the problem's type, such as "transition", or "".
func (p *Problem) Kind() string {
	kind, ok := strings.CutPrefix(p.Type, typePrefix)
	if !ok {
		return ""
	}
	return kind
}
