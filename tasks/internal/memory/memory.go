// Package memory has a [tasks.Backend] in memory, for tests: the conformance suite shall not know SQLite only,
// and a simple model shows where SQLite's goes wrong.
package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// DB holds tasks and a cache.
type DB struct {
	now func() time.Time

	mu      sync.Mutex
	tasks   map[string]*task                      // guarded by mu
	cache   map[tasks.CacheKey]*entry             // guarded by mu
	limits  map[tasks.Type]*limit                 // guarded by mu
	seq     int                                   // of tasks, as they were created; guarded by mu
	waiting map[*backend]map[chan struct{}]string // ids, or "" for any; guarded by mu
}

// New returns an empty DB.
func New(now func() time.Time) *DB {
	return &DB{now: now, tasks: map[string]*task{}, cache: map[tasks.CacheKey]*entry{}, limits: map[tasks.Type]*limit{},
		waiting: map[*backend]map[chan struct{}]string{}}
}

// Backend returns one of any number of backends of the same data.
func (d *DB) Backend() tasks.Backend { return &backend{DB: d} }

type backend struct {
	*DB
	closed bool // guarded by mu
}

type task struct {
	tasks.Result
	seq                   int
	new                   tasks.Creation
	lease, worker         string
	leaseUntil            time.Time
	suspect, held, shared bool // held: it was suspect when it was claimed
	steps                 map[string][]byte
	used                  time.Time
	attempts              []tasks.Attempt
}

// begin locks the DB unless the call may not go on.
func (b *backend) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return tasks.ErrClosed
	}
	return nil
}

// second is the time as a task has it.
func (d *DB) second() time.Time { return d.now().Truncate(time.Second).UTC() }

// milli is the time as attempts and leases have it.
func (d *DB) milli() time.Time { return d.now().Truncate(time.Millisecond).UTC() }

func (b *backend) Write(ctx context.Context, changes []tasks.Change, _ bool) []error {
	errs := make([]error, len(changes))
	for i, c := range changes {
		errs[i] = b.begin(ctx)
		if errs[i] == nil {
			errs[i] = b.change(c)
			b.mu.Unlock()
		}
	}
	return errs
}

// change needs mu.
func (d *DB) change(c tasks.Change) error {
	t := d.tasks[c.ID]
	if c.Op == tasks.OpCreate {
		if t != nil {
			return tasks.ErrExists
		}
		return d.create(c)
	}
	if t == nil {
		return tasks.ErrNotFound
	}
	if c.Op == tasks.OpDelete {
		delete(d.tasks, c.ID)
		d.changed(c.ID)
		return nil
	}
	if c.From != nil && !slices.Contains(c.From, t.Status) {
		return &tasks.TransitionError{ID: c.ID, From: t.Status, To: c.Status}
	}
	d.set(t, c.Status)
	t.Cancelled = false
	if c.Op == tasks.OpUpdate {
		t.report(c.Result, c.Error)
		t.Cancelled, t.suspect = c.Cancelled, false
		if c.Status == tasks.Processing {
			t.StartedAt = d.milli()
		}
	}
	return nil
}

// create needs mu.
func (d *DB) create(c tasks.Change) error {
	d.seq++
	t := &task{seq: d.seq}
	if c.New != nil {
		t.new = *c.New
		for _, other := range d.tasks {
			if t.new.UniqueKey != "" && other.new.UniqueKey == t.new.UniqueKey && other.new.Owner == t.new.Owner {
				return &tasks.ExistsError{ID: other.ID}
			}
		}
	}
	t.ID, t.Type, t.Status, t.CreatedAt = c.ID, c.Type, tasks.Pending, d.second()
	t.Owner, t.Priority, t.Labels = t.new.Owner, t.new.Priority, tasks.NewLabels(t.new.Labels)
	if !t.new.RunAt.IsZero() {
		t.RunAt = t.new.RunAt.Truncate(time.Millisecond).UTC()
	}
	if c.Status.Final() {
		t.Status, t.EndedAt = c.Status, d.milli()
		t.report(c.Result, c.Error)
	}
	d.tasks[c.ID] = t
	d.changed(c.ID)
	return nil
}

// set changes the status, which ends the lease.
func (d *DB) set(t *task, s tasks.Status) {
	t.Status, t.UpdatedAt = s, d.second()
	t.lease, t.leaseUntil, t.shared, t.held = "", time.Time{}, false, false
	t.RunAt, t.EndedAt = time.Time{}, time.Time{}
	if s.Final() {
		t.EndedAt = d.milli()
	}
	if s == tasks.Completed {
		t.steps = nil
	}
	t.endAttempt(d.second(), tasks.ErrLeaseLost.Error(), false)
	d.changed(t.ID)
}

func (t *task) report(raw []byte, text string) {
	if raw != nil {
		t.Raw = slices.Clone(raw)
	}
	if text != "" {
		t.Error = text
	}
}

func (b *backend) Get(ctx context.Context, id string) (tasks.Result, error) {
	if err := b.begin(ctx); err != nil {
		return tasks.Result{}, err
	}
	defer b.mu.Unlock()
	t := b.tasks[id]
	if t == nil {
		return tasks.Result{}, tasks.ErrNotFound
	}
	r := t.Result
	r.Raw = slices.Clone(r.Raw)
	return r, nil
}

func older(a, b tasks.Info) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
}

func (b *backend) List(ctx context.Context, q tasks.Query) (list []tasks.Info, err error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	order := older
	if q.Newest {
		order = func(a, b tasks.Info) int { return older(b, a) }
	}
	for _, t := range b.tasks {
		if (len(q.Types) == 0 || slices.Contains(q.Types, t.Type)) &&
			(len(q.Statuses) == 0 || slices.Contains(q.Statuses, t.Status)) &&
			(q.Owner == "" || t.Owner == q.Owner) && (q.Label[0] == "" || has(t.new.Labels, q.Label)) &&
			(q.After.ID == "" || order(t.Info, q.After) > 0) {
			list = append(list, t.Info)
		}
	}
	slices.SortFunc(list, order)
	return list[:min(len(list), q.Limit)], nil
}

func has(labels map[string]string, l [2]string) bool {
	v, ok := labels[l[0]]
	return ok && v == l[1]
}

func (b *backend) Count(ctx context.Context, owner string) (map[tasks.Type]map[tasks.Status]int, error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	counts := map[tasks.Type]map[tasks.Status]int{}
	for _, t := range b.tasks {
		if owner != "" && t.Owner != owner {
			continue
		}
		if counts[t.Type] == nil {
			counts[t.Type] = map[tasks.Status]int{}
		}
		counts[t.Type][t.Status]++
	}
	return counts, nil
}

func (b *backend) Cleanup(ctx context.Context, q tasks.CleanupQuery) (n int, err error) {
	if err := b.begin(ctx); err != nil {
		return 0, err
	}
	defer b.mu.Unlock()
	before := b.now().Add(-q.Age)
	for id, t := range b.tasks {
		if !t.CreatedAt.After(before) && (len(q.Statuses) == 0 || slices.Contains(q.Statuses, t.Status)) &&
			(q.Owner == "" || t.Owner == q.Owner) && !(q.ByUse && t.used.After(before)) {
			delete(b.tasks, id)
			b.changed(id)
			n++
		}
	}
	return n, nil
}

func (b *backend) Input(ctx context.Context, id string) (json.RawMessage, error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	t := b.tasks[id]
	if t == nil {
		return nil, tasks.ErrNotFound
	}
	return slices.Clone(t.new.Input), nil
}

func (b *backend) Use(ctx context.Context, at map[string]time.Time) error {
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.mu.Unlock()
	for id, used := range at {
		if t := b.tasks[id]; t != nil && used.After(t.used) {
			t.used = used
		}
	}
	return nil
}

func (b *backend) Notify(id string) (<-chan struct{}, func()) {
	c := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		close(c)
		return c, func() {}
	}
	if b.waiting[b] == nil {
		b.waiting[b] = map[chan struct{}]string{}
	}
	b.waiting[b][c] = id
	return c, func() {
		b.mu.Lock()
		delete(b.waiting[b], c)
		b.mu.Unlock()
	}
}

// changed tells those who wait.
func (d *DB) changed(id string) {
	for _, waiting := range d.waiting {
		for c, of := range waiting {
			if of == id || of == "" {
				close(c)
				delete(waiting, c)
			}
		}
	}
}

func (b *backend) Sync(ctx context.Context) error {
	err := b.begin(ctx)
	if err == nil {
		b.mu.Unlock()
	}
	return err
}

func (b *backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return tasks.ErrClosed
	}
	b.closed = true
	for c := range b.waiting[b] {
		close(c)
	}
	delete(b.waiting, b)
	return nil
}

func (b *backend) Look(ctx context.Context, ids []string) ([]tasks.Info, []error) {
	infos, errs := make([]tasks.Info, len(ids)), make([]error, len(ids))
	for i, id := range ids {
		r, err := b.Get(ctx, id)
		infos[i], errs[i] = r.Info, err
	}
	return infos, errs
}
