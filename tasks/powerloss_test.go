package tasks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/internal/powercut"
	"github.com/docusnap/asyncvfs/internal/rules"
	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// told is what a caller was told to be durable.
type told struct {
	id     string
	status tasks.Status
}

// rank orders the statuses that a task goes through here.
var rank = map[tasks.Status]int{tasks.Pending: 1, tasks.Processing: 2, tasks.Completed: 3}

// resultFor is the only result that a task or a key of the cache ever has.
func resultFor(id string) string { return id + " 名 " + strings.Repeat(id, 40) }

// storeOn opens a store on a simulated disk.
func storeOn(t *testing.T, d *powercut.Disk, vfsName string) *tasks.Store {
	t.Helper()
	st, err := tasks.Open(t.Context(), d.Path("tasks.db"), tasks.VFS(vfsName))
	require.NoError(t, err)
	return st
}

// powerLossTrace runs callers that take tasks through their lives, some of them relaxed, and use the cache.
func powerLossTrace(t *testing.T, d *powercut.Disk, vfsName string) {
	st := storeOn(t, d, vfsName)
	d.Mark("open")
	var wg sync.WaitGroup
	for caller := range 6 {
		wg.Go(func() {
			ctx := context.Background()
			check := func(err error) {
				if err != nil {
					t.Error(err)
				}
			}
			for i := range 6 {
				id := fmt.Sprintf("%d-%d", caller, i)
				var opts []tasks.CallOption
				if (caller+i)%3 == 0 {
					opts = append(opts, tasks.Relaxed())
				}
				tell := func(s tasks.Status) {
					if opts == nil {
						d.Mark(told{id, s})
					}
				}
				check(st.Create(ctx, id, tasks.Document, opts...))
				tell(tasks.Pending)
				check(st.Update(ctx, id, tasks.Processing, nil, opts...))
				tell(tasks.Processing)
				_, err := st.Do(ctx, tasks.Form, i, func(context.Context) (any, error) { return resultFor(fmt.Sprint(i)), nil })
				check(err)
				check(st.Update(ctx, id, tasks.Completed, resultFor(id), opts...))
				tell(tasks.Completed)
			}
		})
	}
	wg.Wait()
	require.NoError(t, st.Close())
}

// TestPowerLoss: no task that was reported durable is missing, no status goes back, no result is torn,
// and the cache returns what was computed or computes anew.
func TestPowerLoss(t *testing.T) {
	violations, states := 0, 0
	for name, disabled := range map[string]rules.Set{"on": 0, "off": rules.H4Create} {
		t.Run(name, func(t *testing.T) {
			cfg := powercut.Config{ShmDir: t.TempDir(), Powersafe: true, Fault: func(op powercut.Op) (f powercut.Fault) {
				if op.Kind == powercut.SyncStart {
					f.Hang = time.Millisecond // so that something happens meanwhile
				}
				return f
			}}
			d := powercut.NewDisk(nil, cfg)
			defer d.Remove()
			powerLossTrace(t, d, powercut.Async(disabled, 0))
			trace := d.Trace()
			crash := powercut.NewCrash(nil, cfg, trace)
			r := rand.New(rand.NewPCG(1, 1))
			must, opened := map[string]tasks.Status{}, false
			for k := range len(trace) + 1 {
				if k > 0 {
					switch note := trace[k-1].Note.(type) {
					case told:
						must[note.id] = note.status
					case string:
						opened = true
					}
				}
				crash.Advance(k)
				if !opened || r.IntN(12) > 0 {
					continue
				}
				for _, choice := range []powercut.Choice{powercut.None, powercut.Random + powercut.Choice(r.Uint32())} {
					err := lookAfter(t, crash.Image(choice), cfg, must)
					states++
					if disabled != 0 && err != nil {
						violations++
						continue
					}
					require.NoError(t, err, "after %d of %d events, choice %v", k, len(trace), choice)
				}
			}
		})
	}
	t.Log(states, "states after power cuts,", violations, "violations with a rule switched off")
	require.NotZero(t, violations, "with rules switched off nothing was lost: the test can't see it")
}

// lookAfter opens what a power cut has left, on the stock VFS.
func lookAfter(t *testing.T, img powercut.Image, cfg powercut.Config, must map[string]tasks.Status) error {
	d := powercut.NewDisk(img, powercut.Config{ShmDir: cfg.ShmDir, Powersafe: true, Quiet: true})
	defer d.Remove()
	// A computation that was under way holds its lease for a while.
	later := func() time.Time { return time.Now().Add(time.Hour) }
	st, err := tasks.Open(t.Context(), d.Path("tasks.db"), tasks.VFS(powercut.Stock), tasks.Clock(later))
	if err != nil {
		return err
	}
	defer st.Close()
	ctx := t.Context()
	list, err := st.List(ctx, tasks.Query{Limit: 1000})
	if err != nil {
		return err
	}
	have := map[string]tasks.Status{}
	for _, info := range list {
		have[info.ID] = info.Status
		res, err := st.Result(ctx, info.ID)
		if err != nil {
			return err
		}
		want, _ := json.Marshal(resultFor(info.ID))
		if (info.Status == tasks.Completed) != (res.Raw != nil) || res.Raw != nil && string(res.Raw) != string(want) {
			return fmt.Errorf("task %s is %s with the result %q", info.ID, info.Status, res.Raw)
		}
	}
	for id, status := range must {
		if rank[have[id]] < rank[status] {
			return fmt.Errorf("task %s was reported as durably %s, and is %q", id, status, have[id])
		}
	}
	for i := range 6 {
		want := resultFor(fmt.Sprint(i))
		c, err := st.Do(ctx, tasks.Form, i, func(context.Context) (any, error) { return want, nil })
		var got string
		if err == nil {
			err = c.Decode(&got)
		}
		if err != nil || got != want {
			return fmt.Errorf("the cache has %q for %d: %v", got, i, err)
		}
	}
	return nil
}
