package tasks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/memory"
	"github.com/docusnap/asyncvfs/tasks/internal/testclock"
	"github.com/stretchr/testify/require"
)

// FuzzID: an id is refused, or it is a task's name of its own, byte by byte.
func FuzzID(f *testing.F) {
	for _, id := range []string{"", "a", "A", " a", "a\x00b", "a\nb", "\xff", "ä", "a\u0308", "\u0085", "\ufeff", "%", "'", `\`, strings.Repeat("x", 256), strings.Repeat("ü", 127)} {
		f.Add(id)
	}
	st, err := tasks.Open(f.Context(), filepath.Join(f.TempDir(), "tasks.db"), tasks.RelaxedByDefault())
	require.NoError(f, err)
	f.Cleanup(func() { st.Close() })
	f.Fuzz(func(t *testing.T, id string) {
		ctx := t.Context()
		good := id != "" && len(id) <= tasks.MaxID && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
		err := st.Create(ctx, id, tasks.Form)
		if !good {
			require.ErrorIs(t, err, tasks.ErrInvalid)
			require.ErrorIs(t, st.Delete(ctx, id), tasks.ErrInvalid)
			return
		}
		require.NoError(t, err)
		require.NoError(t, st.Update(ctx, id, tasks.Completed, id))
		list, err := st.List(ctx, tasks.Query{})
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, id, list[0].ID)
		res, err := st.Result(ctx, id)
		require.NoError(t, err)
		var back string
		require.NoError(t, res.Decode(&back))
		require.Equal(t, id, back)
		require.NoError(t, st.Delete(ctx, id))
	})
}

// pair is a store on SQLite and one in memory, which get the same calls at the same time of day.
type pair struct {
	t      *testing.T
	clock  *testclock.Clock
	stores [2]*tasks.Store
	claims [2][]tasks.Claimed
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t, clock: testclock.New()}
	opts := []tasks.Option{
		tasks.Clock(p.clock.Now), tasks.RelaxedByDefault(), tasks.MaxAttempts(2),
		tasks.Backoff(func(n int) time.Duration { return time.Duration(n) * 1500 * time.Millisecond }),
	}
	var err error
	p.stores[0], err = tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { p.stores[0].Close() })
	p.stores[1], err = tasks.New(memory.New(p.clock.Now).Backend(), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { p.stores[1].Close() })
	return p
}

// causes are the errors that have to be the same.
var causes = []error{tasks.ErrNotFound, tasks.ErrExists, tasks.ErrTransition, tasks.ErrInvalid, tasks.ErrNoTask, tasks.ErrLeaseLost}

func cause(err error) string {
	var te *tasks.TransitionError
	if errors.As(err, &te) {
		return te.Error()
	}
	for _, c := range causes {
		if errors.Is(err, c) {
			return c.Error()
		}
	}
	return fmt.Sprint(err)
}

// do makes a call of both stores, which have to answer the same.
func (p *pair) do(what string, call func(i int, st *tasks.Store) (any, error)) {
	p.t.Helper()
	a, errA := call(0, p.stores[0])
	b, errB := call(1, p.stores[1])
	require.Equal(p.t, cause(errB), cause(errA), what)
	require.Equal(p.t, b, a, what)
}

// step makes the call that two bytes stand for.
func (p *pair) step(op, arg byte) {
	ctx := p.t.Context()
	id := string('a' + rune(arg%5))
	status := []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed, tasks.Error}[arg/5%4]
	typ := []tasks.Type{tasks.Document, tasks.Form}[arg/20%2]
	var opts []tasks.CallOption
	if arg >= 200 {
		opts = append(opts, tasks.Force())
	}
	claim := func(i int) *tasks.Claimed {
		if n := len(p.claims[i]); n > 0 {
			return &p.claims[i][int(arg)%n]
		}
		return &tasks.Claimed{Info: tasks.Info{ID: id}, Lease: "none"}
	}
	p.do(fmt.Sprintf("op %d, argument %d", op%13, arg), func(i int, st *tasks.Store) (any, error) {
		switch op % 13 {
		case 0:
			return nil, st.Create(ctx, id, typ)
		case 1:
			return nil, st.Update(ctx, id, status, []any{nil, arg}[arg%2], append(opts, tasks.ErrorText([]string{"", "text"}[arg%3/2]))...)
		case 2:
			return nil, st.Retry(ctx, id, opts...)
		case 3:
			return nil, st.Delete(ctx, id)
		case 4:
			return nil, st.Progress(ctx, id, arg)
		case 5:
			c, err := st.Claim(ctx, time.Duration(arg%3+1)*time.Second, typ)
			if err == nil {
				p.claims[i] = append(p.claims[i], c)
			}
			return []any{c.Info, c.LeaseUntil}, err
		case 6:
			c := claim(i)
			err := st.Extend(ctx, c, time.Duration(arg%4+1)*time.Second)
			return c.LeaseUntil, err
		case 7:
			return nil, st.Complete(ctx, *claim(i), arg)
		case 8:
			return nil, st.Fail(ctx, *claim(i), fmt.Errorf("failed %d", arg))
		case 9:
			return st.Cleanup(ctx, time.Duration(arg)*time.Second/4)
		case 10:
			list, err := st.List(ctx, tasks.Query{Newest: arg%2 > 0, Limit: int(arg%3) + 1, Types: []tasks.Type{typ}, After: tasks.Info{ID: id, CreatedAt: p.clock.Now().Add(-time.Second).Truncate(time.Second)}})
			return fmt.Sprint(list), err
		case 11:
			return st.Count(ctx)
		}
		if i == 0 {
			p.clock.Add(time.Duration(arg) * 50 * time.Millisecond)
		}
		return nil, nil
	})
}

// look compares all that the stores know.
func (p *pair) look() {
	ctx := p.t.Context()
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		p.do("look at "+id, func(_ int, st *tasks.Store) (any, error) {
			r, err := st.Result(ctx, id)
			if err != nil {
				return nil, err
			}
			raw, _ := json.Marshal(r)
			list, err := st.Attempts(ctx, id)
			return fmt.Sprintf("%s %+v", raw, list), err
		})
	}
}

// FuzzStore compares SQLite with the simple backend in memory, call by call.
func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 0, 5, 0, 4, 0, 7, 0, 0, 0, 3, 0})
	f.Add([]byte{0, 0, 0, 1, 5, 0, 8, 0, 12, 40, 5, 0, 12, 100, 5, 0, 2, 0, 11, 0, 10, 1, 9, 2})
	f.Add([]byte{0, 2, 1, 7, 4, 2, 5, 0, 1, 217, 2, 202, 6, 0, 9, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		p := newPair(t)
		for i := 0; i+1 < len(ops) && i < 200; i += 2 {
			p.step(ops[i], ops[i+1])
			p.look()
		}
	})
}

// TestStoreModel is a part of FuzzStore that always runs.
func TestStoreModel(t *testing.T) {
	t.Parallel()
	seeds := uint64(20)
	if raceEnabled {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			p := newPair(t)
			for range 150 {
				p.step(byte(r.Uint32()), byte(r.Uint32()))
				p.look()
			}
		})
	}
}
