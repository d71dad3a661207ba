package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// load creates, claims and completes tasks from several goroutines, and remembers what it was told.
type load struct {
	t  *testing.T
	st *tasks.Store
	// deaths grows by one when a server begins to die, and by one when it has: what it hadn't on its disk may be gone then, claims too.
	deaths atomic.Int64

	mu        sync.Mutex
	created   map[string]bool      // answered as created, durably; guarded by mu
	tried     map[string]bool      // asked to be created; guarded by mu
	completed map[string]int       // attempts by the answers to Complete; guarded by mu
	handed    map[string][]handout // what claims have answered; guarded by mu
	lost      int                  // claims whose outcome isn't known: each may have begun one attempt; guarded by mu
	unknown   int                  // changes besides; guarded by mu
	wrong     []error              // guarded by mu
	stop      atomic.Bool
	all       sync.WaitGroup
}

// handout is a claim that has got a task, with the deaths before it was asked for and after it was answered.
type handout struct {
	attempt       int
	before, after int64
}

// survives reports whether the attempt is there as long as no more than so many deaths have come: claims aren't durable until a durable change is.
func (h handout) survives(deaths int64) bool { return h.before == deaths && deaths%2 == 0 }

func startLoad(t *testing.T, st *tasks.Store, creators, workers int) *load {
	l := &load{t: t, st: st, created: map[string]bool{}, tried: map[string]bool{}, completed: map[string]int{}, handed: map[string][]handout{}}
	for c := range creators {
		l.all.Go(func() {
			for n := 0; !l.stop.Load(); n++ {
				l.create(fmt.Sprintf("%d-%d", c, n))
			}
		})
	}
	for range workers {
		l.all.Go(func() {
			for !l.stop.Load() {
				l.work()
			}
		})
	}
	return l
}

func (l *load) create(id string) {
	l.mu.Lock()
	l.tried[id] = true
	l.mu.Unlock()
	err := l.st.Create(context.Background(), id, tasks.Form)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.created[id] = true
	case errors.Is(err, tasks.ErrOutcomeUnknown):
		l.unknown++
	default:
		l.wrong = append(l.wrong, err)
	}
}

// work claims a task and completes it.
func (l *load) work() {
	h := handout{before: l.deaths.Load()}
	c, err := l.st.Claim(context.Background(), tasks.MinLease, tasks.Form)
	h.attempt, h.after = c.Attempts, l.deaths.Load()
	l.mu.Lock()
	switch {
	case err == nil:
		l.handed[c.ID] = append(l.handed[c.ID], h)
	case errors.Is(err, tasks.ErrNoTask):
	case errors.Is(err, tasks.ErrOutcomeUnknown):
		l.lost++
	default:
		l.wrong = append(l.wrong, err)
	}
	l.mu.Unlock()
	if err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	err = l.st.Complete(context.Background(), c, c.Attempts)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		if l.completed[c.ID] != 0 {
			l.wrong = append(l.wrong, fmt.Errorf("%s was completed twice", c.ID))
		}
		l.completed[c.ID] = c.Attempts
	case errors.Is(err, tasks.ErrOutcomeUnknown):
		l.unknown++
	case !errors.Is(err, tasks.ErrLeaseLost):
		l.wrong = append(l.wrong, err)
	}
}

// others says that there is a task which isn't the load's.
func (l *load) others(id string) {
	l.mu.Lock()
	l.tried[id] = true
	l.mu.Unlock()
}

// done is how many tasks were answered as created, and how many as completed.
func (l *load) done() (created, completed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.created), len(l.completed)
}

// progress waits until that many more were answered as created, and that many as completed: each kind of work goes on.
func (l *load) progress(creates, completions int) {
	l.t.Helper()
	created, completed := l.done()
	for start := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		c, d := l.done()
		if c >= created+creates && d >= completed+completions {
			return
		}
		require.Less(l.t, time.Since(start), time.Minute, "nothing goes on: %d more created, %d more completed", c-created, d-completed)
	}
}

// check ends the load, and looks whether what was answered is there, and whether every attempt is accounted for.
func (l *load) check() {
	l.stop.Store(true)
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(l.t, l.wrong)
	deaths, unasked := l.deaths.Load(), 0
	for id := range l.tried {
		unasked += l.account(id, deaths)
	}
	require.LessOrEqual(l.t, unasked, l.lost, "attempts that no claim can have begun")
	n := 0
	for q := (tasks.Query{Limit: 1000}); ; {
		list, err := l.st.List(l.t.Context(), q)
		require.NoError(l.t, err)
		for _, t := range list {
			require.True(l.t, l.tried[t.ID], "%s was never asked for", t.ID)
		}
		if n += len(list); len(list) < q.Limit {
			break
		}
		q.After = list[len(list)-1]
	}
	require.GreaterOrEqual(l.t, n, len(l.created))
	l.t.Logf("%d created, %d completed, %d claims and %d changes with an unknown outcome, %d attempts begun by those claims",
		len(l.created), len(l.completed), l.lost, l.unknown, unasked)
}

// account checks a task against what was answered, and returns how many of its attempts no claim has answered with.
// l.mu is held.
func (l *load) account(id string, deaths int64) (unasked int) {
	t, ctx := l.t, l.t.Context()
	r, err := l.st.Result(ctx, id)
	if !l.created[id] && errors.Is(err, tasks.ErrNotFound) {
		require.Empty(t, l.handed[id], "%s was handed out, and isn't there", id)
		return 0
	}
	require.NoError(t, err, "%s was answered as created", id)
	if attempt := l.completed[id]; attempt != 0 {
		require.Equal(t, tasks.Completed, r.Status, "%s was answered as completed", id)
		require.Equal(t, attempt, r.Attempts, "%s: there is no attempt after the one that completed it", id)
		require.Equal(t, fmt.Sprint(attempt), string(r.Raw), id)
	}
	attempts, err := l.st.Attempts(ctx, id)
	require.NoError(t, err)
	require.Len(t, attempts, r.Attempts, "%s: each attempt is listed", id)
	for i, a := range attempts {
		require.Equal(t, i+1, a.Number, id)
	}
	answered := map[int]handout{}
	for _, h := range l.handed[id] {
		if h.attempt > r.Attempts {
			require.False(t, h.survives(deaths), "%s: attempt %d was handed out, and has gone", id, h.attempt)
			continue
		}
		if other, ok := answered[h.attempt]; ok {
			first := min(h.before, other.before)
			require.False(t, handout{before: first}.survives(max(h.after, other.after)), "%s: attempt %d was handed out twice", id, h.attempt)
		}
		answered[h.attempt] = h
	}
	return r.Attempts - len(answered)
}
