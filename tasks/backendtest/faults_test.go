package backendtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

func endGoroutine() { runtime.Goexit() }

// fault is one thing that a backend gets wrong.
type fault struct {
	name  string
	tests string // that have to notice
	wrap  func(*tasks.Store) Store
	opts  []tasks.Option // win over those of the test
	apart bool           // two stores have data of their own
	alone bool           // there is no second store
}

// faulty is a store of which some methods do something else.
type faulty struct {
	*tasks.Store
	create   func(ctx context.Context, id string, t tasks.Type, o ...tasks.CallOption) error
	update   func(ctx context.Context, id string, s tasks.Status, r any, o ...tasks.CallOption) error
	retry    func(ctx context.Context, id string, o ...tasks.CallOption) error
	remove   func(ctx context.Context, id string) error
	result   func(r tasks.Result, err error) (tasks.Result, error)
	list     func(ctx context.Context, q tasks.Query) ([]tasks.Info, error)
	claim    func(ctx context.Context, d time.Duration, t []tasks.Type) (tasks.Claimed, error)
	attempts func(list []tasks.Attempt, err error) ([]tasks.Attempt, error)
	complete func(ctx context.Context, c tasks.Claimed, r any) error
	cached   func(ctx context.Context, t tasks.Type, in any, f func(context.Context) (any, error), o []tasks.CacheOption) (tasks.Cached, error)
}

func (f *faulty) Create(ctx context.Context, id string, t tasks.Type, o ...tasks.CallOption) error {
	if f.create != nil {
		return f.create(ctx, id, t, o...)
	}
	return f.Store.Create(ctx, id, t, o...)
}

func (f *faulty) Update(ctx context.Context, id string, s tasks.Status, r any, o ...tasks.CallOption) error {
	if f.update != nil {
		return f.update(ctx, id, s, r, o...)
	}
	return f.Store.Update(ctx, id, s, r, o...)
}

func (f *faulty) Retry(ctx context.Context, id string, o ...tasks.CallOption) error {
	if f.retry != nil {
		return f.retry(ctx, id, o...)
	}
	return f.Store.Retry(ctx, id, o...)
}

func (f *faulty) Delete(ctx context.Context, id string, o ...tasks.CallOption) error {
	if f.remove != nil {
		return f.remove(ctx, id)
	}
	return f.Store.Delete(ctx, id, o...)
}

func (f *faulty) Result(ctx context.Context, id string) (tasks.Result, error) {
	r, err := f.Store.Result(ctx, id)
	if f.result != nil {
		return f.result(r, err)
	}
	return r, err
}

func (f *faulty) List(ctx context.Context, q tasks.Query) ([]tasks.Info, error) {
	if f.list != nil {
		return f.list(ctx, q)
	}
	return f.Store.List(ctx, q)
}

func (f *faulty) Claim(ctx context.Context, d time.Duration, t ...tasks.Type) (tasks.Claimed, error) {
	if f.claim != nil {
		return f.claim(ctx, d, t)
	}
	return f.Store.Claim(ctx, d, t...)
}

func (f *faulty) Attempts(ctx context.Context, id string) ([]tasks.Attempt, error) {
	list, err := f.Store.Attempts(ctx, id)
	if f.attempts != nil {
		return f.attempts(list, err)
	}
	return list, err
}

func (f *faulty) Complete(ctx context.Context, c tasks.Claimed, r any, o ...tasks.CallOption) error {
	if f.complete != nil {
		return f.complete(ctx, c, r)
	}
	return f.Store.Complete(ctx, c, r, o...)
}

func (f *faulty) Do(ctx context.Context, t tasks.Type, in any, c func(context.Context) (any, error), o ...tasks.CacheOption) (tasks.Cached, error) {
	if f.cached != nil {
		return f.cached(ctx, t, in, c, o)
	}
	return f.Store.Do(ctx, t, in, c, o...)
}

// with makes a store faulty.
func with(change func(f *faulty)) func(*tasks.Store) Store {
	return func(st *tasks.Store) Store {
		f := &faulty{Store: st}
		change(f)
		return f
	}
}

// answer makes what a store says of a task wrong.
func answer(change func(r *tasks.Result)) func(*tasks.Store) Store {
	return with(func(f *faulty) {
		f.result = func(r tasks.Result, err error) (tasks.Result, error) {
			if err == nil {
				change(&r)
			}
			return r, err
		}
	})
}

// listed makes the lists of a store wrong.
func listed(change func(q *tasks.Query)) func(*tasks.Store) Store {
	return with(func(f *faulty) {
		f.list = func(ctx context.Context, q tasks.Query) ([]tasks.Info, error) {
			change(&q)
			return f.Store.List(ctx, q)
		}
	})
}

func reformat(r *tasks.Result) {
	var v any
	if json.Unmarshal(r.Raw, &v) == nil {
		r.Raw, _ = json.Marshal(v)
	}
}

func ascii(r *tasks.Result) {
	if bytes.HasPrefix(r.Raw, []byte(`"`)) {
		var s string
		_ = json.Unmarshal(r.Raw, &s)
		r.Raw = []byte(strconv.QuoteToASCII(s))
	}
}

// staleList gives the first answer to every query.
func staleList(f *faulty) {
	var first []tasks.Info
	f.list = func(ctx context.Context, q tasks.Query) (_ []tasks.Info, err error) {
		if len(first) == 0 {
			first, err = f.Store.List(ctx, q)
		}
		return slices.Clone(first), err
	}
}

// checkThenWrite checks a status before it writes, and not while. The first two of a change both pass the check.
func checkThenWrite() func(*tasks.Store) Store {
	var n atomic.Int32
	both := make(chan struct{})
	return with(func(f *faulty) {
		f.update = func(ctx context.Context, id string, s tasks.Status, r any, o ...tasks.CallOption) error {
			if info, err := f.Store.Status(ctx, id); err == nil && info.Status == tasks.Pending {
				switch n.Add(1) {
				case 1:
					select {
					case <-both:
					case <-ctx.Done():
					}
					return f.Store.Update(ctx, id, s, r, tasks.Force())
				case 2:
					close(both)
					return f.Store.Update(ctx, id, s, r, tasks.Force())
				}
			}
			return f.Store.Update(ctx, id, s, r, o...)
		}
	})
}

// byType claims the oldest of the first type that has any.
func byType(f *faulty) {
	f.claim = func(ctx context.Context, d time.Duration, types []tasks.Type) (tasks.Claimed, error) {
		if len(types) == 0 {
			types = []tasks.Type{tasks.FormFilling, tasks.Form, tasks.Document}
		}
		for _, t := range types {
			if c, err := f.Store.Claim(ctx, d, t); !errors.Is(err, tasks.ErrNoTask) {
				return c, err
			}
		}
		return tasks.Claimed{}, tasks.ErrNoTask
	}
}

// twice hands out its first task again.
func twice(f *faulty) {
	var first atomic.Pointer[tasks.Claimed]
	f.claim = func(ctx context.Context, d time.Duration, types []tasks.Type) (tasks.Claimed, error) {
		if c := first.Swap(nil); c != nil {
			return *c, nil
		}
		c, err := f.Store.Claim(ctx, d, types...)
		if err == nil {
			first.Store(&c)
		}
		return c, err
	}
}

// deaf is a store whose waiting calls never hear of a change.
type deaf struct{ *tasks.Store }

func (d deaf) Wait(ctx context.Context, id string) (tasks.Result, error) {
	if r, err := d.Store.Result(ctx, id); err != nil || r.Status.Final() {
		return r, err
	}
	<-ctx.Done()
	return tasks.Result{}, ctx.Err()
}

func (d deaf) Watch(ctx context.Context, id string) iter.Seq2[tasks.Result, error] {
	return func(yield func(tasks.Result, error) bool) {
		r, err := d.Store.Result(ctx, id)
		if yield(r, err) && err == nil {
			<-ctx.Done()
			yield(tasks.Result{}, ctx.Err())
		}
	}
}

// counting counts wrong.
type counting struct{ *tasks.Store }

func (s counting) Count(ctx context.Context) (map[tasks.Type]map[tasks.Status]int, error) {
	m, err := s.Store.Count(ctx)
	delete(m, tasks.Document)
	return m, err
}

// sloppy cleans up more or less than it is told.
type sloppy struct {
	*tasks.Store
	age   time.Duration
	count int
	all   bool
}

func (s sloppy) Cleanup(ctx context.Context, age time.Duration) (int, error) {
	n, err := s.Store.Cleanup(ctx, age+s.age)
	return n + s.count, err
}

func (s sloppy) RunJanitor(ctx context.Context, j tasks.Janitor) error {
	if s.all {
		j.Default = time.Hour
	}
	return s.Store.RunJanitor(ctx, j)
}

// batching gets batches wrong.
type batching struct {
	*tasks.Store
	reverse bool
}

func (s batching) UpdateMany(ctx context.Context, list []tasks.NewStatus, o ...tasks.CallOption) []error {
	list = slices.Clone(list)
	if s.reverse {
		slices.Reverse(list)
		errs := s.Store.UpdateMany(ctx, list, o...)
		slices.Reverse(errs)
		return errs
	}
	// All or nothing beyond the first error.
	errs := make([]error, len(list))
	for i, c := range list {
		if errs[i] = s.Store.Update(ctx, c.ID, c.Status, c.Result, o...); errs[i] != nil {
			for j := i; j < len(list); j++ {
				errs[j] = errs[i]
			}
			return errs
		}
	}
	return nil
}

// lenient answers calls that it must refuse.
type lenient struct{ *tasks.Store }

func (s lenient) Extend(ctx context.Context, c *tasks.Claimed, d time.Duration) error {
	if err := s.Store.Extend(ctx, c, d); !errors.Is(err, tasks.ErrLeaseLost) {
		return err
	}
	return nil
}

func (s lenient) Close() error { _ = s.Store.Close(); return nil }

func (s lenient) Invalidate(context.Context, tasks.Type, any, ...tasks.CacheOption) error { return nil }

func swallow(err error, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

func lower(id string) string { return strings.ToLower(strings.TrimSpace(id)) }
