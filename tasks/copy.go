package tasks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrNoTransfer is returned by [Copy] for a store whose backend can't hand over all that it has.
var ErrNoTransfer = errors.New("the backend can't be copied from or to")

// ErrCopyDiffers is returned by [Copy] if what it reads back isn't what it has written.
var ErrCopyDiffers = errors.New("the copy differs")

// Record is all that there is of a task. What isn't set is zero.
type Record struct {
	Result
	New       Creation // its input, and what else a task is created with
	DelayedAt time.Time
	Suspect   bool
	Attempts  []Attempt
	Steps     map[string]json.RawMessage
	UsedAt    time.Time // when its result was last read
	// Lease is who holds it, or nil.
	Lease *LeaseRecord
	// Seq is where the task is in the order of an export, if its backend numbers them. It isn't copied.
	Seq int64 `json:"-"`
}

// LeaseRecord is a task's holder.
type LeaseRecord struct {
	Lease, Worker   string
	LeasedAt, Until time.Time
	Suspect, Shared bool
}

// CacheRecord is all that there is of a result of the cache.
type CacheRecord struct {
	CacheKey
	CacheEntry
	CreatedAt, ExpiresAt, UsedAt time.Time
	Uses                         int
}

// TransferBackend is a [Backend] that can hand over all that it has, and take it.
type TransferBackend interface {
	Backend
	// Export returns tasks after one, the zero Record for the first, in the order in which they were created:
	// some if there are any. Of those of the same second the order may be another one.
	Export(ctx context.Context, after Record) ([]Record, error)
	// Records returns the tasks with these ids that there are, in any order.
	Records(ctx context.Context, ids []string) ([]Record, error)
	// Import stores tasks, durably, each instead of the one with its id, if there is one.
	Import(ctx context.Context, list []Record) error
	// ExportCache returns the results after a key, in the order of types and keys: some if there are any.
	ExportCache(ctx context.Context, after CacheKey) ([]CacheRecord, error)
	// ImportCache stores results as Import does tasks.
	ImportCache(ctx context.Context, list []CacheRecord) error
}

// transferBytes and transferRows bound how much a backend hands over at once.
const (
	transferBytes = 4 << 20
	transferRows  = 500
)

// Copied is what [Copy] has copied.
type Copied struct {
	Tasks   int
	Results int   // of the cache
	Bytes   int64 // of JSON that was compared
	// Sum is the SHA-256 of all tasks' sums, in order. Two copies of the same tasks have the same.
	Sum [sha256.Size]byte
}

// CopyOption sets how [Copy] behaves.
type CopyOption func(*copier)

// CopyProgress has a function called after each part.
func CopyProgress(f func(Copied)) CopyOption { return func(c *copier) { c.progress = f } }

type copier struct {
	progress func(Copied)
	done     Copied
}

// Copy copies everything from one store to another: tasks with their inputs, results, attempts, steps, leases and times,
// the cache, and the limits of types. It does so in parts, each of which is durable and read back before the next:
// that what was read back differs is an [ErrCopyDiffers]. A copy that was interrupted is begun anew:
// a task is written over one with the same id, and what else the other store has is left alone.
// The order of claims is kept, but on the way from PostgreSQL not that of tasks which were created in the same second.
//
// Changes of the first store during the copy may or may not be copied; if tasks were created or deleted meanwhile so that the number
// isn't the same, that is an [ErrCopyDiffers] too. To move, end all workers first; a task that one of them holds
// is copied with its lease, and comes back when that has expired.
func Copy(ctx context.Context, to, from *Store, opts ...CopyOption) (Copied, error) {
	c := copier{progress: func(Copied) {}}
	for _, o := range opts {
		o(&c)
	}
	src, ok1 := from.backend.(TransferBackend)
	dst, ok2 := to.backend.(TransferBackend)
	if !ok1 || !ok2 {
		return Copied{}, ErrNoTransfer
	}
	for _, f := range []func(context.Context, TransferBackend, TransferBackend) error{copyLimits, c.tasks, c.cache} {
		if err := f(ctx, dst, src); err != nil {
			return c.done, fmt.Errorf("copy tasks: %w", err)
		}
	}
	return c.done, nil
}

func copyLimits(ctx context.Context, to, from TransferBackend) error {
	limits, err := from.Limits(ctx)
	for t, l := range limits {
		err = errors.Join(err, to.SetLimits(ctx, t, l))
	}
	return err
}

func (c *copier) tasks(ctx context.Context, to, from TransferBackend) error {
	all := sha256.New()
	for after := (Record{}); ; {
		list, err := from.Export(ctx, after)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		if err := to.Import(ctx, list); err != nil {
			return err
		}
		ids := make([]string, len(list))
		for i, r := range list {
			ids[i] = r.ID
		}
		there, err := to.Records(ctx, ids)
		if err != nil {
			return err
		}
		sums := map[string][sha256.Size]byte{}
		for _, r := range there {
			if sums[r.ID], _, err = r.sum(); err != nil {
				return err
			}
		}
		for _, r := range list {
			sum, n, err := r.sum()
			if err != nil {
				return err
			}
			if got, ok := sums[r.ID]; !ok || got != sum {
				return taskError("copy", r.ID, ErrCopyDiffers)
			}
			all.Write(sum[:])
			c.done.Bytes += int64(n)
		}
		c.done.Tasks += len(list)
		all.Sum(c.done.Sum[:0])
		c.progress(c.done)
		after = list[len(list)-1]
	}
	return c.count(ctx, from)
}

// count looks whether there are as many tasks as were copied.
func (c *copier) count(ctx context.Context, from TransferBackend) error {
	n := 0
	counts, err := from.Count(ctx, "")
	for _, byStatus := range counts {
		for _, of := range byStatus {
			n += of
		}
	}
	if err == nil && n != c.done.Tasks {
		err = fmt.Errorf("%w: there are %d tasks, %d were copied", ErrCopyDiffers, n, c.done.Tasks)
	}
	return err
}

// sum returns the SHA-256 of a task, and of how many bytes.
func (r Record) sum() (sum [sha256.Size]byte, n int, err error) {
	raw, result, input := r, r.Raw, r.New.Input
	// As they are: as JSON they would be compacted.
	raw.Raw, raw.New.Input = nil, nil
	text, err := json.Marshal(raw)
	if err != nil {
		return sum, 0, fmt.Errorf("task %q: %w", r.ID, err)
	}
	h := sha256.New()
	for _, part := range [][]byte{text, result, input} {
		fmt.Fprintf(h, "%d %v:", len(part), part == nil)
		h.Write(part)
		n += len(part)
	}
	h.Sum(sum[:0])
	return sum, n, nil
}

func (c *copier) cache(ctx context.Context, to, from TransferBackend) error {
	for after := (CacheKey{}); ; {
		list, err := from.ExportCache(ctx, after)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := to.ImportCache(ctx, list); err != nil {
			return err
		}
		for _, r := range list {
			e, err := to.CacheGet(ctx, r.CacheKey)
			if err != nil {
				return err
			}
			expired := e.State == CacheMissing && !r.ExpiresAt.IsZero()
			if !expired && (e.State != r.State || !bytes.Equal(e.Raw, r.Raw)) {
				return cacheError(r.CacheKey, ErrCopyDiffers)
			}
			c.done.Bytes += int64(len(r.Raw))
		}
		c.done.Results += len(list)
		c.progress(c.done)
		after = list[len(list)-1].CacheKey
	}
}
