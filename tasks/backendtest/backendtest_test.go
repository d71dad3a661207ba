package backendtest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder takes a test's failure, which then isn't that of the test around it.
type recorder struct {
	testing.TB
	failed  string // the first message
	skipped bool
	ended   chan struct{}
}

func (r *recorder) Errorf(format string, args ...any) {
	if r.failed == "" {
		r.failed = fmt.Sprintf(format, args...)
	}
}

// FailNow ends the goroutine, which runs the functions that it has deferred.
func (r *recorder) FailNow() { endGoroutine() }

func (r *recorder) Skip(...any) { r.skipped = true; endGoroutine() }

// record runs a test with stores that are opened on SQLite, and that wrap makes faulty.
func record(t *testing.T, name string, f fault, patience time.Duration) *recorder {
	i := slices.IndexFunc(cases, func(c testCase) bool { return c.name == name })
	require.GreaterOrEqual(t, i, 0, "no test %s", name)
	r := &recorder{TB: t, ended: make(chan struct{})}
	open := func(t testing.TB, _ func() time.Time, opts ...tasks.Option) Opened {
		n := 0
		dir := t.TempDir()
		open := func() Store {
			path := filepath.Join(dir, "tasks.db")
			if n++; n > 1 && f.apart {
				path = filepath.Join(dir, "other.db")
			}
			st, err := tasks.Open(t.Context(), path, append(opts, f.opts...)...)
			require.NoError(t, err)
			if f.wrap == nil {
				return st
			}
			return f.wrap(st)
		}
		if f.alone {
			return Opened{Store: open()}
		}
		return Opened{Store: open(), Second: open}
	}
	go func() {
		defer close(r.ended)
		cases[i].run(r, open, patience)
	}()
	<-r.ended
	return r
}

// TestFaults: whatever a backend may get wrong, the test that is there for it fails.
func TestFaults(t *testing.T) {
	caught := map[string]bool{}
	slots := make(chan struct{}, 8) // many tests wait for what doesn't come
	var running sync.WaitGroup
	for _, f := range faults {
		for _, name := range strings.Fields(f.tests) {
			caught[name] = true
			running.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				r := record(t, name, f, time.Second)
				assert.NotEmpty(t, r.failed, "%s: %s doesn't notice", f.name, name)
				assert.False(t, r.skipped, "%s: %s", f.name, name)
			})
		}
	}
	running.Wait()
	for _, c := range cases {
		require.True(t, caught[c.name], "no fault shows that %s can fail", c.name)
	}
}

// TestNoFault: what the faults are put into passes, and tests that need two stores don't fail for want of one.
func TestNoFault(t *testing.T) {
	for _, name := range []string{"Transitions", "Wait"} {
		r := record(t, name, fault{wrap: with(func(*faulty) {})}, time.Minute)
		require.Empty(t, r.failed)
		require.False(t, r.skipped)
	}
	r := record(t, "Wait", fault{alone: true}, time.Minute)
	require.Empty(t, r.failed)
	require.True(t, r.skipped)
}
