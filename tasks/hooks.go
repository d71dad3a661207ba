package tasks

import (
	"context"
	"log/slog"
	"time"
)

// Hooks are functions that a store calls when something has happened. Each is optional.
// They are called by the goroutine that does the work, after it is made, and shall return soon; they may be called at the same time.
// Metrics are built on them. Set them by [WithHooks].
type Hooks struct {
	Created      func(ctx context.Context, i CreatedInfo)
	Claimed      func(ctx context.Context, i ClaimedInfo)
	AttemptEnded func(ctx context.Context, i AttemptEndedInfo) // of what this store's [Store.Run], Complete, Fail, Snooze or GiveBack has reported
	Finished     func(ctx context.Context, i FinishedInfo)     // a task is Completed or Error, by this store
	LeaseLost    func(ctx context.Context, i LeaseLostInfo)    // of a task that a handler of Run works on, or has
	CacheHit     func(ctx context.Context, i CacheHitInfo)
	Stuck        func(ctx context.Context, i StuckInfo)   // a handler doesn't return though its context is done; its slot is free again
	Trouble      func(ctx context.Context, i TroubleInfo) // Run couldn't claim or report; it tries again
}

// CreatedInfo is a task that was created.
type CreatedInfo struct {
	ID     string
	Type   Type
	Status Status // Completed if the cache had its result
}

// ClaimedInfo is a task that was claimed.
type ClaimedInfo struct {
	Task   Info
	Waited time.Duration // since it was created, or was to run at the earliest
}

// AttemptEndedInfo is what came of an attempt.
type AttemptEndedInfo struct {
	Task      Info // as it was claimed
	Status    Status
	Err       error         // nil if it succeeded
	Took      time.Duration // since it was claimed, by the monotonic clock; 0 if this store hasn't run the handler
	Delay     time.Duration // until the next one
	Uncounted bool
}

// FinishedInfo is a task that is done.
type FinishedInfo struct {
	ID        string
	Type      Type // empty if the call didn't know it
	Status    Status
	Cancelled bool
}

// LeaseLostInfo is a task that isn't its handler's any more.
type LeaseLostInfo struct {
	Task Info
	Err  error // ErrLeaseLost, or why the outcome couldn't be stored before the lease ended
}

// CacheHitInfo is a key whose result was stored.
type CacheHitInfo struct{ CacheKey }

// StuckInfo is a handler that doesn't return.
type StuckInfo struct {
	Task     Info
	After    time.Duration // since it was claimed
	Cause    error         // why its context is done
	Returned bool          // it has returned since, which is reported once more
}

// TroubleInfo is an error after which Run goes on.
type TroubleInfo struct {
	Task *Info // nil if it was a claim
	Err  error
}

// WithHooks adds hooks. Those that were added before are called first.
func WithHooks(h Hooks) Option { return func(c *config) { c.hooks.list = append(c.hooks.list, h) } }

// Logger makes the store log what a person should know: stuck handlers, lost leases, failed attempts and trouble as warnings,
// tasks that failed as errors, all else for debugging. Default: nothing.
func Logger(l *slog.Logger) Option { return func(c *config) { c.hooks.log = l } }

// hooks calls all that there are.
type hooks struct {
	list []Hooks
	log  *slog.Logger
}

func (h *hooks) logs(ctx context.Context, level slog.Level, text string, attrs ...slog.Attr) {
	if h.log != nil {
		h.log.LogAttrs(ctx, level, text, attrs...)
	}
}

// changed tells of a change that was made.
func (h *hooks) changed(ctx context.Context, c Change) {
	if c.Op == OpCreate {
		for _, k := range h.list {
			if k.Created != nil {
				k.Created(ctx, CreatedInfo{c.ID, c.Type, c.Status})
			}
		}
		h.logs(ctx, slog.LevelDebug, "task created", slog.String("task", c.ID), slog.String("type", string(c.Type)))
	}
	if c.Op != OpDelete && c.Status.Final() {
		h.finished(ctx, FinishedInfo{c.ID, c.Type, c.Status, c.Cancelled})
	}
}

func (h *hooks) finished(ctx context.Context, i FinishedInfo) {
	for _, k := range h.list {
		if k.Finished != nil {
			k.Finished(ctx, i)
		}
	}
	level := slog.LevelDebug
	if i.Status == Error && !i.Cancelled {
		level = slog.LevelError
	}
	h.logs(ctx, level, "task finished", slog.String("task", i.ID), slog.String("status", string(i.Status)), slog.Bool("cancelled", i.Cancelled))
}

func (h *hooks) claimed(ctx context.Context, t Info, now time.Time) {
	if len(h.list) == 0 && h.log == nil {
		return
	}
	since := t.CreatedAt
	if t.RunAt.After(since) {
		since = t.RunAt
	}
	for _, k := range h.list {
		if k.Claimed != nil {
			k.Claimed(ctx, ClaimedInfo{t, max(0, now.Sub(since))})
		}
	}
	h.logs(ctx, slog.LevelDebug, "task claimed", slog.String("task", t.ID), slog.Int("attempt", t.Attempts))
}

func (h *hooks) ended(ctx context.Context, i AttemptEndedInfo) {
	for _, k := range h.list {
		if k.AttemptEnded != nil {
			k.AttemptEnded(ctx, i)
		}
	}
	if i.Err != nil {
		h.logs(ctx, slog.LevelWarn, "attempt failed", slog.String("task", i.Task.ID), slog.Int("attempt", i.Task.Attempts),
			slog.Any("error", i.Err), slog.String("status", string(i.Status)), slog.Duration("delay", i.Delay))
	}
	if i.Status.Final() {
		h.finished(ctx, FinishedInfo{i.Task.ID, i.Task.Type, i.Status, false})
	}
}

func (h *hooks) leaseLost(ctx context.Context, i LeaseLostInfo) {
	for _, k := range h.list {
		if k.LeaseLost != nil {
			k.LeaseLost(ctx, i)
		}
	}
	h.logs(ctx, slog.LevelWarn, "lease lost", slog.String("task", i.Task.ID), slog.Any("error", i.Err))
}

func (h *hooks) cacheHit(ctx context.Context, key CacheKey) {
	for _, k := range h.list {
		if k.CacheHit != nil {
			k.CacheHit(ctx, CacheHitInfo{key})
		}
	}
}

func (h *hooks) stuck(ctx context.Context, i StuckInfo) {
	for _, k := range h.list {
		if k.Stuck != nil {
			k.Stuck(ctx, i)
		}
	}
	h.logs(ctx, slog.LevelWarn, "handler is stuck", slog.String("task", i.Task.ID), slog.Duration("after", i.After),
		slog.Any("cause", i.Cause), slog.Bool("returned", i.Returned))
}

func (h *hooks) trouble(ctx context.Context, i TroubleInfo) {
	for _, k := range h.list {
		if k.Trouble != nil {
			k.Trouble(ctx, i)
		}
	}
	id := ""
	if i.Task != nil {
		id = i.Task.ID
	}
	h.logs(ctx, slog.LevelWarn, "worker has trouble", slog.String("task", id), slog.Any("error", i.Err))
}
