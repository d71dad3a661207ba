package backendtest

import (
	"context"
	"errors"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

type ctx = context.Context

// faults are all that are tried. Each test is named by one of them at least.
var faults = []fault{
	{name: "create replaces", tests: "Create SameData", wrap: with(func(f *faulty) {
		f.create = func(c ctx, id string, t tasks.Type, o ...tasks.CallOption) error {
			_ = f.Store.Delete(c, id)
			return f.Store.Create(c, id, t, o...)
		}
	})},
	{name: "create forgives", tests: "Create", wrap: with(func(f *faulty) {
		f.create = func(c ctx, id string, t tasks.Type, o ...tasks.CallOption) error {
			return swallow(f.Store.Create(c, id, t, o...), tasks.ErrExists)
		}
	})},
	{name: "ids ignore case", tests: "Create", wrap: with(func(f *faulty) {
		f.create = func(c ctx, id string, t tasks.Type, o ...tasks.CallOption) error {
			return f.Store.Create(c, lower(id), t, o...)
		}
	})},
	{name: "create is lost", tests: "Create ListOrder Count LeaseExpired Workers", wrap: with(func(f *faulty) {
		f.create = func(ctx, string, tasks.Type, ...tasks.CallOption) error { return nil }
	})},
	{name: "update is lost", tests: "Update Transitions Force OneWins Wait", wrap: with(func(f *faulty) {
		f.update = func(ctx, string, tasks.Status, any, ...tasks.CallOption) error { return nil }
	})},
	{name: "update ignores From", tests: "Transitions OneWins", wrap: with(func(f *faulty) {
		f.update = func(c ctx, id string, s tasks.Status, r any, o ...tasks.CallOption) error {
			return f.Store.Update(c, id, s, r, append(o, tasks.Force())...)
		}
	})},
	{name: "update ignores Force", tests: "Force LeaseLost", wrap: with(func(f *faulty) {
		f.update = func(c ctx, id string, s tasks.Status, r any, _ ...tasks.CallOption) error {
			return f.Store.Update(c, id, s, r)
		}
	})},
	{name: "update drops the result", tests: "Update Transitions ResultBytes Watch", wrap: with(func(f *faulty) {
		f.update = func(c ctx, id string, s tasks.Status, _ any, o ...tasks.CallOption) error {
			return f.Store.Update(c, id, s, nil, o...)
		}
	})},
	{name: "update creates", tests: "NotFound", wrap: with(func(f *faulty) {
		f.update = func(c ctx, id string, s tasks.Status, r any, o ...tasks.CallOption) error {
			_ = f.Store.Create(c, id, tasks.Form)
			return f.Store.Update(c, id, s, r, o...)
		}
	})},
	{name: "check before write", tests: "OneWins", wrap: checkThenWrite()},
	{name: "retry from any", tests: "Retry", wrap: with(func(f *faulty) {
		f.retry = func(c ctx, id string, o ...tasks.CallOption) error {
			return f.Store.Retry(c, id, append(o, tasks.Force())...)
		}
	})},
	{name: "delete is lost", tests: "Delete ListOrder Count SameData", wrap: with(func(f *faulty) {
		f.remove = func(ctx, string) error { return nil }
	})},
	{name: "delete forgives", tests: "Delete NotFound OneWins", wrap: with(func(f *faulty) {
		f.remove = func(c ctx, id string) error { return swallow(f.Store.Delete(c, id), tasks.ErrNotFound) }
	})},
	{name: "attempts outlive", tests: "Delete CleanupByAge", wrap: with(func(f *faulty) {
		f.attempts = func(list []tasks.Attempt, err error) ([]tasks.Attempt, error) {
			if err == nil && len(list) == 0 {
				list = []tasks.Attempt{{Number: 1}}
			}
			return list, err
		}
	})},

	{name: "forgets updated_at", tests: "Update Retry Batches ClaimOldestFirst", wrap: answer(func(r *tasks.Result) { r.UpdatedAt = time.Time{} })},
	{name: "updated_at in local time", tests: "Update", wrap: answer(func(r *tasks.Result) {
		r.UpdatedAt = r.UpdatedAt.In(time.FixedZone("CET", 3600))
	})},
	{name: "forgets the error", tests: "Update ResultBytes AttemptsAndBackoff", wrap: answer(func(r *tasks.Result) { r.Error = "" })},
	{name: "results in a normal form", tests: "ResultBytes", wrap: answer(reformat)},
	{name: "results in ASCII", tests: "ResultBytes", wrap: answer(ascii)},
	{name: "results cut off", tests: "ResultBytes", wrap: answer(func(r *tasks.Result) { r.Raw = r.Raw[:min(len(r.Raw), 1<<16)] })},
	{name: "no result is null", tests: "Update", wrap: answer(func(r *tasks.Result) {
		if r.Raw == nil {
			r.Raw = []byte("null")
		}
	})},
	{name: "not found is empty", tests: "NotFound Delete", wrap: with(func(f *faulty) {
		f.result = func(r tasks.Result, err error) (tasks.Result, error) { return r, swallow(err, tasks.ErrNotFound) }
	})},

	{name: "batch in reverse", tests: "Batches", wrap: func(s *tasks.Store) Store { return batching{s, true} }},
	{name: "batch ends at an error", tests: "Batches LargeBatch", wrap: func(s *tasks.Store) Store { return batching{s, false} }},
	{name: "stale list", tests: "ListOrder ListFilters", wrap: with(staleList)},
	{name: "newest ignored", tests: "ListOrder ListPages", wrap: listed(func(q *tasks.Query) { q.Newest = false })},
	{name: "limit ignored", tests: "ListOrder ListFilters", wrap: listed(func(q *tasks.Query) { q.Limit = 0 })},
	{name: "types ignored", tests: "ListFilters", wrap: listed(func(q *tasks.Query) { q.Types = nil })},
	{name: "one status only", tests: "ListFilters", wrap: listed(func(q *tasks.Query) { q.Statuses = q.Statuses[:min(1, len(q.Statuses))] })},
	{name: "cursor ignored", tests: "ListPages", wrap: listed(func(q *tasks.Query) { q.After = tasks.Info{} })},
	{name: "cursor skips equal times", tests: "ListPages", wrap: listed(func(q *tasks.Query) {
		if q.After.ID != "" && !q.Newest {
			q.After.ID = "\U0010ffff"
		}
	})},
	{name: "count leaves out", tests: "Count", wrap: func(s *tasks.Store) Store { return counting{s} }},
	{name: "cleanup not the exact age", tests: "CleanupByAge", wrap: func(s *tasks.Store) Store { return sloppy{Store: s, age: time.Second} }},
	{name: "cleanup too young", tests: "CleanupByAge", wrap: func(s *tasks.Store) Store { return sloppy{Store: s, age: -time.Second} }},
	{name: "cleanup counts wrong", tests: "CleanupByAge", wrap: func(s *tasks.Store) Store { return sloppy{Store: s, count: 1} }},
	{name: "cleanup ignores statuses", tests: "CleanupByStatus", wrap: func(s *tasks.Store) Store { return sloppy{Store: s, all: true} }},
	{name: "data of their own", tests: "SameData OneWins CacheOnce CacheInvalidate LeaseLost Workers", apart: true},

	{name: "handed out twice", tests: "ClaimOnce ClaimOldestFirst", wrap: with(twice)},
	{name: "claim by type", tests: "ClaimOldestFirst", wrap: with(byType)},
	{name: "claim ignores types", tests: "ClaimOldestFirst", wrap: with(func(f *faulty) {
		f.claim = func(c ctx, d time.Duration, _ []tasks.Type) (tasks.Claimed, error) { return f.Store.Claim(c, d) }
	})},
	{name: "leases never expire", tests: "LeaseExpired", wrap: with(func(f *faulty) {
		f.claim = func(c ctx, _ time.Duration, t []tasks.Type) (tasks.Claimed, error) {
			return f.Store.Claim(c, tasks.MaxLease, t...)
		}
	})},
	{name: "leases expire early", tests: "LeaseExpired", wrap: with(func(f *faulty) {
		f.claim = func(c ctx, _ time.Duration, t []tasks.Type) (tasks.Claimed, error) {
			return f.Store.Claim(c, time.Second, t...)
		}
	})},
	{name: "extend forgives", tests: "NotFound LeaseExpired LeaseLost", wrap: func(s *tasks.Store) Store { return lenient{s} }},
	{name: "complete without a lease", tests: "LeaseExpired LeaseLost AttemptsAndBackoff", wrap: with(func(f *faulty) {
		f.complete = func(c ctx, t tasks.Claimed, r any) error {
			return f.Store.Update(c, t.ID, tasks.Completed, r, tasks.Force())
		}
	})},
	{name: "no backoff", tests: "AttemptsAndBackoff", opts: []tasks.Option{tasks.Backoff(func(int) time.Duration { return 0 })}},
	{name: "attempts without end", tests: "AttemptsAndBackoff LeaseExpired", opts: []tasks.Option{tasks.MaxAttempts(1000)}},
	{name: "attempts forgotten", tests: "AttemptsAndBackoff LeaseExpired", wrap: with(func(f *faulty) {
		f.attempts = func(list []tasks.Attempt, err error) ([]tasks.Attempt, error) { return list[:min(1, len(list))], err }
	})},

	{name: "progress ends the lease", tests: "Progress HandlerTold", wrap: reports(
		func(s *tasks.Store, c ctx, id string, r any, o []tasks.CallOption) error {
			return s.Update(c, id, tasks.Processing, r, append(o, tasks.Force())...)
		})},
	{name: "progress is lost", tests: "Progress ProgressWatch", wrap: reports(
		func(*tasks.Store, ctx, string, any, []tasks.CallOption) error { return nil })},
	{name: "progress of a lost task", tests: "HandlerTold", wrap: reports(
		func(s *tasks.Store, c ctx, id string, r any, o []tasks.CallOption) error {
			return swallow(s.Progress(c, id, r, o...), tasks.ErrLeaseLost)
		})},
	{name: "handlers aren't told", tests: "HandlerTold", wrap: func(s *tasks.Store) Store { return secretive{s} }},

	{name: "cache computes always", tests: "CacheOnce CacheKeys CacheExpiry CacheErrors CacheLease", wrap: cacheFault(
		func(f *faulty, c ctx, t tasks.Type, in any, g computation, o []tasks.CacheOption) (tasks.Cached, error) {
			_ = f.Store.Invalidate(c, t, in)
			return f.Store.Do(c, t, in, g, o...)
		})},
	{name: "cache ignores the type", tests: "CacheKeys CacheInvalidate", wrap: cacheFault(
		func(f *faulty, c ctx, _ tasks.Type, in any, g computation, o []tasks.CacheOption) (tasks.Cached, error) {
			return f.Store.Do(c, tasks.Form, in, g, o...)
		})},
	{name: "cache never expires", tests: "CacheExpiry", wrap: cacheFault(
		func(f *faulty, c ctx, t tasks.Type, in any, g computation, o []tasks.CacheOption) (tasks.Cached, error) {
			return f.Store.Do(c, t, in, g, append(o, tasks.TTL(0))...)
		})},
	{name: "cache expires early", tests: "CacheExpiry", opts: []tasks.Option{tasks.CacheTTL(time.Minute)}},
	{name: "cache stores errors", tests: "CacheErrors", wrap: cacheFault(
		func(f *faulty, c ctx, t tasks.Type, in any, g computation, o []tasks.CacheOption) (tasks.Cached, error) {
			return f.Store.Do(c, t, in, g, append(o, tasks.CacheErrors(time.Hour))...)
		})},
	{name: "cache takes a late result", tests: "CacheLease CacheInvalidate", wrap: cacheFault(
		func(f *faulty, c ctx, t tasks.Type, in any, g computation, o []tasks.CacheOption) (tasks.Cached, error) {
			return f.Store.Do(c, t, in, func(c ctx) (any, error) {
				v, err := g(c)
				return v, errors.Join(err, f.Store.Warm(c, t, in, v))
			}, o...)
		})},
	{name: "cache has no limit", tests: "CacheLimit", opts: []tasks.Option{tasks.CacheMaxEntries(1000)}},
	{name: "cache keeps too little", tests: "CacheLimit", opts: []tasks.Option{tasks.CacheMaxEntries(4)}},
	{name: "invalidate is lost", tests: "CacheInvalidate", wrap: func(s *tasks.Store) Store { return lenient{s} }},

	{name: "deaf", tests: "Wait Watch", wrap: func(s *tasks.Store) Store { return deaf{s} }},
	{name: "closes twice", tests: "Closed", wrap: func(s *tasks.Store) Store { return lenient{s} }},
	{name: "open when closed", tests: "Closed", wrap: with(func(f *faulty) {
		f.list = func(c ctx, q tasks.Query) ([]tasks.Info, error) {
			list, err := f.Store.List(c, q)
			return list, swallow(err, tasks.ErrClosed)
		}
	})},
	{name: "deaf to cancelling", tests: "Cancelled", wrap: with(func(f *faulty) {
		f.create = func(c ctx, id string, t tasks.Type, o ...tasks.CallOption) error {
			return f.Store.Create(context.WithoutCancel(c), id, t, o...)
		}
	})},
	{name: "cancelled but made", tests: "Cancelled", wrap: with(func(f *faulty) {
		f.complete = func(c ctx, t tasks.Claimed, r any) error {
			return errors.Join(f.Store.Complete(context.WithoutCancel(c), t, r), c.Err())
		}
	})},
}

type computation = func(context.Context) (any, error)

func cacheFault(do func(*faulty, ctx, tasks.Type, any, computation, []tasks.CacheOption) (tasks.Cached, error)) func(*tasks.Store) Store {
	return with(func(f *faulty) {
		f.cached = func(c ctx, t tasks.Type, in any, g func(context.Context) (any, error), o []tasks.CacheOption) (tasks.Cached, error) {
			return do(f, c, t, in, g, o)
		}
	})
}
