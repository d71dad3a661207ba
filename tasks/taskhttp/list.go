package taskhttp

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// Page is a page of tasks.
type Page struct {
	Tasks []Task `json:"tasks"`
	// Next is the cursor of the next page; empty if there is none. A page may be shorter than its limit, though there is a next one.
	Next string `json:"next,omitempty"`
}

const (
	defaultPage = 100
	maxPage     = 1000
	// maxWalk is how many tasks a page looks at for those whose ids have the principal's prefix.
	maxWalk = 10_000
)

// cursor is the last task of a page.
type cursor struct {
	At int64  `json:"t"`
	ID string `json:"i"`
}

func (c cursor) String() string {
	raw, _ := json.Marshal(c) // numbers and strings can be marshalled
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseCursor(text string) (t tasks.Info, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return t, err
	}
	var c cursor
	if err := json.Unmarshal(raw, &c); err != nil {
		return t, err
	}
	return tasks.Info{ID: c.ID, CreatedAt: time.Unix(c.At, 0).UTC()}, nil
}

// list answers with a page of tasks.
func (h *Handler) list(r *request) error {
	q, err := listQuery(r)
	if err != nil {
		return err
	}
	page, limit := Page{Tasks: []Task{}}, q.Limit
	for walked := 0; ; {
		list, err := h.store.List(r.Context(), q)
		if err != nil {
			return problemOf(err, "")
		}
		walked += len(list)
		for i, t := range list {
			if r.by.sees(t) {
				page.Tasks = append(page.Tasks, viewOf(t))
			}
			q.After = t
			if len(page.Tasks) == limit && (i+1 < len(list) || len(list) == q.Limit) {
				page.Next = cursor{t.CreatedAt.Unix(), t.ID}.String()
				break
			}
		}
		if len(list) < q.Limit || page.Next != "" {
			break
		}
		if walked >= maxWalk {
			page.Next = cursor{q.After.CreatedAt.Unix(), q.After.ID}.String()
			break
		}
		q.Limit = maxPage
	}
	if err := h.durable(r.Context()); err != nil {
		return problemOf(err, "")
	}
	body, err := encode(page)
	if err != nil {
		return err
	}
	h.answer(r, http.StatusOK, body)
	return nil
}

// listQuery returns what a request asks for.
func listQuery(r *request) (q tasks.Query, err error) {
	bad := func(name, value, want string) error {
		return &Problem{Status: http.StatusBadRequest, Type: typeInvalid, Title: "Not allowed", Detail: name + " " + quote(value) + ": want " + want}
	}
	for _, t := range r.query["type"] {
		q.Types = append(q.Types, tasks.Type(t))
	}
	for _, s := range r.query["status"] {
		q.Statuses = append(q.Statuses, tasks.Status(s))
	}
	if len(q.Types) > 100 || len(q.Statuses) > 100 {
		return q, bad("type or status", "", "100 at most")
	}
	for _, l := range r.query["label"] {
		name, value, ok := strings.Cut(l, ":")
		if !ok || name == "" || name == payloadLabel || len(r.query["label"]) > 1 {
			return q, bad("label", l, "one name:value")
		}
		q.Label = [2]string{name, value}
	}
	if q.Owner = r.by.Owner; r.query.Has("owner") {
		if asked := r.query.Get("owner"); q.Owner != "" && asked != q.Owner {
			return q, &Problem{Status: http.StatusForbidden, Type: typeRight, Title: "Not allowed", Detail: "the tasks of another owner"}
		} else {
			q.Owner = asked
		}
	}
	switch order := r.query.Get("order"); order {
	case "", "newest":
		q.Newest = true
	case "oldest":
	default:
		return q, bad("order", order, "newest or oldest")
	}
	if q.Limit = defaultPage; r.query.Has("limit") {
		text := r.query.Get("limit")
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > maxPage {
			return q, bad("limit", text, "1 to "+strconv.Itoa(maxPage))
		}
	}
	if after := r.query.Get("after"); after != "" {
		if q.After, err = parseCursor(after); err != nil {
			return q, bad("after", after, "the next of another page")
		}
	}
	return q, nil
}
