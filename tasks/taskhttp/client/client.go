// Package client is a client of the tasks that package taskhttp serves.
//
//	c, err := client.New("https://tasks.example.com/", client.Token(secret))
//	task, err := c.Create(ctx, taskhttp.NewTask{Type: tasks.Document, Input: scan}, client.IdempotencyKey(key))
//	err = c.Result(ctx, task.ID, &v) // waits until the task is done
//
// # Errors
//
// An error of the server is a [*taskhttp.Problem] for [errors.As]. For [errors.Is] it is also what the same call of a [tasks.Store] returns:
// [tasks.ErrNotFound], [tasks.ErrExists], [tasks.ErrTransition], [tasks.ErrInvalid], [tasks.ErrTooLarge], [tasks.ErrBusy],
// [tasks.ErrOutcomeUnknown], or [ErrFailed] and [ErrUnauthorized]. A request is made again by itself where the server says
// that it was busy, and where that can't do it twice; [Retries] says how often.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
)

var (
	// ErrFailed is returned for the result of a task that has failed or was cancelled. The problem's detail is the task's error.
	ErrFailed = errors.New("the task has failed")
	// ErrUnauthorized is returned where the credentials aren't valid, or don't give the right.
	ErrUnauthorized = errors.New("not authorized")
)

// Client makes requests. Its methods may be called at the same time.
type Client struct {
	base    string
	http    *http.Client
	token   string
	retries int
}

// Option sets how a client behaves.
type Option func(*Client)

// Token sets the token that requests carry.
func Token(secret string) Option { return func(c *Client) { c.token = secret } }

// HTTP sets what requests are made with. Default [http.DefaultClient]. It shall have no timeout of its own, which ends streams.
func HTTP(h *http.Client) Option { return func(c *Client) { c.http = h } }

// Retries sets how often a request is made again. Default 3.
func Retries(n int) Option { return func(c *Client) { c.retries = n } }

// New returns a client of the handler at a URL.
func New(base string, opts ...Option) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("client: %q: want http://host/ or https://host/, and no credentials in it", u.Redacted())
	}
	c := &Client{base: strings.TrimSuffix(u.String(), "/"), http: http.DefaultClient, retries: 3}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// URL returns where the handler is.
func (c *Client) URL() string { return c.base }

// CallOption sets how a request is made.
type CallOption func(*http.Request)

// IdempotencyKey makes a request one that can be made again: see [tasks.UniqueKey]. It is 1 to 255 bytes of visible ASCII and spaces.
func IdempotencyKey(key string) CallOption {
	return func(r *http.Request) {
		r.Header.Set("Idempotency-Key", `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key)+`"`)
	}
}

// Create creates a task.
func (c *Client) Create(ctx context.Context, t taskhttp.NewTask, opts ...CallOption) (task taskhttp.Task, err error) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // the input stays as it is
	if err := e.Encode(t); err != nil {
		return task, err
	}
	return task, c.json(ctx, "POST", "/tasks", body.Bytes(), &task, opts...)
}

// Get returns a task.
func (c *Client) Get(ctx context.Context, id string) (task taskhttp.Task, err error) {
	return task, c.json(ctx, "GET", taskPath(id), nil, &task)
}

// Query says which tasks to list.
type Query struct {
	Types    []tasks.Type   // any if there are none
	Statuses []tasks.Status // any if there are none
	Label    [2]string      // a name and its value, or empty
	Owner    string
	Oldest   bool   // first; else the newest
	After    string // the Next of the page before
	Limit    int    // 1 to 1000; 0 is 100
}

// List returns a page of tasks.
func (c *Client) List(ctx context.Context, q Query) (page taskhttp.Page, err error) {
	v := url.Values{}
	for _, t := range q.Types {
		v.Add("type", string(t))
	}
	for _, s := range q.Statuses {
		v.Add("status", string(s))
	}
	set := func(name, value string, is bool) {
		if is {
			v.Set(name, value)
		}
	}
	set("label", q.Label[0]+":"+q.Label[1], q.Label[0] != "")
	set("owner", q.Owner, q.Owner != "")
	set("order", "oldest", q.Oldest)
	set("after", q.After, q.After != "")
	set("limit", strconv.Itoa(q.Limit), q.Limit != 0)
	return page, c.json(ctx, "GET", "/tasks?"+v.Encode(), nil, &page)
}

// Attempts returns the attempts at a task.
func (c *Client) Attempts(ctx context.Context, id string) ([]taskhttp.Attempt, error) {
	var v struct{ Attempts []taskhttp.Attempt }
	return v.Attempts, c.json(ctx, "GET", taskPath(id)+"/attempts", nil, &v)
}

// Input returns what a task was created with, nil if it has no input.
func (c *Client) Input(ctx context.Context, id string) (raw json.RawMessage, err error) {
	resp, body, err := c.do(ctx, "GET", taskPath(id)+"/input", nil)
	if err != nil || resp.StatusCode == http.StatusNoContent {
		return nil, err
	}
	return body, nil
}

// Cancel cancels a task, and returns it as it is then.
func (c *Client) Cancel(ctx context.Context, id string) (task taskhttp.Task, err error) {
	return task, c.json(ctx, "POST", taskPath(id)+"/cancel", nil, &task)
}

// Retry takes a task from Error back to Pending, and returns it as it is then.
func (c *Client) Retry(ctx context.Context, id string) (task taskhttp.Task, err error) {
	return task, c.json(ctx, "POST", taskPath(id)+"/retry", nil, &task)
}

// Delete deletes a task.
func (c *Client) Delete(ctx context.Context, id string) error {
	_, _, err := c.do(ctx, "DELETE", taskPath(id), nil)
	return err
}

// Stats returns how things are going.
func (c *Client) Stats(ctx context.Context) (s taskhttp.Stats, err error) {
	return s, c.json(ctx, "GET", "/stats", nil, &s)
}

// pollTime is how long a long poll of the client asks to wait.
const pollTime = 30 * time.Second

// Result waits until a task is done, and stores its result in the value that v points to, as [json.Unmarshal] does, unless v is nil.
// It returns [ErrFailed] if the task has failed or was cancelled, and [tasks.ErrNoResult] if it was completed without a result that v wants.
func (c *Client) Result(ctx context.Context, id string, v any) error {
	for {
		began := time.Now()
		resp, body, err := c.do(ctx, "GET", taskPath(id)+"/result?wait="+pollTime.String(), nil)
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusAccepted:
			// A server that shuts down, or lets nobody wait for that long, answers early.
			if early := time.Since(began) < time.Second; early {
				if err := sleep(ctx, time.Second); err != nil {
					return err
				}
			}
			continue
		case v == nil:
			return nil
		case resp.StatusCode == http.StatusNoContent:
			return fmt.Errorf("task %q: %w", id, tasks.ErrNoResult)
		}
		if err := json.Unmarshal(body, v); err != nil {
			return fmt.Errorf("task %q: decode result: %w", id, err)
		}
		return nil
	}
}

func taskPath(id string) string { return "/tasks/" + url.PathEscape(id) }

// json makes a request, and decodes the answer.
func (c *Client) json(ctx context.Context, method, path string, body []byte, v any, opts ...CallOption) error {
	_, answer, err := c.do(ctx, method, path, body, opts...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", method, path, err)
	}
	return nil
}

// do makes a request, again where the server was busy, and reads the answer.
func (c *Client) do(ctx context.Context, method, path string, body []byte, opts ...CallOption) (*http.Response, []byte, error) {
	for n := 0; ; n++ {
		resp, answer, err := c.once(ctx, method, path, body, opts)
		again, after := c.again(resp, err, method, opts)
		if err == nil || !again || n >= c.retries || ctx.Err() != nil {
			return resp, answer, err
		}
		if e := sleep(ctx, after); e != nil {
			return resp, answer, err
		}
	}
}

// again reports whether a request may be made again, and after which time. One that changes something may where the server has refused it,
// or where it can be told from another by its key.
func (c *Client) again(resp *http.Response, err error, method string, opts []CallOption) (bool, time.Duration) {
	if err == nil {
		return false, 0
	}
	if resp == nil {
		return method == "GET" || len(opts) > 0, time.Second
	}
	seconds, e := strconv.Atoi(resp.Header.Get("Retry-After"))
	if e != nil || seconds < 0 || resp.StatusCode == http.StatusConflict && len(opts) == 0 {
		return false, 0
	}
	return true, time.Duration(min(seconds, 60)) * time.Second
}

func (c *Client) once(ctx context.Context, method, path string, body []byte, opts []CallOption) (*http.Response, []byte, error) {
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range opts {
		o(req)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: read answer: %w", method, path, err)
	}
	return resp, answer, problem(method, path, resp, answer)
}

func (c *Client) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// problem returns the error that an answer is.
func problem(method, path string, resp *http.Response, answer []byte) error {
	if resp.StatusCode < 400 {
		return nil
	}
	path, _, _ = strings.Cut(path, "?")
	p := &taskhttp.Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		if err := json.Unmarshal(answer, p); err != nil {
			return fmt.Errorf("%s %s: %s: decode problem: %w", method, path, resp.Status, err)
		}
	}
	if kind := kindOf(p); kind != nil {
		return fmt.Errorf("%s %s: %w: %w", method, path, kind, p)
	}
	return fmt.Errorf("%s %s: %w", method, path, p)
}

// kindOf returns what a problem is for errors.Is, or nil.
func kindOf(p *taskhttp.Problem) error {
	switch p.Kind() {
	case "task-failed":
		return ErrFailed
	case "transition":
		return tasks.ErrTransition
	case "exists":
		return tasks.ErrExists
	case "idempotency-key-reused":
		return tasks.ErrInputDiffers
	}
	switch p.Status {
	case http.StatusNotFound:
		return tasks.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrUnauthorized
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		return tasks.ErrInvalid
	case http.StatusRequestEntityTooLarge:
		return tasks.ErrTooLarge
	case http.StatusGatewayTimeout:
		return tasks.ErrOutcomeUnknown
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return tasks.ErrBusy
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
