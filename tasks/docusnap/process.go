package docusnap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

type (
	failure struct {
		Status string `json:"status"`
		Detail Code   `json:"error_detail"`
	}
	success struct {
		Status string          `json:"status"`
		Result json.RawMessage `json:"result,omitempty"`
	}
	problem struct {
		Error string `json:"error"`
	}
)

// sent is a request's body. A field that isn't there is nil.
type sent struct {
	ClientID   *string          `json:"client_id"`
	Type       *string          `json:"type"`
	SHA256     *string          `json:"SHA256"`
	HasContent *json.RawMessage `json:"has_content"`
	Content    *string          `json:"content"`
	AESKey     string           `json:"aes_key"`
}

// hasContent takes has_content for what Python takes it for.
func (s sent) hasContent() bool {
	switch string(*s.HasContent) {
	case "false", "null", "0", `""`, "[]", "{}", "0.0":
		return false
	}
	return true
}

// process submits a task, or asks for it.
func (h *Handler) process(w http.ResponseWriter, r *http.Request) {
	s, ok := h.read(w, r)
	if !ok {
		return
	}
	fail := func(c Code) { answer(w, http.StatusBadRequest, failure{"error", c}) }
	if s.ClientID == nil || s.Type == nil || s.SHA256 == nil || s.HasContent == nil {
		fail(MissingRequiredField)
		return
	}
	kind, ok := types[*s.Type]
	if !ok {
		fail(InvalidType)
		return
	}
	content := s.hasContent()
	if content && s.Content == nil {
		fail(MissingContent)
		return
	}
	id := ID(*s.ClientID, *s.SHA256, *s.Type)
	if h.answerTask(w, r, id) {
		return
	}
	if !content {
		fail(TaskNotFound)
		return
	}
	sub := Submission{*s.ClientID, *s.Type, *s.SHA256, *s.Content, s.AESKey}
	if err := h.checkSubmission(r.Context(), sub); err != nil {
		fail(codeOf(err))
		return
	}
	err := h.store.Create(r.Context(), id, kind, tasks.Owner(Owner(sub.ClientID)), tasks.Input(sub), tasks.Durable())
	switch {
	case errors.Is(err, tasks.ErrExists):
		if !h.answerTask(w, r, id) {
			answer(w, http.StatusAccepted, success{Status: "processing"}) // it was cleared since; who asks again finds that out
		}
	case errors.Is(err, tasks.ErrInvalid):
		fail(MissingRequiredField) // the client's id can't be one, or the content is too large
	case err != nil:
		h.unavailable(w, r, err)
	default:
		answer(w, http.StatusAccepted, success{Status: "processing"})
	}
}

func (h *Handler) checkSubmission(ctx context.Context, s Submission) error {
	sum := sha256.Sum256([]byte(s.Content))
	if hex.EncodeToString(sum[:]) != s.SHA256 {
		return HashMismatch
	}
	if s.AESKey == "" {
		return KeyNotDecrypted
	}
	if h.check != nil {
		return h.check(ctx, s)
	}
	return nil
}

// answerTask answers with a task, and reports whether it has answered: not if there is none.
func (h *Handler) answerTask(w http.ResponseWriter, r *http.Request, id string) bool {
	res, err := h.store.Result(r.Context(), id)
	if err == nil && !res.Status.Final() && h.timeout > 0 && time.Since(res.CreatedAt) > h.timeout {
		if err = h.store.Update(r.Context(), id, tasks.Error, nil, tasks.ErrorText(string(ProcessingTimeout)), tasks.Durable()); err == nil || errors.Is(err, tasks.ErrTransition) {
			res, err = h.store.Result(r.Context(), id)
		}
	}
	none := errors.Is(err, tasks.ErrNotFound)
	if err == nil || none {
		if e := h.store.Settle(r.Context()); e != nil {
			err, none = e, false
		}
	}
	switch {
	case none:
		return false
	case err != nil:
		h.unavailable(w, r, err)
	case res.Status == tasks.Completed:
		if res.Raw == nil {
			res.Raw = json.RawMessage("null")
		}
		answer(w, http.StatusOK, success{"completed", res.Raw})
	case res.Status == tasks.Error:
		answer(w, http.StatusBadRequest, failure{"error", codeOfTask(res.Info)})
	default:
		answer(w, http.StatusAccepted, success{Status: "processing"})
	}
	return true
}

// clear deletes the tasks of a client, or one of them.
func (h *Handler) clear(w http.ResponseWriter, r *http.Request) {
	s, ok := h.read(w, r)
	if !ok {
		return
	}
	if s.ClientID == nil {
		answer(w, http.StatusBadRequest, problem{"Missing client_id"})
		return
	}
	var err error
	if s.SHA256 != nil && *s.SHA256 != "" && s.Type != nil && *s.Type != "" {
		err = h.store.Delete(r.Context(), ID(*s.ClientID, *s.SHA256, *s.Type), tasks.Durable())
	} else {
		_, err = h.store.CleanupOwner(r.Context(), Owner(*s.ClientID), 0)
	}
	if errors.Is(err, tasks.ErrNotFound) {
		err = h.store.Settle(r.Context())
	}
	if err != nil && !errors.Is(err, tasks.ErrInvalid) { // no task is one of such a client
		h.log.ErrorContext(r.Context(), "can't clear", "error", err)
		answer(w, http.StatusInternalServerError, problem{"CACHE_CLEAR_FAILED"})
		return
	}
	answer(w, http.StatusOK, success{Status: "ok"})
}

// checkStatus answers whether the store can be used.
func (h *Handler) checkStatus(w http.ResponseWriter, r *http.Request) {
	type status struct {
		Server string `json:"server_status"`
	}
	if err := h.store.Settle(r.Context()); err != nil {
		h.log.ErrorContext(r.Context(), "the store doesn't answer", "error", err)
		answer(w, http.StatusServiceUnavailable, status{"error"})
		return
	}
	answer(w, http.StatusOK, status{"ok"})
}

// read reads a request's body. It has answered if it reports false.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (s sent, ok bool) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // a test's recorder has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		answer(w, http.StatusRequestEntityTooLarge, failure{"error", "CONTENT_TOO_LARGE"})
		return s, false
	case err != nil:
		answer(w, http.StatusRequestTimeout, failure{"error", "REQUEST_TIMEOUT"})
		return s, false
	}
	_ = control.SetReadDeadline(time.Time{})
	if err := json.Unmarshal(body, &s); err != nil {
		answer(w, http.StatusBadRequest, failure{"error", InvalidJSON})
		return s, false
	}
	return s, true
}

// unavailable answers that the store can't be used. The task, if there is one, isn't said to have failed.
func (h *Handler) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	h.log.ErrorContext(r.Context(), "the store has failed", "error", err)
	w.Header().Set("Retry-After", "1")
	answer(w, http.StatusServiceUnavailable, failure{"error", DatabaseError})
}

// answer writes an answer. A client that doesn't take it off loses its connection.
func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"status":"error","error_detail":"PROCESSING_ERROR"}`)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(bodyTime)) // a test's recorder has none
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}
