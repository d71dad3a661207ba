package taskhttp

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// NewTask is what a task is created with. All but the type may be left out.
type NewTask struct {
	ID          string            `json:"id,omitempty"`
	Type        tasks.Type        `json:"type"`
	Input       json.RawMessage   `json:"input,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Priority    int               `json:"priority,omitempty"`
	RunAt       *time.Time        `json:"run_at,omitempty"`
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Backoff     Duration          `json:"backoff,omitempty"` // such as "10s"
	Timeout     Duration          `json:"timeout,omitempty"`
	// Owner is whose task it is; only who isn't limited to one may say so.
	Owner string `json:"owner,omitempty"`
	// FromCache completes the task at once if the result of the same type and input is known.
	FromCache bool `json:"from_cache,omitempty"`
}

// Duration is a time.Duration as text, such as "1m30s".
type Duration time.Duration

// MarshalText returns it as [time.Duration.String] does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

func invalid(detail string) *Problem {
	return &Problem{Status: http.StatusUnprocessableEntity, Type: typeInvalid, Title: "Not allowed", Detail: detail}
}

// create creates a task.
func (h *Handler) create(r *request) error {
	body, err := h.body(r)
	if err != nil {
		return err
	}
	n, err := parseNewTask(body)
	if err != nil {
		return err
	}
	if err := r.owns(&n); err != nil {
		return err
	}
	key, err := idempotencyKey(r.Request)
	if err != nil {
		return err
	}
	opts := n.options()
	if key == "" {
		if n.ID == "" {
			n.ID = r.by.Prefix + rand.Text()
		}
		if err := h.store.Create(r.Context(), n.ID, n.Type, opts...); err != nil {
			return h.notCreated(r, err, n.ID)
		}
		return h.created(r, n.ID)
	}
	return h.createOnce(r, key, n, body)
}

// createOnce creates a task unless a request with the same key has done so. The task that was created is answered then.
//
// The key is a unique key of the task's owner: the table keeps it, for as long as the task is there, and sees to it that of
// many requests, in all processes, one creates it. What else was in the payload is kept as a hash, in a label.
func (h *Handler) createOnce(r *request, key string, n NewTask, body []byte) error {
	end, ok := h.inFlight.begin(n.Owner, key)
	if !ok {
		return &Problem{Status: http.StatusConflict, Type: typeKeyInFlight, Title: "A request with this idempotency key is being processed", retry: 1}
	}
	defer end()
	payload, err := payloadOf(body)
	if err != nil {
		return err
	}
	if n.Labels = maps.Clone(n.Labels); n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[payloadLabel] = payload
	if n.ID == "" {
		n.ID = r.by.Prefix + rand.Text()
	}
	reused := &Problem{Status: http.StatusUnprocessableEntity, Type: typeKeyReused, Title: "The idempotency key came with another payload before"}
	t, created, err := h.store.CreateOrGet(r.Context(), n.ID, n.Type, append(n.options(), tasks.UniqueKey(key))...)
	switch {
	case errors.Is(err, tasks.ErrInputDiffers):
		if e := h.durable(r.Context()); e != nil {
			return problemOf(e, n.ID)
		}
		if t.ID == n.ID && t.Labels.Get(payloadLabel) == "" {
			return problemOf(err, n.ID) // the id is taken, not the key
		}
		return reused
	case err != nil:
		return h.notCreated(r, err, n.ID)
	case !created && t.Labels.Get(payloadLabel) != payload:
		if e := h.durable(r.Context()); e != nil {
			return problemOf(e, n.ID)
		}
		if t.Labels.Get(payloadLabel) == "" {
			return problemOf(tasks.ErrExists, n.ID)
		}
		return reused
	}
	return h.created(r, t.ID)
}

// created answers with the task that a request has created.
func (h *Handler) created(r *request, id string) error {
	r.id = id
	t, err := h.look(r.Context(), r)
	if err != nil {
		return err
	}
	body, err := h.bodies.get(t)
	if err != nil {
		return err
	}
	// Relative to the request's own URL, wherever the handler is mounted.
	r.Header().Set("Location", "tasks/"+url.PathEscape(id))
	h.answerTagged(r, http.StatusCreated, body.text, body.tag)
	return nil
}

// notCreated returns why a task wasn't created.
func (h *Handler) notCreated(r *request, err error, id string) error {
	if errors.Is(err, tasks.ErrExists) {
		if e := h.durable(r.Context()); e != nil {
			return problemOf(e, id)
		}
	}
	return problemOf(err, id)
}

// owns sees to it that a task is one that the principal may create.
func (r *request) owns(n *NewTask) error {
	if r.by.Owner != "" {
		if n.Owner != "" && n.Owner != r.by.Owner {
			return &Problem{Status: http.StatusForbidden, Type: typeRight, Title: "Not allowed", Detail: "a task of another owner"}
		}
		n.Owner = r.by.Owner
	} else if n.Owner != "" && r.by.Rights < Admin {
		return &Problem{Status: http.StatusForbidden, Type: typeRight, Title: "Not allowed", Detail: "a task of another owner"}
	}
	if n.ID != "" && !strings.HasPrefix(n.ID, r.by.Prefix) {
		return &Problem{Status: http.StatusForbidden, Type: typeRight, Title: "Not allowed", Detail: "an id that doesn't begin with " + quote(r.by.Prefix)}
	}
	// In a URL they are steps in the path, however they are escaped.
	if n.ID == "." || n.ID == ".." {
		return invalid("id " + quote(n.ID) + ": want another one, which a URL can have in it")
	}
	return nil
}

// parseNewTask reads a request's body.
func parseNewTask(body []byte) (n NewTask, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&n); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return n, &Problem{Status: http.StatusBadRequest, Title: "The body isn't JSON", Detail: err.Error()}
		}
		return n, invalid(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return n, &Problem{Status: http.StatusBadRequest, Title: "The body isn't JSON", Detail: "there is something after it"}
	}
	if _, ok := n.Labels[payloadLabel]; ok {
		return n, invalid("label " + payloadLabel + ": want another name")
	}
	return n, nil
}

// options returns what the task is created with.
func (n NewTask) options() []tasks.CallOption {
	opts := []tasks.CallOption{tasks.Durable()}
	add := func(set bool, o func() tasks.CallOption) {
		if set {
			opts = append(opts, o())
		}
	}
	add(len(n.Input) > 0 && string(n.Input) != "null", func() tasks.CallOption { return tasks.Input(n.Input) })
	add(n.Owner != "", func() tasks.CallOption { return tasks.Owner(n.Owner) })
	add(len(n.Labels) > 0, func() tasks.CallOption { return tasks.WithLabels(n.Labels) })
	add(n.Priority != 0, func() tasks.CallOption { return tasks.Priority(n.Priority) })
	add(n.RunAt != nil, func() tasks.CallOption { return tasks.RunAt(*n.RunAt) })
	add(n.MaxAttempts != 0, func() tasks.CallOption { return tasks.TaskAttempts(n.MaxAttempts) })
	add(n.Backoff != 0, func() tasks.CallOption { return tasks.TaskBackoff(time.Duration(n.Backoff)) })
	add(n.Timeout != 0, func() tasks.CallOption { return tasks.TaskTimeout(time.Duration(n.Timeout)) })
	add(n.FromCache, tasks.FromCache)
	return opts
}

// idempotencyKey returns the key of a request, or "". It is a string as structured fields have it, or the text as it is.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(key[1 : len(key)-1])
	}
	if len(values) > 1 || key == "" || len(key) > tasks.MaxID || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", &Problem{Status: http.StatusBadRequest, Type: typeInvalid, Title: "Not allowed", Detail: "Idempotency-Key: want one of 1 to 255 bytes of ASCII"}
	}
	return key, nil
}

// payloadOf returns a hash of a payload: the same for the same JSON, however it is spaced.
func payloadOf(body []byte) (string, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		return "", &Problem{Status: http.StatusBadRequest, Title: "The body isn't JSON", Detail: err.Error()}
	}
	sum := sha256.Sum256(compact.Bytes())
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// body reads a request's body, which is JSON.
func (h *Handler) body(r *request) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(r.Request.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, &Problem{Status: http.StatusUnsupportedMediaType, Title: "Unsupported media type", Detail: "want application/json"}
	}
	return h.read(r, h.maxBody)
}

// read reads a request's body of up to so many bytes. A client that takes its time loses its connection.
func (h *Handler) read(r *request, most int64) ([]byte, error) {
	control := http.NewResponseController(r.ResponseWriter)
	_ = control.SetReadDeadline(time.Now().Add(h.bodyTime)) // a test's recorder has none
	body, err := io.ReadAll(http.MaxBytesReader(r.ResponseWriter, r.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &Problem{Status: http.StatusRequestEntityTooLarge, Type: typeTooLarge, Title: "Too large", Detail: "the body"}
	case err != nil:
		return nil, &Problem{Status: http.StatusRequestTimeout, Title: "The body can't be read"}
	}
	_ = control.SetReadDeadline(time.Time{})
	return body, nil
}

// noBody refuses a request with a body where none is known.
func (h *Handler) noBody(r *request) error {
	body, err := h.read(r, 1<<10)
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(string(body)); text != "" && text != "{}" {
		return &Problem{Status: http.StatusBadRequest, Title: "There is nothing to say in the body"}
	}
	return nil
}
