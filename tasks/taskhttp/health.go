package taskhttp

import (
	"context"
	"net/http"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
)

// readyTime is how long the store may take to say that it is there.
const readyTime = 5 * time.Second

// healthz answers that the process is there.
func (h *Handler) healthz(r *request) error { return h.say(r, http.StatusOK, "ok") }

// readyz answers whether the store can be used: it isn't once a sync of any database of the process has failed,
// or while the store can't say that it is durable, or once the handler is shut down.
func (h *Handler) readyz(r *request) error {
	if h.closed() {
		return h.say(r, http.StatusServiceUnavailable, "shutting down")
	}
	for _, s := range vfs.AllStats() {
		if s.Failed != "" {
			return h.say(r, http.StatusServiceUnavailable, "a sync has failed")
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTime)
	defer cancel()
	if err := h.durable(ctx); err != nil {
		return h.say(r, http.StatusServiceUnavailable, "the store doesn't answer")
	}
	return h.say(r, http.StatusOK, "ready")
}

func (h *Handler) say(r *request, status int, text string) error {
	body, err := encode(struct {
		Status string `json:"status"`
	}{text})
	if err != nil {
		return err
	}
	r.Header().Set("Cache-Control", "no-store")
	h.answer(r, status, body)
	return nil
}

// serveMetrics has the metrics served that there are.
func (h *Handler) serveMetrics(r *request) error {
	if h.metrics == nil {
		return &Problem{Status: http.StatusNotFound, Type: typeNotFound, Title: "There are no metrics"}
	}
	h.writeDeadline(r.ResponseWriter)
	h.metrics.ServeHTTP(r.ResponseWriter, r.Request)
	return nil
}
