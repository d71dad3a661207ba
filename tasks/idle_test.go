package tasks_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// meter counts what a store asks of SQLite.
type meter struct {
	mu         sync.Mutex
	connects   int            // guarded by mu
	statements map[string]int // by their text; guarded by mu
	looked     chan struct{}  // gets one for each look for what others have changed, if there is space
}

func newMeter() *meter { return &meter{statements: map[string]int{}, looked: make(chan struct{}, 1)} }

func (m *meter) option() tasks.Option {
	return tasks.OnConnect(func(c *sqlite3.Conn) {
		m.mu.Lock()
		m.connects++
		m.mu.Unlock()
		err := c.Trace(sqlite3.TRACE_STMT, func(_ sqlite3.TraceEvent, stmt, _ any) error {
			s, ok := stmt.(*sqlite3.Stmt)
			if !ok {
				return nil
			}
			m.mu.Lock()
			m.statements[s.SQL()]++
			m.mu.Unlock()
			if s.SQL() == dataVersion {
				select {
				case m.looked <- struct{}{}:
				default:
				}
			}
			return nil
		})
		if err != nil {
			panic(err)
		}
	})
}

const dataVersion = "PRAGMA data_version"

// looks waits for so many looks for what others have changed.
func (m *meter) looks(t *testing.T, n int) {
	t.Helper()
	select {
	case <-m.looked: // it may be an old one
	default:
	}
	for range n {
		select {
		case <-m.looked:
		case <-t.Context().Done():
			t.Fatal("nobody looks")
		}
	}
}

// during counts what a function costs. The others are the statements but those that look for what others have changed.
func (m *meter) during(f func()) (connects, looks, others int, what []string) {
	m.mu.Lock()
	clear(m.statements)
	m.connects = 0
	m.mu.Unlock()
	f()
	m.mu.Lock()
	defer m.mu.Unlock()
	for sql, n := range m.statements {
		if sql == dataVersion {
			looks = n
			continue
		}
		others += n
		what = append(what, fmt.Sprint(n, " ", sql))
	}
	return m.connects, looks, others, what
}

// TestIdleWaiters: who waits for tasks that rest costs one look each 100 ms for all together:
// no connection, no other statement, no goroutine beside its own, and little memory.
func TestIdleWaiters(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprint("watch=", watch), func(t *testing.T) {
			n, limit := 10_000, 8<<10
			if raceEnabled {
				n, limit = 500, 16<<10
			}
			m := newMeter()
			st, _, _ := open(t, m.option())
			var list []tasks.NewTask
			for i := range n {
				list = append(list, tasks.NewTask{ID: fmt.Sprint(i), Type: tasks.Form})
			}
			require.Nil(t, st.CreateMany(t.Context(), list, tasks.Relaxed()))
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			before, goroutines := inMemory(), runtime.NumGoroutine()
			first := make(chan struct{}, n)
			for i := range n {
				wg.Go(func() {
					if !watch {
						_, _ = st.Wait(ctx, fmt.Sprint(i))
						return
					}
					for range st.Watch(ctx, fmt.Sprint(i)) {
						first <- struct{}{}
					}
				})
			}
			if watch {
				for range n {
					<-first
				}
			} else {
				require.Eventually(t, func() bool { return parked("(*Store).Wait", "tasks.await") == n }, time.Minute, 10*time.Millisecond)
			}
			m.looks(t, 3)
			each := (inMemory() - before) / n
			t.Logf("%d bytes for each who waits", each)
			require.LessOrEqual(t, each, limit)
			require.LessOrEqual(t, runtime.NumGoroutine(), goroutines+n+20)

			start := time.Now()
			connects, looks, others, what := m.during(func() { m.looks(t, 10) })
			require.Zero(t, connects)
			require.LessOrEqual(t, looks, int(time.Since(start)/tasks.ChangePoll)+2)
			require.Zero(t, others, "%v", what)
		})
	}
}

// parked counts the goroutines that have both functions on their stacks.
func parked(a, b string) (n int) {
	buf := make([]byte, 64<<20)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, a) && strings.Contains(g, b) {
			n++
		}
	}
	return n
}

// inMemory is what the heap and the stacks take.
func inMemory() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
