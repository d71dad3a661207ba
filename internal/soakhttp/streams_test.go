package soakhttp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
)

// kinds are the sorts of clients.
var kinds = []struct {
	name    string
	clients int
	cycle   func(*client, context.Context) error // until it is done; those that stay longer go when the context is done
}{
	{"create, poll, read", 4, (*client).live},
	{"idempotency key", 2, (*client).repeat},
	{"look", 2, (*client).look},
	{"stats", 1, (*client).lookAtStats},
	{"long poll that is abandoned", 3, (*client).abandon},
	{"cancel, retry, delete", 1, (*client).cancel},
	{"requests that are cancelled", 2, (*client).hurry},
	{"slow body", 2, (*client).drip},
	{"body that is cut", 1, (*client).cut},
	{"flood", 1, (*client).flood},
	{"stream that stalls", 3, (*client).stall},
	{"stream of a task", 2, (*client).follow},
}

// stall opens a stream of events from the beginning, and never reads.
func (c *client) stall(over context.Context) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetReadBuffer(4 << 10)
	text := head("GET", "/events", 0)
	if rand.IntN(2) == 0 {
		text = strings.TrimSuffix(text, "\r\n") + "Last-Event-ID: 1\r\n\r\n"
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	most := 500
	if rand.IntN(5) == 0 {
		most = 6000
	}
	pause(over, most)
	return nil
}

// follow reads a task's stream until it is done, with breaks.
func (c *client) follow(context.Context) error {
	id := c.newID("followed")
	body, result := newTask(id, input{Millis: 5 + rand.IntN(50)}, "followed")
	if _, err := c.do("POST", "/tasks", body, []int{201}); err != nil {
		return err
	}
	c.noteAcked(id)
	last, done := "", false
	for !done && c.ctx.Err() == nil {
		seen := 0
		err := c.stream(c.ctx, "/tasks/"+id+"/events", &last, func(name string, t taskhttp.Task) bool {
			seen++
			done = t.Status == tasks.Completed
			return !done && (name != "task" || rand.IntN(2) == 0)
		})
		if err != nil {
			return err
		}
		if !done && c.ctx.Err() == nil && seen == 0 {
			// All of it may have been told: then nothing comes any more, and the connection was closed by the other end.
			return fmt.Errorf("the stream of %s has ended without an event", id)
		}
	}
	return c.read(id, result)
}

// stream reads events until the function returns false, the context is done, or the stream ends.
func (c *client) stream(ctx context.Context, path string, last *string, each func(name string, t taskhttp.Task) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var headers []string
	if *last != "" {
		headers = []string{"Last-Event-ID", *last}
	}
	req, err := c.request(ctx, "GET", path, "", headers...)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable {
		c.count("answers of status 503")
		pause(ctx, 200)
		return nil
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("GET %s: status %d: %s", path, resp.StatusCode, text)
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	var name, data, id string
	for in.Scan() {
		field, value, _ := strings.Cut(in.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "data":
			data = value
		case "id":
			id = value
		case "":
			if id != "" {
				*last = id
			}
			if data != "" {
				var t taskhttp.Task
				if err := json.Unmarshal([]byte(data), &t); err != nil {
					return fmt.Errorf("event %s: %w", data, err)
				}
				if !each(name, t) {
					return nil
				}
			}
			name, data, id = "", "", ""
		}
	}
	return nil
}

// expectation are the tasks that a resumer hasn't heard the end of, and since when.
type expectation map[string]time.Time

// expected notes that all resumers are to hear of a task.
func (s *soak) expected(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.expect {
		e[id] = time.Now()
	}
}

// resumer reads all events. Its connection breaks again and again, and it goes on after what it has heard.
type resumer struct {
	*client
	last  string
	heard time.Time // when an event came last; guarded by mu
}

// startResumers has some hear events until the function is called, and until they have heard of all tasks then.
func (s *soak) startResumers() (end func()) {
	ending := make(chan struct{})
	var all sync.WaitGroup
	var connected sync.WaitGroup
	for range 3 {
		r := &resumer{client: newClient(s)}
		connected.Add(1)
		all.Go(func() {
			defer r.close()
			if err := r.hear(connected.Done, ending); err != nil {
				s.fail(fmt.Errorf("stream that resumes: %w", err))
			}
		})
	}
	connected.Wait()
	return func() { close(ending); all.Wait() }
}

// hear reads events. It calls the function once it knows from where on.
func (r *resumer) hear(connected func(), ending <-chan struct{}) error {
	var once sync.Once
	begin := func() {
		once.Do(func() {
			r.mu.Lock()
			r.expect[r] = expectation{}
			r.mu.Unlock()
			connected()
		})
	}
	defer begin()
	defer func() {
		r.mu.Lock()
		delete(r.expect, r)
		r.mu.Unlock()
	}()
	for r.ctx.Err() == nil {
		if left, err := r.waiting(); err != nil {
			return err
		} else if left == 0 && over(ending) {
			return nil
		}
		ctx, cancel := context.WithTimeout(r.ctx, time.Duration(50+rand.IntN(400))*time.Millisecond)
		n := 1 + rand.IntN(100)
		err := r.events(ctx, begin, func(name string, t taskhttp.Task) bool {
			n--
			r.mu.Lock()
			defer r.mu.Unlock()
			r.heard = time.Now()
			switch {
			case name == "reset":
				r.counts["resets"]++
				clear(r.expect[r])
			case name == "deleted" || t.Status == tasks.Completed:
				delete(r.expect[r], t.ID)
			}
			return n > 0
		})
		cancel()
		if err != nil {
			return err
		}
		r.count("stream that resumes")
		pause(r.ctx, 100)
		if rand.IntN(4) == 0 {
			r.close() // the next one is a connection of its own
		}
	}
	return nil
}

// events opens the stream where it broke off. It is there from the first id on.
func (r *resumer) events(ctx context.Context, begin func(), each func(string, taskhttp.Task) bool) error {
	if r.last != "" {
		begin()
		return r.stream(ctx, "/events", &r.last, each)
	}
	// The first time: the number where it begins is all that is wanted.
	ctx, cancel := context.WithTimeout(r.ctx, r.patience)
	defer cancel()
	req, err := r.request(ctx, "GET", "/events", "")
	if err != nil {
		return err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		if id, ok := strings.CutPrefix(in.Text(), "id: "); ok {
			r.last = id
			return nil
		}
	}
	return errors.New("a stream has no id to begin with")
}

// waiting returns how many tasks weren't heard of yet. One is lost once nothing is heard any more: on a busy machine who reads a little
// at a time may be far behind.
func (r *resumer) waiting() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, at := range r.expect[r] {
		if most := r.patience / 2; time.Since(at) > most && time.Since(r.heard) > most { // before it is taken to hang
			return 0, fmt.Errorf("an event was lost: task %s was created %v ago, and isn't heard of", id, time.Since(at).Round(time.Millisecond))
		}
	}
	return len(r.expect[r]), nil
}

func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// stayUntilTheEnd opens streams and polls, read or not, which are there when the server ends. The function returns when they are gone.
func (s *soak) stayUntilTheEnd() (gone func()) {
	c := newClient(s)
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(s.ctx)
	id, _, err := c.resting()
	if err != nil {
		s.fail(err)
	}
	begun := make(chan struct{}, 40)
	for i := range 40 {
		all.Go(func() {
			if i%2 == 0 {
				begun <- struct{}{}
				_, _ = c.once(ctx, "GET", "/tasks/"+id+"/result?wait=5s", "")
				return
			}
			conn, err := c.dial()
			if err == nil {
				defer conn.Close()
				_, _ = io.WriteString(conn, head("GET", "/events", 0))
			}
			begun <- struct{}{}
			<-ctx.Done()
		})
	}
	for range 40 {
		<-begun
	}
	return func() { cancel(); all.Wait(); c.close() }
}
