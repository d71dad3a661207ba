package tasks

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Store is a table of tasks. Its methods may be called at the same time.
type Store struct {
	*config
	backend Backend
	cache   resultCache
	infos   lookout  // what Wait looks at
	results lookout  // what Watch looks at
	settled gatherer // what StatusSettled looks at
	status  gatherer // what Status looks at, with a BatchReader
	result  gatherer // what Result looks at, with a BatchReader
	worker  string   // names the store as one who claims
	uses    taskUses
}

// Open opens the database at that path, which it makes or migrates where needed.
// Close the store after use.
func Open(ctx context.Context, path string, opts ...Option) (*Store, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	b, err := openSQLite(ctx, path, c)
	if err != nil {
		return nil, err
	}
	return newStore(c, b), nil
}

// New returns a store with another backend.
func New(b Backend, opts ...Option) (*Store, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return newStore(c, b), nil
}

// process is the worker's name of all who claim: their leases end together when the process dies, whose task whichever of them has killed it.
var process = rand.Text()

func newStore(c *config, b Backend) *Store {
	s := &Store{config: c, backend: b, worker: c.process}
	s.infos.look, s.results.look, s.settled.look = s.lookAtInfos, s.lookAtResults, s.lookSettled
	s.status.look, s.result.look = s.lookAtInfos, s.lookAtResults
	return s
}

// Close returns once all that was changed is durable.
func (s *Store) Close() error { s.closeCache(); s.closeUses(); return s.backend.Close() }

// Sync returns once all that was changed before is durable: after many changes with [Relaxed], it is one wait for all of them.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.backend.Sync(ctx); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// write makes one change.
func (s *Store) write(ctx context.Context, op string, c Change, k call) error {
	if err := s.checkClock(); err != nil {
		return taskError(op, c.ID, err)
	}
	err := s.backend.Write(ctx, []Change{c}, !k.relaxed)[0]
	if err == nil {
		s.hooks.changed(ctx, c)
	}
	return taskError(op, c.ID, err)
}

// Create creates a task with that id, which is [Pending].
// It returns [ErrExists] if there is one. [Input], [Owner], [Priority], [RunAt], [TaskAttempts], [TaskBackoff], [TaskTimeout],
// [UniqueKey], [WithLabels] and [FromCache] say more of the task.
func (s *Store) Create(ctx context.Context, id string, t Type, opts ...CallOption) error {
	k := s.call(opts)
	c, err := s.create(ctx, id, t, k)
	if err != nil {
		return err
	}
	return s.write(ctx, "create", c, k)
}

// Update sets a task's status and, unless it is nil, its result, which may be anything that [encoding/json] accepts.
// It returns [ErrNotFound], or a [*TransitionError] if the task's status doesn't allow that one.
func (s *Store) Update(ctx context.Context, id string, status Status, result any, opts ...CallOption) error {
	k := s.call(opts)
	c, err := s.update(id, status, result, k)
	if err != nil {
		return err
	}
	return s.write(ctx, "update", c, k)
}

func (s *Store) update(id string, status Status, result any, k call) (Change, error) {
	if err := checkID(id); err != nil {
		return Change{}, err
	}
	raw, err := s.encode(result)
	if err := cmp.Or(checkStatus(status), err); err != nil {
		return Change{}, taskError("update", id, err)
	}
	c := Change{Op: OpUpdate, ID: id, Status: status, Result: raw, Error: cutText(k.text, MaxErrorText), Cancelled: k.cancel}
	if !k.force {
		c.From = before[status]
	}
	return c, nil
}

// Retry takes a task from [Error] back to [Pending].
func (s *Store) Retry(ctx context.Context, id string, opts ...CallOption) error {
	k := s.call(opts)
	c, err := s.retry(id, k)
	if err != nil {
		return err
	}
	return s.write(ctx, "retry", c, k)
}

func (s *Store) retry(id string, k call) (Change, error) {
	c := Change{Op: OpRetry, ID: id, Status: Pending, From: []Status{Error}}
	if k.force {
		c.From = nil
	}
	return c, checkID(id)
}

// CancelledText is the error text of a task that was cancelled.
const CancelledText = "cancelled"

// Cancel sets a task that is [Pending] or [Processing] to [Error], with [CancelledText]; [Info].Cancelled tells it from one that failed.
// A worker that has it loses its lease, and the context of its handler is cancelled: see [Handler].
func (s *Store) Cancel(ctx context.Context, id string, opts ...CallOption) error {
	return s.Update(ctx, id, Error, nil, append(slices.Clone(opts), ErrorText(CancelledText), func(k *call) { k.cancel = true })...)
}

// Delete deletes a task, whatever its status.
func (s *Store) Delete(ctx context.Context, id string, opts ...CallOption) error {
	if err := checkID(id); err != nil {
		return err
	}
	return s.write(ctx, "delete", Change{Op: OpDelete, ID: id}, s.call(opts))
}

// Status returns what is known of a task, or [ErrNotFound]. It doesn't read the result, however large that is.
func (s *Store) Status(ctx context.Context, id string) (Info, error) {
	if err := checkID(id); err != nil {
		return Info{}, err
	}
	if _, ok := s.backend.(BatchReader); ok {
		r, err := s.status.at(ctx, id)
		return r.Info, taskError("get", id, err)
	}
	infos, errs := s.backend.Look(ctx, []string{id})
	return infos[0], taskError("get", id, errs[0])
}

// Result returns a task with its result, or [ErrNotFound].
func (s *Store) Result(ctx context.Context, id string) (Result, error) {
	if err := checkID(id); err != nil {
		return Result{}, err
	}
	r, err := s.get(ctx, id)
	if err == nil && r.Raw != nil {
		s.read(ctx, id)
	}
	return r, taskError("get", id, err)
}

func (s *Store) get(ctx context.Context, id string) (Result, error) {
	if _, ok := s.backend.(BatchReader); ok {
		return s.result.at(ctx, id)
	}
	return s.backend.Get(ctx, id)
}

// Cleanup deletes the tasks that were created maxAge ago or before, whatever their status, and their attempts.
// It goes by the time that has passed, as far as processes have seen their clock set. A task that others have written with a time
// that tells no age goes only if maxAge is 0.
// It returns how many, durably, and gives their space back to the file system; with an error, how many at the least.
//
// It deletes in parts and lets others write in between: each part takes about 2 ms, or what its one large result takes.
// A database that the Python module has made keeps its free pages for later.
//
// On a full disk it deletes one task at a time, and writes over the WAL once that is in the database file, which takes no more space.
// SQLite can't do that if the WAL has pages by which the database file would have to grow: it writes what it deletes to the WAL first,
// and can't begin that anew before the file has grown. Then Cleanup returns the error of a full disk, and needs as much space as the WAL has.
func (s *Store) Cleanup(ctx context.Context, maxAge time.Duration) (int, error) {
	if maxAge < 0 {
		return 0, &InputError{"maxAge", maxAge.String(), "0 or more"}
	}
	return s.cleanup(ctx, CleanupQuery{Age: maxAge})
}

// CleanupOwner is [Store.Cleanup] for the tasks of an owner.
func (s *Store) CleanupOwner(ctx context.Context, owner string, maxAge time.Duration) (int, error) {
	if err := checkID(owner); err != nil {
		return 0, err
	}
	if maxAge < 0 {
		return 0, &InputError{"maxAge", maxAge.String(), "0 or more"}
	}
	return s.cleanup(ctx, CleanupQuery{Age: maxAge, Owner: owner})
}

func (s *Store) cleanup(ctx context.Context, q CleanupQuery) (int, error) {
	if err := s.checkClock(); err != nil {
		return 0, err
	}
	n, err := s.backend.Cleanup(ctx, q)
	if err != nil {
		err = fmt.Errorf("clean up tasks: %w", err)
	}
	return n, err
}

// List returns tasks, the oldest first or, if the query says so, the newest.
// The last task of a page is the next query's After; a page shorter than the limit is the last.
func (s *Store) List(ctx context.Context, q Query) ([]Info, error) {
	if q.Limit == 0 {
		q.Limit = 100
	}
	if q.Limit < 1 || q.Limit > 1000 {
		return nil, &InputError{"limit", strconv.Itoa(q.Limit), "1 to 1000, or 0 for 100"}
	}
	for _, t := range q.Types {
		if err := s.checkType(t); err != nil {
			return nil, err
		}
	}
	for _, t := range q.Statuses {
		if err := checkStatus(t); err != nil {
			return nil, err
		}
	}
	if err := checkOwner(q.Owner); err != nil {
		return nil, err
	}
	list, err := s.backend.List(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	return list, nil
}

// Count returns how many tasks there are of each type and status. Those that there are none of aren't listed.
func (s *Store) Count(ctx context.Context) (map[Type]map[Status]int, error) {
	return s.count(ctx, "")
}

// CountOwner is [Store.Count] for the tasks of an owner.
func (s *Store) CountOwner(ctx context.Context, owner string) (map[Type]map[Status]int, error) {
	if err := checkID(owner); err != nil {
		return nil, err
	}
	return s.count(ctx, owner)
}

func (s *Store) count(ctx context.Context, owner string) (map[Type]map[Status]int, error) {
	counts, err := s.backend.Count(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("count tasks: %w", err)
	}
	return counts, nil
}

// NewTask is a task to create.
type NewTask struct {
	ID   string
	Type Type
	// Options are those of [Store.Create], but for those about durability.
	Options []CallOption
}

// CreateMany creates tasks, each by itself. It returns nil if all were created, or else an error for each, in order.
// One that isn't allowed as input keeps none of the others from being created.
func (s *Store) CreateMany(ctx context.Context, list []NewTask, opts ...CallOption) []error {
	return s.many(ctx, "create", len(list), s.call(opts), func(i int) (Change, error) {
		return s.create(ctx, list[i].ID, list[i].Type, s.call(list[i].Options))
	})
}

// NewStatus is a change of a task: see [Store.Update].
type NewStatus struct {
	ID     string
	Status Status
	Result any
}

// UpdateMany updates tasks, each by itself. It returns nil if all were updated, or else an error for each, in order.
func (s *Store) UpdateMany(ctx context.Context, list []NewStatus, opts ...CallOption) []error {
	k := s.call(opts)
	return s.many(ctx, "update", len(list), k, func(i int) (Change, error) {
		return s.update(list[i].ID, list[i].Status, list[i].Result, k)
	})
}

func (s *Store) many(ctx context.Context, op string, n int, k call, change func(int) (Change, error)) []error {
	errs := make([]error, n)
	var changes []Change
	var of []int
	for i := range n {
		c, err := change(i)
		if err != nil {
			errs[i] = err
			continue
		}
		changes, of = append(changes, c), append(of, i)
	}
	if err := s.checkClock(); err != nil {
		return slices.Repeat([]error{err}, n)
	}
	if len(changes) > 0 {
		for j, err := range s.backend.Write(ctx, changes, !k.relaxed) {
			errs[of[j]] = taskError(op, changes[j].ID, err)
			if err == nil {
				s.hooks.changed(ctx, changes[j])
			}
		}
	}
	if !slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return nil
	}
	return errs
}
