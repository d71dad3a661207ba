package tasks

import (
	"context"
	"encoding/json"
	"sync/atomic"
)

// Progress stores a partial result of a task that is [Processing], which takes the place of the result so far.
// The status and the lease stay as they are; UpdatedAt is set. [Store.Result] and [Store.Watch] show the partial result;
// it stays until another one takes its place, even if the attempt fails or the task is completed without a result.
//
// It returns [ErrNotFound], or a [*TransitionError] if the task has another status.
// From a handler of [Store.Run], which passes on its context, it returns [ErrLeaseLost] if the handler's task
// isn't its own any more, so that it never overwrites what the next worker reports.
//
// It doesn't wait for durability unless it has the option [Durable]: a power cut may bring an earlier partial result back.
func (s *Store) Progress(ctx context.Context, id string, result any, opts ...CallOption) error {
	raw, err := s.partial(id, result)
	if err != nil {
		return err
	}
	k := call{relaxed: true}
	for _, o := range opts {
		o(&k)
	}
	return taskError("report progress of", id, s.backend.Progress(ctx, id, s.leaseOf(ctx, id), raw, !k.relaxed))
}

// partial checks a partial result.
func (s *Store) partial(id string, result any) (json.RawMessage, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if result == nil {
		return nil, taskError("report progress of", id, &InputError{"result", "nil", "a value"})
	}
	raw, err := s.encode(result)
	if err != nil {
		return nil, taskError("report progress of", id, err)
	}
	return raw, s.checkClock()
}

// HandlerTask returns the task of the handler whose context it is, as it was claimed: for [Tx.Complete] and its like.
// [Store.Run] extends the lease, so LeaseUntil is the earliest time that it ends.
func HandlerTask(ctx context.Context) (Claimed, bool) {
	t, ok := ctx.Value(handlerKey{}).(handlerTask)
	return t.claimed, ok
}

// handlerKey is the key of a context's handlerTask.
type handlerKey struct{}

// handlerTask is the task that a handler works on.
type handlerTask struct {
	store     *Store
	id, lease string
	input     json.RawMessage
	claimed   Claimed
	reported  *atomic.Bool // the handler has ended the attempt in a transaction of its own, if that is committed
}

// leaseOf returns the lease of the handler whose context it is, or "" if it isn't one, or not that task's.
func (s *Store) leaseOf(ctx context.Context, id string) string {
	if t, ok := ctx.Value(handlerKey{}).(handlerTask); ok && t.store == s && t.id == id {
		return t.lease
	}
	return ""
}
