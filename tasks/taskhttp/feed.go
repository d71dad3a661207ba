package taskhttp

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

const (
	// feedBatch is how many changes are looked at together.
	feedBatch = 500
	// feedPause is how long the feed lets changes gather after it has told some, so that a task which changes often is told of once.
	feedPause = 20 * time.Millisecond
	// feedKept is how many events are kept for those who fall behind or resume.
	feedKept = 4096
	// feedOwners is how many owners of tasks are known, to tell them when theirs are deleted.
	feedOwners = 20_000
	// feedRetry is how long the feed waits after an error.
	feedRetry = time.Second
)

// feed finds out which tasks change, once for all streams. It runs while there is one.
type feed struct {
	h *Handler

	mu       sync.Mutex
	streams  int               // guarded by mu
	running  bool              // guarded by mu
	last     int64             // the change up to which all is told; guarded by mu
	numbered bool              // changes have numbers; guarded by mu
	kept     []*batch          // the last that were told, without a gap; guarded by mu
	events   int               // in kept; guarded by mu
	changed  chan struct{}     // closed when there is more; guarded by mu
	owners   map[string]string // by task; guarded by mu

	// For tests:
	written atomic.Int64 // texts that were put together for somebody
	rests   atomic.Bool  // all is told, and it waits for a change
}

// position is where a stream is in the feed: after a change, which has a number if the store has a log of changes.
type position struct {
	at       int64
	numbered bool
}

func (p position) String() string {
	if !p.numbered {
		return ""
	}
	return strconv.FormatInt(p.at, 10)
}

func (f *feed) init(h *Handler) { f.h, f.last, f.changed = h, -1, make(chan struct{}) }

// join has the feed run. It returns where a stream is that resumes after a change, or begins now if that is negative.
// While the feed runs, that costs no look at the store.
func (f *feed) join(ctx context.Context, after int64) (at position, leave func(), err error) {
	at, ok := f.told()
	if !ok {
		c, err := f.h.store.Changes(ctx, -1, 1)
		at = position{c.Last, true}
		if errors.Is(err, tasks.ErrNoChanges) {
			at.numbered, err = false, nil
		}
		if err != nil {
			return at, nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last < 0 {
		f.last = at.at
	}
	f.numbered = at.numbered
	if !at.numbered {
		at.at = f.last
	}
	if after >= 0 && at.numbered {
		at.at = after
	}
	f.streams++
	if !f.running {
		f.running = true
		go f.run()
	}
	return at, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.streams--
	}, nil
}

// told returns up to where all is told, if the feed runs.
func (f *feed) told() (at position, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return position{f.last, f.numbered}, f.running && f.last >= 0
}

// after returns what a stream hasn't been told, or a channel that is closed when there is something.
func (f *feed) after(ctx context.Context, at position) (list []*batch, changed <-chan struct{}) {
	f.mu.Lock()
	first, last := f.last, f.last
	if len(f.kept) > 0 {
		first = f.kept[0].after
	}
	if at.at >= first || !at.numbered {
		// Most have been told all but the last.
		n := len(f.kept)
		for n > 0 && f.kept[n-1].last > at.at {
			n--
		}
		list = slices.Clone(f.kept[n:])
		changed = f.changed
		if !at.numbered && at.at < first && len(list) > 0 {
			list[0] = &batch{after: at.at, last: list[0].last, lost: true}
		}
		f.mu.Unlock()
		if len(list) == 0 && at.numbered && at.at > last {
			// It is ahead of the feed, or of a file that is an older copy.
			if c, err := f.h.store.Changes(ctx, at.at, 1); err == nil && c.Lost {
				list = []*batch{{after: c.Last, last: c.Last, numbered: true, lost: true}}
			}
		}
		return list, changed
	}
	changed = f.changed
	f.mu.Unlock()
	// What it has missed isn't kept any more: but the store's log may have it.
	b, err := f.h.load(ctx, at.at)
	if err != nil || b == nil {
		b = &batch{after: at.at, last: first, numbered: true, lost: true}
	}
	return []*batch{b}, changed
}

// run tells what changes as long as somebody listens.
func (f *feed) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var told time.Time // when something was told last
	for {
		// Before the look, so that no change is missed.
		changed, stop := f.h.store.Notify("")
		if !f.goOn() {
			stop()
			return
		}
		more, err := f.next(ctx)
		pause := feedPause
		switch {
		case err != nil:
			f.h.log.Warn("can't look for changes", "error", err)
			pause = feedRetry
		case more:
			told = time.Now()
		}
		f.rests.Store(!more && err == nil)
		for !more && err == nil && !f.await(changed) {
			if !f.goOn() {
				stop()
				return
			}
		}
		f.rests.Store(false)
		stop()
		if err == nil {
			pause -= time.Since(told)
		}
		if pause > 0 {
			f.await(after(pause))
		}
	}
}

// after returns a channel that is closed after a time.
func after(d time.Duration) <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(d, func() { close(c) })
	return c
}

// feedIdle is how soon the feed notices that nobody listens any more.
const feedIdle = 10 * time.Second

// await reports whether something came, before the feed has reason to look whether it is to go on.
func (f *feed) await(c <-chan struct{}) bool {
	idle := time.NewTimer(feedIdle)
	defer idle.Stop()
	select {
	case <-c:
		return true
	case <-idle.C:
	case <-f.h.closing:
	}
	return false
}

// goOn reports whether somebody listens. If not, the next one has to start the feed again.
func (f *feed) goOn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = f.streams > 0 && !f.h.closed()
	return f.running
}

// next tells the next changes, and reports whether there may be more.
func (f *feed) next(ctx context.Context) (more bool, err error) {
	f.mu.Lock()
	last := f.last
	f.mu.Unlock()
	b, err := f.h.load(ctx, last)
	if errors.Is(err, tasks.ErrNoChanges) {
		b, err = &batch{after: last, last: last + 1, lost: true}, f.h.durable(ctx)
	}
	if err != nil || b == nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = b.last
	if b.lost {
		f.kept, f.events = nil, 0
	}
	if n := len(f.kept); n > 0 {
		f.kept[n-1].share(nil)
	}
	b.share(&f.written)
	f.kept, f.events = append(f.kept, b), f.events+len(b.tasks)
	for len(f.kept) > 1 && (f.events > feedKept || len(f.kept) > feedKept) {
		f.events -= len(f.kept[0].tasks)
		f.kept[0] = nil
		f.kept = f.kept[1:]
	}
	close(f.changed)
	f.changed = make(chan struct{})
	return b.numbered, nil
}

// load returns the changes after one, or nil if there are none. They are durable.
func (h *Handler) load(ctx context.Context, after int64) (*batch, error) {
	c, err := h.store.Changes(ctx, after, feedBatch)
	if err != nil {
		return nil, err
	}
	if !c.Lost && len(c.IDs) == 0 {
		return nil, nil
	}
	b := &batch{after: after, last: c.Last, numbered: true, lost: c.Lost}
	if c.Lost {
		return b, h.durable(ctx)
	}
	infos, errs := h.looks(ctx, c.IDs)
	for i, id := range c.IDs {
		k, err := h.changeOf(id, position{c.Numbers[i], i+1 == len(c.IDs) || c.Numbers[i+1] > c.Numbers[i]}, infos[i], errs[i])
		if errors.Is(err, tasks.ErrUnreadable) {
			// Another look would find no more.
			h.log.Warn("a task that has changed can't be read", "task", id, "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		b.tasks = append(b.tasks, k)
	}
	return b, nil
}

// looks looks at tasks together. What it returns is durable.
func (h *Handler) looks(ctx context.Context, ids []string) ([]tasks.Info, []error) {
	if !h.unsettled {
		return h.store.StatusesSettled(ctx, ids)
	}
	infos, errs := make([]tasks.Info, len(ids)), make([]error, len(ids))
	for i, id := range ids {
		infos[i], errs[i] = h.store.Status(ctx, id)
	}
	return infos, errs
}

// changeOf returns what has become of a task that has changed, given what a look at it has found.
// Who is told of it is at a position, by whose number one gets on who loses the connection again and again,
// however many changes are told together.
func (h *Handler) changeOf(id string, at position, t tasks.Info, err error) (c change, _ error) {
	if errors.Is(err, tasks.ErrNotFound) || errors.Is(err, tasks.ErrInvalid) {
		owner, known := h.feed.ownerOf(id)
		return change{tasks.Info{ID: id, Owner: owner}, !known, at.at, event("deleted", at.String(), deletedData(id))}, nil
	}
	if err != nil {
		return c, err
	}
	h.feed.saw(t)
	body, err := h.bodies.get(t)
	if err != nil {
		return c, err
	}
	return change{tasks.Info{ID: t.ID, Owner: t.Owner}, false, at.at, event("task", at.String(), bytes.TrimSpace(body.text))}, nil
}

// saw remembers whose a task is, so that its owner can be told when it is deleted.
func (f *feed) saw(t tasks.Info) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owners == nil || len(f.owners) >= feedOwners {
		f.owners = map[string]string{}
	}
	f.owners[t.ID] = t.Owner
}

func (f *feed) ownerOf(id string) (owner string, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	owner, known = f.owners[id]
	return owner, known
}
