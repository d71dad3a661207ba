// Package docusnap serves a [tasks.Store] by the API that DocuSnap's app speaks, so that its clients go on working:
//
//	h, err := docusnap.New(store, docusnap.Open())
//	http.Handle("/api/v1/", http.StripPrefix("/api/v1", h))
//	err = store.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Document: process}, 8)
//
// # The API
//
// POST /process submits a task and asks for it, in one. Its body has client_id, type (doc, form or fill), SHA256, has_content
// and, to submit, content, whose SHA-256 that is, and aes_key. A task is told from others by client, hash and type.
// The answer is 200 {"status":"completed","result":…}, 202 {"status":"processing"} or 400 {"status":"error","error_detail":…},
// with one of the codes of this package, or that of the handler.
//
// POST /clear deletes the tasks of a client, or with SHA256 and type one of them: 200 {"status":"ok"}.
// GET /check_status answers 200 {"server_status":"ok"}.
//
// # Handlers
//
// What a client has sent stays sealed: the task's input is a [Submission], which the handler decrypts. So nothing that is submitted
// is lost by a restart. The handler's result is what the client gets: for the app, a text that is encrypted with its key.
// Its error is a [Code], or one that wraps it; others are [ProcessingError] to the client.
//
// An answer is given once what it says is durable.
package docusnap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// Code is what the API has for an error.
type Code string

func (c Code) Error() string { return string(c) }

// The codes of this package, and those that handlers may return beside their own.
const (
	MissingRequiredField Code = "MISSING_REQUIRED_FIELD"
	InvalidType          Code = "INVALID_TYPE"
	MissingContent       Code = "MISSING_CONTENT"
	TaskNotFound         Code = "TASK_NOT_FOUND"
	HashMismatch         Code = "SHA256_MISMATCH"
	KeyNotDecrypted      Code = "RSA_DECRYPTION_FAILED" // also if there is no key
	ContentNotDecrypted  Code = "AES_DECRYPTION_FAILED"
	InvalidJSON          Code = "INVALID_JSON"
	DatabaseError        Code = "DATABASE_ERROR"
	ProcessingTimeout    Code = "PROCESSING_TIMEOUT"
	ProcessingError      Code = "PROCESSING_ERROR"
	OCRFailure           Code = "OCR_FAILURE"
	LLMFailure           Code = "LLM_FAILURE"
)

// Submission is a task's input: what a client has sent, as it has sent it.
type Submission struct {
	ClientID string `json:"client_id"`
	Type     string `json:"type"` // doc, form or fill
	SHA256   string `json:"sha256"`
	Content  string `json:"content"`
	AESKey   string `json:"aes_key"`
}

// types are the tasks' types by those of the API.
var types = map[string]tasks.Type{"doc": tasks.Document, "form": tasks.Form, "fill": tasks.FormFilling}

const (
	// DefaultMaxBody is how large a request's body may be, in bytes.
	DefaultMaxBody = 16 << 20
	// DefaultTimeout is how long after its submission a task may be done.
	DefaultTimeout = 10 * time.Minute
	// bodyTime is how long a client may take to send a request.
	bodyTime = time.Minute
)

// ownerPrefix is what the owner of a client's tasks begins with, so that no other owner is taken for a client.
const ownerPrefix = "docusnap:"

// Owner returns the owner of a client's tasks.
func Owner(clientID string) string { return ownerPrefix + clientID }

// ID returns the id of a task.
func ID(clientID, hash, kind string) string {
	sum := sha256.Sum256([]byte(clientID + "\x00" + hash + "\x00" + kind))
	return "docusnap-" + hex.EncodeToString(sum[:])
}

// Handler serves a store.
type Handler struct {
	store     *tasks.Store
	authorize func(*http.Request) error
	check     func(context.Context, Submission) error
	maxBody   int64
	timeout   time.Duration
	log       *slog.Logger
	mux       *http.ServeMux
}

// Option sets how a handler behaves.
type Option func(*Handler)

// Open lets everybody in: the app's clients have no credentials.
func Open() Option { return Authorize(func(*http.Request) error { return nil }) }

// Authorize has a function say whether a request is let in. Its error is answered with 401.
func Authorize(f func(*http.Request) error) Option { return func(h *Handler) { h.authorize = f } }

// Check has a function look at what is submitted before a task is made of it, such as whether it can be decrypted.
// Its error is a [Code], or one that wraps it; others are [ProcessingError].
func Check(f func(context.Context, Submission) error) Option { return func(h *Handler) { h.check = f } }

// MaxBody sets how large a request's body may be, in bytes. Default [DefaultMaxBody].
func MaxBody(bytes int64) Option { return func(h *Handler) { h.maxBody = bytes } }

// Timeout sets how long after its submission a task has to be done. One that isn't when it is asked for
// has failed then, with [ProcessingTimeout]; 0 is for ever. Default [DefaultTimeout].
func Timeout(d time.Duration) Option { return func(h *Handler) { h.timeout = d } }

// Logger makes the handler log errors of the store. Default: nothing.
func Logger(l *slog.Logger) Option { return func(h *Handler) { h.log = l } }

// New returns a handler. It returns an error unless it is said who is let in, by [Open] or [Authorize].
func New(store *tasks.Store, opts ...Option) (*Handler, error) {
	h := &Handler{store: store, maxBody: DefaultMaxBody, timeout: DefaultTimeout, log: slog.New(slog.DiscardHandler), mux: http.NewServeMux()}
	for _, o := range opts {
		o(h)
	}
	switch {
	case store == nil:
		return nil, errors.New("docusnap: no store")
	case h.authorize == nil:
		return nil, errors.New("docusnap: no authorizer: give Authorize or, to let everybody in, Open")
	case h.maxBody < 1<<10, h.timeout < 0:
		return nil, errors.New("docusnap: want MaxBody of 1024 or more, and Timeout of 0 or more")
	}
	h.mux.HandleFunc("POST /process", h.process)
	h.mux.HandleFunc("POST /clear", h.clear)
	h.mux.HandleFunc("GET /check_status", h.checkStatus)
	return h, nil
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	if err := h.authorize(r); err != nil {
		answer(w, http.StatusUnauthorized, failure{"error", "UNAUTHORIZED"})
		return
	}
	h.mux.ServeHTTP(w, r)
}

// codePattern is what a code looks like: the texts of other errors aren't told to clients.
var codePattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]{2,63}$`)

// codeOf returns the code of an error.
func codeOf(err error) Code {
	var c Code
	if errors.As(err, &c) {
		return c
	}
	return ProcessingError
}

// codeOfTask returns the code of a task that has failed. A handler's error may say more after its code.
func codeOfTask(t tasks.Info) Code {
	first, _, _ := strings.Cut(t.Error, ":")
	switch {
	case codePattern.MatchString(first):
		return Code(first)
	case t.Error == tasks.ErrAttemptTimeout.Error():
		return ProcessingTimeout
	}
	return ProcessingError
}
