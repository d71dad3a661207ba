package taskhttp

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// stream is an answer of server-sent events.
//
// https://html.spec.whatwg.org/multipage/server-sent-events.html
type stream struct {
	h       *Handler
	r       *request
	control *http.ResponseController
	beat    *time.Timer
}

// reconnectAfter is how long a client waits before it connects again, in milliseconds.
const reconnectAfter = 2000

// stream begins an answer of events, which is to be ended by leave.
func (h *Handler) stream(r *request) (s *stream, leave func(), err error) {
	left, p := h.streams.enter(client(r.Request, r.by), "streams")
	if p != nil {
		return nil, nil, p
	}
	s = &stream{h: h, r: r, control: http.NewResponseController(r.ResponseWriter), beat: time.NewTimer(h.heartbeat)}
	head := r.Header()
	head.Set("Content-Type", "text/event-stream; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no") // nginx would hold events back
	r.WriteHeader(http.StatusOK)
	// If it can't be written, so can't what comes next.
	_ = s.write(fmt.Appendf(nil, "retry: %d\n\n", reconnectAfter))
	return s, func() { s.beat.Stop(); left() }, nil
}

// write sends something at once. A client that doesn't take it off in time loses its connection.
func (s *stream) write(text []byte) error {
	s.h.writeDeadline(s.r.ResponseWriter)
	if _, err := s.r.Write(text); err != nil {
		return err
	}
	s.beat.Reset(s.h.heartbeat)
	return s.control.Flush()
}

// wait returns once something has changed, and false if the stream is to end. While nothing changes it sends heartbeats,
// with the id to resume from, if there is one: so a client that sees none of the events needn't go far back.
func (s *stream) wait(changed <-chan struct{}, id func() string) bool {
	for {
		select {
		case <-changed:
			return true
		case <-s.h.closing:
			_ = s.write([]byte(": the server shuts down\n\n"))
			return false
		case <-s.r.Context().Done():
			return false
		case <-s.beat.C:
			// Who has lost the right since then hears no more.
			p, err := s.h.authorize(s.r.Request)
			if err != nil || p != s.r.by {
				return false
			}
			text := ":\n\n"
			if id := id(); id != "" {
				text = ":\nid: " + id + "\n\n"
			}
			if s.write([]byte(text)) != nil {
				return false
			}
		}
	}
}

// event returns an event as it is sent. What it says is in one line.
func event(name, id string, data []byte) []byte {
	var b strings.Builder
	b.WriteString("event: " + name + "\n")
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data: ")
	b.Write(data)
	b.WriteString("\n\n")
	return []byte(b.String())
}

// lastEvent returns the id that a client wants to resume after.
func lastEvent(r *request) string { return r.Request.Header.Get("Last-Event-ID") }
