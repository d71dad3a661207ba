package taskhttp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// secure sets the headers that keep a browser from taking what tasks hold for more than text.
func secure(head http.Header) {
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("X-Frame-Options", "DENY")
}

// durable returns once all that was read from the store is durable, and so may be told. Where it is already, that costs no sync.
func (h *Handler) durable(ctx context.Context) error {
	if h.unsettled {
		return nil
	}
	return h.store.Settle(ctx)
}

// tag returns the entity tag of a body.
func tag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
}

// matches reports whether a header such as If-None-Match names a tag, or any.
func matches(values []string, etag string) bool {
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// answer writes a body of JSON, or, to who has it already, that it hasn't changed.
func (h *Handler) answer(r *request, status int, body []byte) {
	h.answerTagged(r, status, body, "")
}

// answerTagged is answer for a body whose tag is known already, unless that is "".
func (h *Handler) answerTagged(r *request, status int, body []byte, etag string) {
	head := r.Header()
	head.Set("Cache-Control", "private, no-cache")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if etag == "" {
			etag = tag(body)
		}
		head.Set("ETag", etag)
		if status == http.StatusOK && matches(r.Request.Header.Values("If-None-Match"), etag) {
			r.WriteHeader(http.StatusNotModified)
			return
		}
	}
	head.Set("Content-Type", "application/json")
	if r.Method == http.MethodHead || len(body) > ownLength {
		head.Set("Content-Length", strconv.Itoa(len(body)))
	}
	h.writeDeadline(r.ResponseWriter)
	r.WriteHeader(status)
	if r.Method != http.MethodHead {
		r.Write(body)
	}
}

// ownLength is up to which length of a body net/http finds the length out by itself, which takes it less than a header.
const ownLength = 2000

// Header returns the answer's, not the request's.
func (r *request) Header() http.Header { return r.ResponseWriter.Header() }

// Write writes the answer's body.
func (r *request) Write(body []byte) (int, error) { return r.ResponseWriter.Write(body) }

// encode returns a value as JSON, with text as it is.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// writeDeadline gives the client its time to take off what is written next.
func (h *Handler) writeDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.writeTime)) // a test's recorder has none
}

// unauthorized returns the problem that an authorizer's error is.
func unauthorized(err error) error {
	if errors.Is(err, ErrUnauthorized) {
		return &Problem{Status: http.StatusUnauthorized, Title: "No valid credentials"}
	}
	return &Problem{Status: http.StatusInternalServerError, Title: "It can't be said who you are", cause: err}
}

func levelOf(p *Problem) slog.Level {
	if p.cause == nil {
		return slog.LevelWarn
	}
	return slog.LevelError
}

func attrsOf(r *http.Request, p *Problem) []slog.Attr {
	list := []slog.Attr{slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", p.Status), slog.String("title", p.Title)}
	if p.cause != nil {
		list = append(list, slog.Any("error", p.cause))
	}
	return list
}
