package soakhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
)

// client is one that comes and goes. It has connections of its own.
type client struct {
	*soak
	http *http.Client
}

func newClient(s *soak) *client {
	return &client{s, &http.Client{Transport: &http.Transport{}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// pause waits for up to so many milliseconds.
func pause(ctx context.Context, millis int) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(rand.IntN(millis)+1) * time.Millisecond):
	}
}

func (c *client) request(ctx context.Context, method, path, body string, headers ...string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.p.addr+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req, nil
}

// answer is what a request is answered with.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// once makes a request.
func (c *client) once(ctx context.Context, method, path, body string, headers ...string) (a answer, err error) {
	req, err := c.request(ctx, method, path, body, headers...)
	if err != nil {
		return a, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a = answer{resp.StatusCode, resp.Header, nil}
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// do makes a request, again while the server is busy, and wants one of the statuses.
func (c *client) do(method, path, body string, want []int, headers ...string) (a answer, err error) {
	for {
		if a, err = c.once(c.ctx, method, path, body, headers...); err != nil {
			return a, err
		}
		for _, status := range want {
			if a.status == status {
				return a, nil
			}
		}
		if a.status != http.StatusServiceUnavailable && a.status != http.StatusTooManyRequests {
			return a, fmt.Errorf("%s %s: status %d: %s", method, path, a.status, a.body)
		}
		c.count(fmt.Sprint("answers of status ", a.status))
		pause(c.ctx, 200)
	}
}

// newID returns an id that no other task has.
func (s *soak) newID(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	return fmt.Sprintf("%s-%d", prefix, s.number)
}

// someID returns the id of a task that was created lately.
func (s *soak) someID() (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.acked {
		return id, true
	}
	return "", false
}

// noteAcked notes that a task was acknowledged as created. Those of a while ago are forgotten, because the server may clean them up.
func (s *soak) noteAcked(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked[id] = time.Now()
	if s.number%100 == 0 {
		for id, at := range s.acked {
			if time.Since(at) > retention/2 {
				delete(s.acked, id)
			}
		}
	}
}

func (s *soak) noteDeleted(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.acked, id)
}

// checkKept looks for each task that was acknowledged lately.
func (s *soak) checkKept() error {
	s.mu.Lock()
	var ids []string
	for id, at := range s.acked {
		if time.Since(at) < retention/2 {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	c := newClient(s)
	defer c.close()
	for _, id := range ids {
		if _, err := c.do("GET", "/tasks/"+id, "", []int{200}); err != nil {
			return fmt.Errorf("a task that was acknowledged isn't there: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts["tasks that were there at the end"] += len(ids)
	return nil
}

// newTask returns a request's body, and the result that the task will have.
func newTask(id string, in input, label string) (body, result string) {
	in.Text = strings.Repeat("é<&", rand.IntN(2000))
	raw, _ := json.Marshal(in)
	text, _ := json.Marshal(taskhttp.NewTask{ID: id, Type: tasks.Document, Input: raw, Labels: map[string]string{"sort": label}, Backoff: taskhttp.Duration(100 * time.Millisecond)})
	return string(text), string(raw)
}

// read waits for a task's result, and checks it.
func (c *client) read(id, result string) error {
	for {
		a, err := c.do("GET", "/tasks/"+id+"/result?wait=5s", "", []int{200, 202, 404})
		if err != nil {
			return err
		}
		switch a.status {
		case 200:
			var want, is bytes.Buffer
			if err := errors.Join(json.Compact(&want, []byte(result)), json.Compact(&is, a.body)); err != nil {
				return fmt.Errorf("%w: %.200s", err, a.body)
			}
			var w, i input
			if errors.Join(json.Unmarshal(want.Bytes(), &w), json.Unmarshal(is.Bytes(), &i)) != nil || w != i {
				return fmt.Errorf("result of %s: %.200s, want %.200s", id, a.body, result)
			}
			return nil
		case 404:
			return fmt.Errorf("task %s was acknowledged, and is gone: %s", id, a.body)
		}
	}
}

// live creates a task, polls it, and reads its result.
func (c *client) live(context.Context) error {
	in := input{Millis: rand.IntN(30)}
	if rand.IntN(10) == 0 {
		in.Fails = 1
	}
	id := c.newID("life")
	body, result := newTask(id, in, "life")
	c.expected(id)
	if _, err := c.do("POST", "/tasks", body, []int{201}); err != nil {
		return err
	}
	c.noteAcked(id)
	for range rand.IntN(3) {
		a, err := c.do("GET", "/tasks/"+id, "", []int{200, 404})
		if err != nil {
			return err
		}
		if a.status == 404 {
			return fmt.Errorf("task %s was acknowledged, and is gone", id)
		}
		if _, err := c.do("GET", "/tasks/"+id, "", []int{200, 304}, "If-None-Match", a.header.Get("ETag")); err != nil {
			return err
		}
	}
	return c.read(id, result)
}

// repeat creates a task with an idempotency key, again and again because it gives up the first times. There is one task then.
func (c *client) repeat(context.Context) error {
	id := c.newID("once")
	body, result := newTask("", input{}, id)
	key := []string{"Idempotency-Key", id}
	for range rand.IntN(3) {
		ctx, cancel := context.WithTimeout(c.ctx, time.Duration(rand.IntN(15))*time.Millisecond)
		_, _ = c.once(ctx, "POST", "/tasks", body, key...)
		cancel()
	}
	var first string
	for range 1 + rand.IntN(2) {
		a, err := c.do("POST", "/tasks", body, []int{201, 409}, key...)
		for begun := time.Now(); err == nil && a.status == 409; { // the one that was given up is still in flight
			if time.Since(begun) > c.patience/2 {
				return fmt.Errorf("key %s: for %v: %s", id, c.patience/2, a.body)
			}
			pause(c.ctx, 50)
			a, err = c.do("POST", "/tasks", body, []int{201, 409}, key...)
		}
		if err != nil {
			return err
		}
		var t taskhttp.Task
		if err := json.Unmarshal(a.body, &t); err != nil {
			return err
		}
		if first != "" && first != t.ID {
			return fmt.Errorf("key %s: tasks %s and %s", id, first, t.ID)
		}
		first = t.ID
	}
	c.noteAcked(first)
	if err := c.read(first, result); err != nil {
		return err
	}
	a, err := c.do("GET", "/tasks?label=sort:"+id, "", []int{200})
	if err != nil {
		return err
	}
	var page taskhttp.Page
	if err := json.Unmarshal(a.body, &page); err != nil || len(page.Tasks) != 1 || page.Tasks[0].ID != first {
		return fmt.Errorf("key %s: want the one task that was acknowledged, %s: %.500s, %w", id, first, a.body, err)
	}
	return nil
}

// look looks at what there is.
func (c *client) look(context.Context) error {
	paths := []string{"/tasks?limit=20", "/tasks?type=document&status=completed&order=newest&limit=5", "/tasks?label=sort:life&limit=5", "/healthz", "/readyz", "/openapi.json"}
	if id, ok := c.someID(); ok {
		paths = append(paths, "/tasks/"+id, "/tasks/"+id+"/attempts", "/tasks/"+id+"/input", "/tasks/"+id+"/result?partial=true")
	}
	for range 1 + rand.IntN(10) {
		if _, err := c.do("GET", paths[rand.IntN(len(paths))], "", []int{200, 202, 204, 404, 409}); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) lookAtStats(context.Context) error {
	_, err := c.do("GET", "/stats", "", []int{200})
	return err
}

// resting returns a task that isn't run, which is deleted by the function.
func (c *client) resting() (id string, gone func() error, err error) {
	id = c.newID("rests")
	later := time.Now().Add(time.Hour)
	body, _ := json.Marshal(taskhttp.NewTask{ID: id, Type: tasks.Form, RunAt: &later})
	if _, err = c.do("POST", "/tasks", string(body), []int{201}); err != nil {
		return id, nil, err
	}
	c.noteAcked(id)
	return id, func() error {
		c.noteDeleted(id)
		_, err := c.do("DELETE", "/tasks/"+id, "", []int{204})
		return err
	}, nil
}

// abandon waits for what doesn't happen, and goes before it is told so.
func (c *client) abandon(over context.Context) error {
	id, gone, err := c.resting()
	if err != nil {
		return err
	}
	for range 1 + rand.IntN(5) {
		a, err := c.do("GET", "/tasks/"+id, "", []int{200})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(over, time.Duration(rand.IntN(200))*time.Millisecond)
		a, err = c.once(ctx, "GET", "/tasks/"+id, "", "Prefer", "wait=5", "If-None-Match", a.header.Get("ETag"))
		cancel()
		if err == nil && a.status != 200 && a.status != 304 && a.status != 503 && a.status != 429 {
			return fmt.Errorf("a long poll: status %d: %s", a.status, a.body)
		}
	}
	return gone()
}

// cancel cancels a task, tries it again, and deletes it.
func (c *client) cancel(context.Context) error {
	id, gone, err := c.resting()
	if err != nil {
		return err
	}
	for _, what := range []string{"cancel", "retry", "cancel"} {
		if _, err := c.do("POST", "/tasks/"+id+"/"+what, "", []int{200}); err != nil {
			return err
		}
		if what == "retry" {
			break // it would run now, and has no input
		}
	}
	return gone()
}

// hurry makes requests that it doesn't wait for.
func (c *client) hurry(over context.Context) error {
	for range 5 {
		ctx, cancel := context.WithTimeout(over, time.Duration(rand.IntN(8000))*time.Microsecond)
		switch rand.IntN(5) {
		case 0:
			_, _ = c.once(ctx, "GET", "/tasks?limit=100", "")
		case 1:
			_, _ = c.once(ctx, "GET", "/stats", "")
		case 2:
			body, _ := newTask("", input{}, "hurried")
			_, _ = c.once(ctx, "POST", "/tasks", body)
		case 3:
			_, _ = c.once(ctx, "GET", "/events", "")
		case 4:
			if id, ok := c.someID(); ok {
				_, _ = c.once(ctx, "GET", "/tasks/"+id+"/result?wait=5s", "")
			}
		}
		cancel()
	}
	return nil
}

// dial opens a connection that HTTP's rules don't bind.
func (c *client) dial() (*net.TCPConn, error) {
	conn, err := net.Dial("tcp", c.p.addr)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func head(method, path string, length int) string {
	text := method + " " + path + " HTTP/1.1\r\nHost: soak\r\nAuthorization: Bearer " + secret + "\r\n"
	if length > 0 {
		text += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", length)
	}
	return text + "\r\n"
}

// drip sends a body slowly: in time, or too slowly.
func (c *client) drip(over context.Context) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	body, _ := newTask("", input{}, "dripped")
	if _, err := io.WriteString(conn, head("POST", "/tasks", len(body))); err != nil {
		return err
	}
	each := 100 * (1 + rand.IntN(3))
	for n := len(body)/10 + 1; len(body) > 0 && over.Err() == nil; {
		n = min(n, len(body))
		if _, err := io.WriteString(conn, body[:n]); err != nil {
			return nil // it was too slow
		}
		body = body[n:]
		pause(over, 2*each)
	}
	if len(body) > 0 {
		return nil
	}
	return c.anyAnswer(conn)
}

// anyAnswer takes off what the server says, if it says anything, and wants it to end.
func (c *client) anyAnswer(conn *net.TCPConn) error {
	_ = conn.SetReadDeadline(time.Now().Add(c.patience))
	_ = conn.CloseWrite()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, net.ErrClosed) || isTimeout(err) {
		return fmt.Errorf("a connection whose client has said all isn't closed: %w", err)
	}
	return nil
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// cut goes in the middle of a body, in one of the ways that there are.
func (c *client) cut(over context.Context) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	body, _ := newTask("", input{}, "cut")
	if _, err := io.WriteString(conn, head("POST", "/tasks", len(body))+body[:rand.IntN(len(body))]); err != nil {
		return err
	}
	pause(over, 50)
	switch rand.IntN(3) {
	case 0:
		_ = conn.SetLinger(0) // a reset
	case 1:
		return c.anyAnswer(conn)
	}
	return nil
}

// flood opens many connections at once, which say nothing, a part of a request, or one whose answer they don't read.
func (c *client) flood(over context.Context) error {
	var all []*net.TCPConn
	defer func() {
		for _, conn := range all {
			conn.Close()
		}
	}()
	for range 20 + rand.IntN(60) {
		conn, err := c.dial()
		if err != nil {
			return err
		}
		all = append(all, conn)
		text := head("GET", "/tasks?limit=10", 0)
		switch rand.IntN(3) {
		case 0:
			text = ""
		case 1:
			text = text[:rand.IntN(len(text))]
		}
		if _, err := io.WriteString(conn, text); err != nil {
			return err
		}
	}
	pause(over, 300)
	return nil
}
