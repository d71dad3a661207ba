package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// forgetful leaves out what tasks are created with, or what calls say.
type forgetful struct {
	*tasks.Store
	drop  func(o []tasks.CallOption) []tasks.CallOption // of what is created
	fail  func(s *tasks.Store, c ctx, t tasks.Claimed, err error) error
	limit func(l tasks.TypeLimits) tasks.TypeLimits
	list  func(q tasks.Query) tasks.Query
	info  func(i *tasks.Info)
}

func (s forgetful) Create(c ctx, id string, t tasks.Type, o ...tasks.CallOption) error {
	if s.drop != nil {
		o = s.drop(o)
	}
	return s.Store.Create(c, id, t, o...)
}

func (s forgetful) Fail(c ctx, t tasks.Claimed, err error, o ...tasks.CallOption) error {
	if s.fail != nil {
		return s.fail(s.Store, c, t, err)
	}
	return s.Store.Fail(c, t, err, o...)
}

func (s forgetful) SetLimits(c ctx, t tasks.Type, l tasks.TypeLimits) error {
	if s.limit != nil {
		l = s.limit(l)
	}
	return s.Store.SetLimits(c, t, l)
}

// Pause sets all limits to what they were before others had set them.
func (s careless) Pause(c ctx, t tasks.Type) error {
	if s.what == "pause" {
		return s.Store.SetLimits(c, t, tasks.TypeLimits{Paused: true})
	}
	return s.Store.Pause(c, t)
}

func (s forgetful) List(c ctx, q tasks.Query) ([]tasks.Info, error) {
	if s.list != nil {
		q = s.list(q)
	}
	return s.Store.List(c, q)
}

func (s forgetful) Result(c ctx, id string) (tasks.Result, error) {
	r, err := s.Store.Result(c, id)
	if s.info != nil {
		s.info(&r.Info)
	}
	return r, err
}

func forget(f forgetful) func(*tasks.Store) Store {
	return func(s *tasks.Store) Store { g := f; g.Store = s; return g }
}

// careless gets the other new calls wrong.
type careless struct {
	*tasks.Store
	what string
}

func (s careless) Input(c ctx, id string) (json.RawMessage, error) {
	raw, err := s.Store.Input(c, id)
	if s.what == "input" && raw != nil {
		var v any
		_ = json.Unmarshal(raw, &v)
		raw, _ = json.Marshal(v)
	}
	return raw, err
}

func (s careless) CreateOrGet(c ctx, id string, t tasks.Type, o ...tasks.CallOption) (tasks.Info, bool, error) {
	i, created, err := s.Store.CreateOrGet(c, id, t, o...)
	if s.what == "get" {
		err = swallow(err, tasks.ErrInputDiffers)
	}
	return i, created, err
}

func (s careless) CleanupOwner(c ctx, owner string, age time.Duration) (int, error) {
	if s.what == "owner" {
		return s.Store.Cleanup(c, age)
	}
	return s.Store.CleanupOwner(c, owner, age)
}

func (s careless) Cancel(c ctx, id string, o ...tasks.CallOption) error {
	if s.what == "cancel" {
		return s.Store.Update(c, id, tasks.Error, nil, tasks.ErrorText(tasks.CancelledText))
	}
	return s.Store.Cancel(c, id, o...)
}

func (s careless) GiveBack(c ctx, t tasks.Claimed, err error, o ...tasks.CallOption) error {
	if s.what == "give back" {
		return s.Store.Fail(c, t, err)
	}
	return s.Store.GiveBack(c, t, err, o...)
}

func (s careless) Report(c ctx, id string, a tasks.Advance, o ...tasks.CallOption) error {
	if s.what == "report" {
		return s.Store.Progress(c, id, a)
	}
	return s.Store.Report(c, id, a, o...)
}

func (s careless) RetryMany(c ctx, f tasks.Filter, o ...tasks.CallOption) (int, error) {
	if s.what == "retry" {
		f.ErrorContains = ""
	}
	return s.Store.RetryMany(c, f, o...)
}

func (s careless) RunJanitor(c ctx, j tasks.Janitor) error {
	if s.what == "use" {
		j.ByUse = false
	}
	return s.Store.RunJanitor(c, j)
}

// Run gives each attempt a context without the steps of the one before.
func (s careless) Run(c ctx, handlers map[tasks.Type]tasks.Handler, n int, o ...tasks.RunOption) error {
	if s.what != "steps" {
		return s.Store.Run(c, handlers, n, o...)
	}
	return s.Store.Run(c, map[tasks.Type]tasks.Handler{tasks.Form: func(c context.Context, t tasks.Info) (any, error) {
		v, err := handlers[tasks.Form](c, t)
		if err != nil {
			_ = s.Store.Update(c, t.ID, tasks.Completed, nil, tasks.Force())
			_ = s.Store.Update(c, t.ID, tasks.Pending, nil, tasks.Force())
		}
		return v, err
	}}, n, o...)
}

// singly gives each claim's task back as if its worker had had no other.
func singly(f *faulty) {
	var last *tasks.Claimed
	f.claim = func(c ctx, d time.Duration, t []tasks.Type) (tasks.Claimed, error) {
		if last != nil {
			_ = f.Store.Fail(c, *last, errors.New("lease expired"))
		}
		got, err := f.Store.Claim(c, d, t...)
		if last = nil; err == nil {
			last = &got
		}
		return got, err
	}
}

func lost(what string) func(*tasks.Store) Store {
	return func(s *tasks.Store) Store { return careless{s, what} }
}

func nothing([]tasks.CallOption) []tasks.CallOption { return nil }

func init() {
	faults = append(faults, []fault{
		{name: "options of create dropped", tests: "Input FromCache Owner Labels Priority RunAt TaskAttempts", wrap: forget(forgetful{drop: nothing})},
		{name: "input in a normal form", tests: "Input", wrap: lost("input")},
		{name: "pause on old limits", tests: "PauseBesideLimits", wrap: lost("pause")},
		{name: "get whatever is there", tests: "CreateOrGet", wrap: lost("get")},
		{name: "cleanup of all owners", tests: "Owner", wrap: lost("owner")},
		{name: "owner ignored", tests: "Owner", wrap: forget(forgetful{list: func(q tasks.Query) tasks.Query { q.Owner = ""; return q }})},
		{name: "label ignored", tests: "Labels", wrap: forget(forgetful{list: func(q tasks.Query) tasks.Query { q.Label = [2]string{}; return q }})},
		{name: "snooze counts", tests: "Snooze", wrap: forget(forgetful{fail: func(s *tasks.Store, c ctx, t tasks.Claimed, err error) error {
			return s.Fail(c, t, errors.New(err.Error()))
		}})},
		{name: "permanent isn't", tests: "Permanent", wrap: forget(forgetful{fail: func(s *tasks.Store, c ctx, t tasks.Claimed, err error) error {
			return s.Fail(c, t, errors.New(err.Error()))
		}})},
		{name: "give back counts", tests: "GiveBack", wrap: lost("give back")},
		{name: "cancelled is failed", tests: "Cancel", wrap: lost("cancel")},
		{name: "times forgotten", tests: "Times FromCache", wrap: forget(forgetful{info: func(i *tasks.Info) { i.EndedAt = time.Time{} }})},
		{name: "progress overwrites the result", tests: "Report", wrap: lost("report")},
		{name: "limits ignored", tests: "Pause LimitRunning LimitPerSecond", wrap: forget(forgetful{limit: func(tasks.TypeLimits) tasks.TypeLimits { return tasks.TypeLimits{} }})},
		{name: "steps forgotten", tests: "Steps", wrap: lost("steps")},
		{name: "retry ignores the error", tests: "RetryMany", wrap: lost("retry")},
		{name: "use ignored", tests: "CleanupByUse", wrap: lost("use")},
		{name: "neighbours pay", tests: "CrashTogether", wrap: with(singly)},
	}...)
}
