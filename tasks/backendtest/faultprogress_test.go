package backendtest

import (
	"context"

	"github.com/docusnap/asyncvfs/tasks"
)

// reporting gets partial results wrong.
type reporting struct {
	*tasks.Store
	by func(s *tasks.Store, ctx context.Context, id string, r any, o []tasks.CallOption) error
}

func (s reporting) Progress(ctx context.Context, id string, r any, o ...tasks.CallOption) error {
	return s.by(s.Store, ctx, id, r, o)
}

// reports replaces Progress.
func reports(by func(s *tasks.Store, ctx context.Context, id string, r any, o []tasks.CallOption) error) func(*tasks.Store) Store {
	return func(s *tasks.Store) Store { return reporting{s, by} }
}

// secretive doesn't tell handlers that their task is lost.
type secretive struct{ *tasks.Store }

func (s secretive) Run(ctx context.Context, handlers map[tasks.Type]tasks.Handler, n int, o ...tasks.RunOption) error {
	wrapped := map[tasks.Type]tasks.Handler{}
	for t, f := range handlers {
		wrapped[t] = func(ctx context.Context, task tasks.Info) (any, error) { return f(context.WithoutCancel(ctx), task) }
	}
	return s.Store.Run(ctx, wrapped, n, o...)
}
