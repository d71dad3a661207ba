package taskhttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/docusnap/asyncvfs/tasks"
)

// look returns the task of a request, if it is there and one of those that are seen. What it returns is durable, also that there is none,
// and it costs one look at the store where that is known to be durable.
func (h *Handler) look(ctx context.Context, r *request) (t tasks.Info, err error) {
	if h.unsettled {
		t, err = h.store.Status(ctx, r.id)
	} else {
		t, err = h.store.StatusSettled(ctx, r.id)
	}
	if err == nil && r.by.sees(t) {
		return t, nil
	}
	return tasks.Info{}, h.lookError(r, err)
}

// lookResult is look, with the result.
func (h *Handler) lookResult(ctx context.Context, r *request) (res tasks.Result, err error) {
	if h.unsettled {
		res, err = h.store.Result(ctx, r.id)
	} else {
		res, err = h.store.ResultSettled(ctx, r.id)
	}
	if err == nil && r.by.sees(res.Info) {
		return res, nil
	}
	return tasks.Result{}, h.lookError(r, err)
}

// lookError returns the problem that a look's error is; without one, the task isn't one of those that are seen.
func (h *Handler) lookError(r *request, err error) *Problem {
	if err == nil || errors.Is(err, tasks.ErrInvalid) {
		return notFound(r.id) // no task has such an id
	}
	return problemOf(err, r.id)
}

// task answers with a task, once it has changed if the request says so.
func (h *Handler) task(r *request) error {
	wait, err := h.waitOf(r)
	if err != nil {
		return err
	}
	known := r.Request.Header.Values("If-None-Match")
	var last, body *taskBody
	err = h.waitFor(r, wait, func(ctx context.Context) (done bool, err error) {
		t, err := h.look(ctx, r)
		if err != nil {
			return true, err
		}
		if body, err = h.bodies.get(t); err != nil {
			return true, err
		}
		if len(known) > 0 {
			return !matches(known, body.tag), nil
		}
		if last == nil {
			last = body
		}
		return t.Status.Final() || body.tag != last.tag, nil
	})
	if err != nil {
		return err
	}
	h.answerTagged(r, http.StatusOK, body.text, body.tag)
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
	var body []byte
	if wait > 0 {
		// Who waits looks often, at what is small.
		if err = h.waitFor(r, wait, func(ctx context.Context) (done bool, err error) {
			t, err = h.look(ctx, r)
			return err != nil || t.Status.Final(), err
		}); err != nil {
			return err
		}
	}
	if wait == 0 || t.Status.Final() || partial {
		res, err := h.lookResult(r.Context(), r)
		if err != nil {
			return err
		}
		t, body = res.Info, res.Raw
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
	shown, err := h.bodies.get(t)
	if err != nil {
		return err
	}
	r.Header().Set("Retry-After", "1")
	h.answerTagged(r, http.StatusAccepted, shown.text, shown.tag)
	return nil
}

func failedTitle(t tasks.Info) string {
	if t.Cancelled {
		return "The task was cancelled"
	}
	return "The task has failed"
}

// lookAfter returns once what was read of the request's task is durable, unless another one, that isn't seen, has taken its place meanwhile.
func (h *Handler) lookAfter(r *request, err error) error {
	if err != nil && !errors.Is(err, tasks.ErrNotFound) {
		return problemOf(err, r.id)
	}
	if _, e := h.look(r.Context(), r); e != nil {
		return e
	}
	if err != nil {
		return notFound(r.id) // there is another one since
	}
	return nil
}

// input answers with what a task was created with.
func (h *Handler) input(r *request) error {
	if _, err := h.look(r.Context(), r); err != nil {
		return err
	}
	raw, err := h.store.Input(r.Context(), r.id)
	if err := h.lookAfter(r, err); err != nil {
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
	if err := h.lookAfter(r, err); err != nil {
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
	body, err := h.bodies.get(t)
	if err != nil {
		return err
	}
	h.answerTagged(r, http.StatusOK, body.text, body.tag)
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
