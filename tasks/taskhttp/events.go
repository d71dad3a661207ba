package taskhttp

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// taskEvents answers with a task as it is, and each time that it has changed. An event's id is the task's entity tag:
// who resumes after it hears nothing until the task has changed.
func (h *Handler) taskEvents(r *request) error {
	if _, err := h.look(r.Context(), r); err != nil {
		return err
	}
	s, leave, err := h.stream(r)
	if err != nil {
		return err
	}
	defer leave()
	last := lastEvent(r)
	for {
		// Before the look, so that no change is missed.
		changed, stop := h.store.Notify(r.id)
		t, err := h.look(r.Context(), r)
		if err != nil {
			stop()
			var p *Problem
			if errors.As(err, &p) && p.Status == http.StatusNotFound {
				_ = s.write(event("deleted", "", deletedData(r.id)))
			}
			return nil
		}
		body, err := h.bodies.get(t)
		if err != nil {
			stop()
			return nil
		}
		if id := strings.Trim(body.tag, `"`); id != last {
			if s.write(event("task", id, bytes.TrimSpace(body.text))) != nil {
				stop()
				return nil
			}
			last = id
		}
		more := s.wait(changed, func() string { return "" })
		stop()
		if !more {
			return nil
		}
	}
}

func deletedData(id string) []byte {
	data, _ := encode(struct {
		ID string `json:"id"`
	}{id})
	return bytes.TrimSpace(data)
}

// events answers with each task that changes. An event's id is the number of a change: who resumes after it hears of those that came later.
// Where some of them aren't known any more, an event "reset" says that any task may have changed.
func (h *Handler) events(r *request) error {
	after := int64(-1)
	if id := lastEvent(r); id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n < 0 {
			return &Problem{Status: http.StatusBadRequest, Type: typeInvalid, Title: "Not allowed", Detail: "Last-Event-ID " + quote(id) + ": want the id of an event"}
		}
		after = n
	}
	at, leaveFeed, err := h.feed.join(r.Context(), after)
	if err != nil {
		return problemOf(err, "")
	}
	defer leaveFeed()
	s, leave, err := h.stream(r)
	if err != nil {
		return err
	}
	defer leave()
	number := func() string { return at.String() }
	if s.write([]byte(": connected\nid: "+number()+"\n\n")) != nil {
		return nil
	}
	for {
		batches, changed := h.feed.after(r.Context(), at)
		if len(batches) == 0 {
			if !s.wait(changed, number) {
				return nil
			}
			continue
		}
		for _, b := range batches {
			text := b.text(r.by, at.at)
			at = position{b.last, b.numbered}
			if len(text) > 0 && s.write(text) != nil {
				return nil
			}
		}
	}
}
