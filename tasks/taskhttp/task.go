package taskhttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/docusnap/asyncvfs/tasks"
)

// look returns the task of a request, if it is there and one of those that are seen. What it returns is durable.
func (h *Handler) look(ctx context.Context, r *request) (tasks.Info, error) {
	t, err := h.store.Status(ctx, r.id)
	if err := h.settled(ctx, r, err); err != nil {
		return t, err
	}
	if !r.by.sees(t) {
		return tasks.Info{}, notFound(r.id)
	}
	return t, nil
}

// settled returns once what a look has found is durable: also that it has found nothing.
func (h *Handler) settled(ctx context.Context, r *request, err error) error {
	if errors.Is(err, tasks.ErrInvalid) {
		return notFound(r.id) // no task has such an id
	}
	if err != nil && !errors.Is(err, tasks.ErrNotFound) {
		return problemOf(err, r.id)
	}
	if e := h.durable(ctx); e != nil {
		return problemOf(e, r.id)
	}
	if err != nil {
		return notFound(r.id)
	}
	return nil
}

// task answers with a task, once it has changed if the request says so.
func (h *Handler) task(r *request) error {
	wait, err := h.waitOf(r)
	if err != nil {
		return err
	}
	known := r.Request.Header.Values("If-None-Match")
	body, err := h.waitFor(r, wait, func(ctx context.Context, first bool, last []byte) (body []byte, done bool, err error) {
		t, err := h.look(ctx, r)
		if err != nil {
			return nil, true, err
		}
		if body, err = encode(viewOf(t)); err != nil {
			return nil, true, err
		}
		if len(known) > 0 {
			return body, !matches(known, tag(body)), nil
		}
		return body, t.Status.Final() || !first && string(last) != string(body), nil
	})
	if err != nil {
		return err
	}
	h.answer(r, http.StatusOK, body)
	return nil
}

// result answers with what came of a task, once it is done if the request says so.
func (h *Handler) result(r *request) error {
	wait, err := h.waitOf(r)
	if err != nil {
		return err
	}
	partial, err := flag(r, "partial")
	if err != nil {
		return err
	}
	var t tasks.Info
	body, err := h.waitFor(r, wait, func(ctx context.Context, _ bool, _ []byte) (body []byte, done bool, err error) {
		if t, err = h.look(ctx, r); err != nil || !t.Status.Final() {
			return nil, err != nil, err
		}
		return nil, true, nil
	})
	if err != nil {
		return err
	}
	if t.Status.Final() || partial {
		res, err := h.store.Result(r.Context(), r.id)
		if err := h.settled(r.Context(), r, err); err != nil {
			return err
		}
		t, body = res.Info, res.Raw
		if !r.by.sees(t) {
			return notFound(r.id) // another one has taken its place
		}
	}
	r.Header().Set("Task-Status", string(t.Status))
	switch {
	case t.Status == tasks.Error:
		return &Problem{Status: http.StatusConflict, Type: typeFailed, Title: failedTitle(t), Detail: t.Error, Task: t.ID}
	case t.Status == tasks.Completed && body == nil:
		r.WriteHeader(http.StatusNoContent)
		return nil
	case t.Status == tasks.Completed, partial && body != nil:
		h.answer(r, http.StatusOK, body)
		return nil
	}
	if body, err = encode(viewOf(t)); err != nil {
		return err
	}
	r.Header().Set("Retry-After", "1")
	h.answer(r, http.StatusAccepted, body)
	return nil
}

func failedTitle(t tasks.Info) string {
	if t.Cancelled {
		return "The task was cancelled"
	}
	return "The task has failed"
}

// input answers with what a task was created with.
func (h *Handler) input(r *request) error {
	if _, err := h.look(r.Context(), r); err != nil {
		return err
	}
	raw, err := h.store.Input(r.Context(), r.id)
	if err := h.settled(r.Context(), r, err); err != nil {
		return err
	}
	if raw == nil {
		r.WriteHeader(http.StatusNoContent)
		return nil
	}
	h.answer(r, http.StatusOK, raw)
	return nil
}

// attempts answers with the attempts at a task.
func (h *Handler) attempts(r *request) error {
	if _, err := h.look(r.Context(), r); err != nil {
		return err
	}
	list, err := h.store.Attempts(r.Context(), r.id)
	if err := h.settled(r.Context(), r, err); err != nil {
		return err
	}
	out := struct {
		Attempts []Attempt `json:"attempts"`
	}{[]Attempt{}}
	for _, a := range list {
		out.Attempts = append(out.Attempts, Attempt{a.Number, a.StartedAt, timeOf(a.EndedAt), a.Error, a.Uncounted})
	}
	body, err := encode(out)
	if err != nil {
		return err
	}
	h.answer(r, http.StatusOK, body)
	return nil
}

// cancel cancels a task.
func (h *Handler) cancel(r *request) error { return h.change(r, h.store.Cancel) }

// retry takes a failed task back to pending.
func (h *Handler) retry(r *request) error { return h.change(r, h.store.Retry) }

// change makes a change, and answers with the task as it is then.
func (h *Handler) change(r *request, change func(context.Context, string, ...tasks.CallOption) error) error {
	if err := h.made(r, change); err != nil {
		return err
	}
	t, err := h.look(r.Context(), r)
	if err != nil {
		return err
	}
	body, err := encode(viewOf(t))
	if err != nil {
		return err
	}
	h.answer(r, http.StatusOK, body)
	return nil
}

// made makes a change of a task that is seen. Its error is about what is durable.
func (h *Handler) made(r *request, change func(context.Context, string, ...tasks.CallOption) error) error {
	if err := h.noBody(r); err != nil {
		return err
	}
	if _, err := h.look(r.Context(), r); err != nil {
		return err
	}
	err := change(r.Context(), r.id, tasks.Durable())
	if errors.Is(err, tasks.ErrTransition) || errors.Is(err, tasks.ErrNotFound) {
		if e := h.durable(r.Context()); e != nil {
			return problemOf(e, r.id)
		}
	}
	if err != nil {
		return problemOf(err, r.id)
	}
	return nil
}

// remove deletes a task.
func (h *Handler) remove(r *request) error {
	if err := h.made(r, h.store.Delete); err != nil {
		return err
	}
	r.WriteHeader(http.StatusNoContent)
	return nil
}
