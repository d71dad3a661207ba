package tasks

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Filter says which tasks that are [Error] to take back to [Pending]. What isn't set is any.
type Filter struct {
	Types         []Type
	Owner         string
	Label         [2]string // a name and its value
	ErrorContains string    // a part of [Info].Error
	// CreatedFrom and CreatedBefore bound when the tasks were created.
	CreatedFrom, CreatedBefore time.Time
	// Cancelled is whether those that were cancelled are taken too.
	Cancelled bool
}

func (f Filter) matches(t Info) bool {
	return (f.Cancelled || !t.Cancelled) && strings.Contains(t.Error, f.ErrorContains) &&
		!t.CreatedAt.Before(f.CreatedFrom) && (f.CreatedBefore.IsZero() || t.CreatedAt.Before(f.CreatedBefore))
}

// RetryMany is [Store.Retry] for all tasks that a filter matches, in parts. It returns how many it has taken back;
// with an error, how many at the least. A task that fails again meanwhile isn't taken back twice.
func (s *Store) RetryMany(ctx context.Context, f Filter, opts ...CallOption) (n int, err error) {
	k := s.call(opts)
	q := Query{Types: f.Types, Statuses: []Status{Error}, Owner: f.Owner, Label: f.Label, Limit: 1000}
	for more := true; more; {
		list, err := s.List(ctx, q)
		if err != nil {
			return n, fmt.Errorf("retry tasks: %w", err)
		}
		if more = len(list) == q.Limit; more {
			q.After = list[len(list)-1]
		}
		var changes []Change
		for _, t := range list {
			if f.matches(t) {
				c, _ := s.retry(t.ID, call{})
				changes = append(changes, c)
			}
		}
		if len(changes) == 0 {
			continue
		}
		var first error
		for i, err := range s.backend.Write(ctx, changes, !k.relaxed) {
			switch {
			case err == nil:
				n++
			case first == nil && !gone(err):
				first = taskError("retry", changes[i].ID, err)
			}
		}
		if first != nil {
			return n, first
		}
	}
	return n, nil
}
