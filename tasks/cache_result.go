package tasks

import (
	"encoding/json"
	"fmt"
)

// Cached is a result of the cache.
type Cached struct {
	Key string          // that it is stored under
	Raw json.RawMessage // the result
	// Hit is whether the call found the result, and neither computed it nor waited for that.
	Hit bool
}

// Decode stores the result in the value that v points to, as [json.Unmarshal] does.
func (c Cached) Decode(v any) error {
	if err := json.Unmarshal(c.Raw, v); err != nil {
		return fmt.Errorf("decode cached result %q: %w", c.Key, err)
	}
	return nil
}

// CachedError says that an earlier computation failed: see [CacheErrors].
type CachedError struct {
	CacheKey
	Text string // of the error
}

func (e *CachedError) Error() string {
	return fmt.Sprintf("cached error of %s %q: %s", e.Type, e.Key, e.Text)
}

// CacheStats counts what this store's cache has done since it was opened.
type CacheStats struct {
	Hits     int64 // calls that found a result or a stored error
	Misses   int64 // all other calls
	Shared   int64 // misses that waited for the computation of another call or process
	Computed int64 // computations that were begun
	Evicted  int64 // results that were deleted to keep the limits
	CacheSize
}

// CacheSize is what the table holds, of all stores: results and stored errors that haven't expired.
type CacheSize struct {
	Entries int
	Bytes   int64 // of the results alone
}

func (e CacheEntry) result(k CacheKey) (json.RawMessage, error) {
	if e.State == CacheFailed {
		return nil, &CachedError{k, string(e.Raw)}
	}
	return e.Raw, nil
}
