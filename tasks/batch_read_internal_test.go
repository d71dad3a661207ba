package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// batchReader is a backend that reads several tasks at once, and remembers how many.
type batchReader struct {
	Backend
	mu   sync.Mutex
	read []int // guarded by mu
}

func (b *batchReader) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = append(b.read, n)
}

func (b *batchReader) Look(_ context.Context, ids []string) (infos []Info, errs []error) {
	b.add(len(ids))
	for _, id := range ids {
		infos = append(infos, Info{ID: id})
	}
	return infos, make([]error, len(ids))
}

func (b *batchReader) GetMany(_ context.Context, ids []string, found func(int, Result, error)) {
	b.add(len(ids))
	for i, id := range ids {
		found(i, Result{Info: Info{ID: id}, Raw: json.RawMessage(`"` + id + `"`)}, nil)
	}
}

func (*batchReader) Use(context.Context, map[string]time.Time) error { return nil }

// TestBatchReader: looks at many tasks at the same time are one read where the backend has it so, each caller gets its own,
// and what one does to a result isn't seen by another.
func TestBatchReader(t *testing.T) {
	const ids, callers = 40, 2
	for name, test := range map[string]struct {
		gatherer func(*Store) *gatherer
		look     func(*Store, string) (Result, error)
	}{
		"status": {func(s *Store) *gatherer { return &s.status }, func(s *Store, id string) (Result, error) {
			i, err := s.Status(t.Context(), id)
			return Result{Info: i, Raw: json.RawMessage(`"` + id + `"`)}, err
		}},
		"result": {func(s *Store) *gatherer { return &s.result }, func(s *Store, id string) (Result, error) {
			return s.Result(t.Context(), id)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &batchReader{}
			s, err := New(b)
			require.NoError(t, err)
			g := test.gatherer(s)
			g.begins = true // as if somebody had asked just now
			results := make(chan Result, ids*callers)
			for i := range ids * callers {
				go func() {
					r, err := test.look(s, fmt.Sprint(i%ids))
					if err != nil {
						t.Error(err)
					}
					results <- r
				}()
			}
			joined := func() int {
				g.mu.Lock()
				defer g.mu.Unlock()
				return len(g.next)
			}
			for joined() < ids {
				runtime.Gosched()
			}
			go g.run()
			var seen []string
			for range ids * callers {
				r := <-results
				require.Equal(t, `"`+r.ID+`"`, string(r.Raw))
				clear(r.Raw)
				seen = append(seen, r.ID)
			}
			slices.Sort(seen)
			require.Len(t, slices.Compact(seen), ids)
			require.Equal(t, ids, b.read[0])
			require.LessOrEqual(t, len(b.read), 1+ids, "those who came too late to join")
		})
	}
}
