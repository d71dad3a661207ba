package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
)

// Event says that a task has changed.
type Event struct {
	// Task is the task as it is, but for one that is deleted: only its ID is set then.
	Task    taskhttp.Task
	Deleted bool
	// Reset is set, and nothing else, where changes were missed that nobody knows any more: any task may have changed.
	Reset bool
}

// Watch yields a task as it is, and again each time that it has changed. It ends with an error: [tasks.ErrNotFound] if there is no such task,
// or none any more, or the context's error, or that of a connection which couldn't be made again: see [Retries].
func (c *Client) Watch(ctx context.Context, id string) iter.Seq2[taskhttp.Task, error] {
	return func(yield func(taskhttp.Task, error) bool) {
		for e, err := range c.stream(ctx, taskPath(id)+"/events") {
			if err == nil && e.Deleted {
				err = fmt.Errorf("task %q: %w", id, tasks.ErrNotFound)
			}
			if !yield(e.Task, err) || err != nil {
				return
			}
		}
	}
}

// Events yields each task that changes from now on, of those that are seen. It ends with an error, as Watch does.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] { return c.stream(ctx, "/events") }

// stream yields events. Where the connection breaks it goes on after the last one.
func (c *Client) stream(ctx context.Context, path string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		last := ""
		for failed := 0; ; {
			had, err := c.connection(ctx, path, &last, func(e Event) bool { return yield(e, nil) })
			if errors.Is(err, errStop) {
				return
			}
			if had {
				failed = 0
			}
			var p *taskhttp.Problem
			answered := errors.As(err, &p) && p.Status < 500 && p.Status != http.StatusTooManyRequests
			if failed++; answered || failed > c.retries || ctx.Err() != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				yield(Event{}, err)
				return
			}
			if err := sleep(ctx, reconnectAfter<<min(failed-1, 6)); err != nil {
				yield(Event{}, err)
				return
			}
		}
	}
}

// reconnectAfter is how long a stream waits before it connects again, doubled with each connection that brought nothing.
const reconnectAfter = 250 * time.Millisecond

// errStop is that the caller wants no more events.
var errStop = errors.New("stop")

// maxEvent is how long a line of an event may be: a task has no input and no result in it.
const maxEvent = 1 << 20

// connection reads the events of one connection. It reports whether there were any.
func (c *Client) connection(ctx context.Context, path string, last *string, yield func(Event) bool) (had bool, err error) {
	req, err := c.request(ctx, "GET", path, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if *last != "" {
		req.Header.Set("Last-Event-ID", *last)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
		if err != nil {
			return false, err
		}
		return false, problem("GET", path, resp, answer)
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, maxEvent)
	var name, data, id string
	for in.Scan() {
		field, value, _ := strings.Cut(in.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			data = value
		case "id":
			id = value
		}
		if in.Text() != "" {
			continue
		}
		// The end of an event, if there is one. Its id counts in any case.
		if id != "" {
			*last = id
		}
		if data != "" {
			e := Event{Deleted: name == "deleted", Reset: name == "reset"}
			if err := json.Unmarshal([]byte(data), &e.Task); err != nil {
				return had, fmt.Errorf("GET %s: decode event: %w", path, err)
			}
			had = true
			if !yield(e) {
				return had, errStop
			}
		}
		name, data, id = "", "", ""
	}
	if err := in.Err(); err != nil {
		return had, err
	}
	return had, fmt.Errorf("GET %s: %w", path, io.ErrUnexpectedEOF)
}
