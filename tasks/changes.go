package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// ErrNoChanges is returned by [Store.Changes] if the store's backend keeps no log of changes.
var ErrNoChanges = errors.New("the backend keeps no log of changes")

// Changes are changes of tasks, in the order in which they were made.
type Changes struct {
	// IDs are the tasks that have changed, each once, in the order of the last of these changes of each. What has become of them,
	// [Store.Status] tells: they may be deleted.
	IDs []string
	// Numbers are those of these last changes, as many as there are IDs, ascending: who has dealt with all tasks up to a number goes on after that.
	// Tasks that were changed together have the same.
	Numbers []int64
	// Last is the number of the last of these changes, to go on after it; if there are none, the one to go on after.
	Last int64
	// Lost is whether changes in between aren't known any more: then any task may have changed.
	Lost bool
	// More is whether there are more changes than were asked for.
	More bool
}

// ChangesBackend is a [Backend] that keeps a log of changes, whoever makes them.
type ChangesBackend interface {
	Backend
	// Changes returns up to so many changes after one, which is numbered from 1 on; a negative one stands for the last there is.
	// A task that has changed more than once is named each time. Without Numbers, all are taken to have been made together.
	// There may be more if some of them can't be told apart, as those of one transaction.
	Changes(ctx context.Context, after int64, limit int) (Changes, error)
}

// Changes returns which tasks have changed since a change, by its number: up to limit changes, 1 to 1000, and the rest of those that were made together with the last one.
// A negative number stands for the last change there is. The newest 10,000 changes are kept at the least, also when the store is closed.
// It returns [ErrNoChanges] if the backend has no such log.
//
// A change is seen when it is made, which may be a moment before it is durable: see [Store.Sync].
func (s *Store) Changes(ctx context.Context, after int64, limit int) (Changes, error) {
	b, ok := s.backend.(ChangesBackend)
	if !ok {
		return Changes{}, ErrNoChanges
	}
	if limit < 1 || limit > 1000 {
		return Changes{}, &InputError{"limit", strconv.Itoa(limit), "1 to 1000"}
	}
	c, err := b.Changes(ctx, after, limit)
	if err != nil {
		err = fmt.Errorf("get changes: %w", err)
	}
	if len(c.Numbers) != len(c.IDs) {
		c.Numbers = slices.Repeat([]int64{c.Last}, len(c.IDs))
	}
	c.IDs, c.Numbers = lastOfEach(c.IDs, c.Numbers)
	return c, err
}

// lastOfEach returns the last change of each task.
func lastOfEach(ids []string, numbers []int64) (eachIDs []string, eachNumbers []int64) {
	last := make(map[string]int, len(ids))
	for i, id := range ids {
		last[id] = i
	}
	for i, id := range ids {
		if last[id] == i {
			eachIDs, eachNumbers = append(eachIDs, id), append(eachNumbers, numbers[i])
		}
	}
	return eachIDs, eachNumbers
}

// Notify returns a channel that is closed once the task may have changed since the call: at once for a change by this process,
// within [ChangePoll] for one by another. With an empty id it is for any task. Stop ends it, and is to be called once.
// It costs what [Store.Wait] does.
func (s *Store) Notify(id string) (changed <-chan struct{}, stop func()) { return s.backend.Notify(id) }
