package taskcut

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/docusnap/asyncvfs/tasks"
)

// What is done after a recovery.
const (
	followTask  = "after"
	followValue = "what was computed after the power cut"
)

// follow opens what a power cut has left with a store, holds what that says against live state n,
// goes on with it, and checks the states that another power cut in the midst of that leaves.
// It returns how many it checked.
//
// Here no write spoils what is beside it, as with package powercut.
func (o *oracle) follow(img simdisk.Image, n int, r *rand.Rand) (states int, err error) {
	x := o.x
	cfg := x.cfg
	cfg.Gate, cfg.Fault = nil, nil
	cfg.Powersafe = true
	d := simdisk.NewDisk(img, cfg)
	defer d.Remove()
	vfsName := simdisk.Stock
	if r.IntN(2) == 0 {
		vfsName = simdisk.Async(0, 0)
	}
	returned, err := o.goOn(d, vfsName, n, r)
	if err != nil {
		return 0, fmt.Errorf("I7: after a recovery on %s: %w", vfsName, err)
	}

	// What it is on the way from the one to the other.
	trace := d.Trace()
	allowed := map[uint64]bool{o.live[n].digest: true}
	crash := simdisk.NewCrash(img, cfg, trace)
	end := inspect(d.Image(), cfg.ShmDir, true)
	if end.err != nil || end.rows.tasks[followTask].status != string(tasks.Completed) {
		return 0, fmt.Errorf("I7: after a recovery on %s and a close it holds %+v", vfsName, end.rows.tasks[followTask])
	}
	for _, k := range commits(img[dbName+"-wal"], trace) {
		crash.Advance(k)
		if f := inspect(crash.Image(simdisk.All), cfg.ShmDir, false); f.err == nil {
			allowed[f.digest] = true
		}
	}
	crash = simdisk.NewCrash(img, cfg, trace)
	k := 0
	for range 3 {
		k += r.IntN(len(trace) + 1 - k)
		crash.Advance(k)
		f := inspect(crash.Image(simdisk.Random+simdisk.Choice(r.Uint32())), cfg.ShmDir, true)
		states++
		// What the first power cut left incomplete may have become complete.
		_, err := o.check(f)
		if f.err != nil || !allowed[f.digest] && err != nil {
			return states, fmt.Errorf("I7: on %s, after another power cut after event %d of %d: %w", vfsName, k, len(trace), errors.Join(f.err, err))
		}
		if k > returned && f.rows.tasks[followTask].status != string(tasks.Completed) {
			return states, fmt.Errorf("I7: on %s, after another power cut after event %d of %d (Update had returned at %d) the task is %q",
				vfsName, k, len(trace), returned, f.rows.tasks[followTask].status)
		}
	}
	return states, nil
}

// goOn opens a store, looks, and makes a durable change. It returns where in the trace that had returned.
func (o *oracle) goOn(d *simdisk.Disk, vfsName string, n int, r *rand.Rand) (returned int, err error) {
	ctx := context.Background()
	st, err := tasks.Open(ctx, d.Path(dbName), tasks.VFS(vfsName), bubbleClock, tasks.Backoff(func(int) time.Duration { return 0 }))
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := st.Close(); err == nil {
			err = e
		}
	}()
	want := o.live[n].rows
	if err := lookAround(ctx, st, want); err != nil {
		return 0, err
	}
	key := tasks.CacheKey{Type: tasks.Form, Key: fmt.Sprintf("k%d", r.IntN(5))}
	c, err := st.Do(ctx, key.Type, nil, func(context.Context) (any, error) { return followValue, nil }, tasks.Key(key.Key))
	if err != nil {
		return 0, err
	}
	expect := want.cache[key].result
	if !want.cache[key].stored {
		expect = quoted(followValue)
	}
	if string(c.Raw) != expect || c.Hit != want.cache[key].stored {
		return 0, fmt.Errorf("the cache returned %.60s for %s, want %.60s", c.Raw, key.Key, expect)
	}
	if err := workAround(ctx, st, want); err != nil {
		return 0, err
	}
	if err := st.Create(ctx, followTask, tasks.Document, tasks.Relaxed()); err != nil {
		return 0, err
	}
	if err := st.Update(ctx, followTask, tasks.Completed, "done"); err != nil {
		return 0, err
	}
	returned, _ = d.Mark("update returned")
	return returned, nil
}

// lookAround holds what a store says against the rows.
func lookAround(ctx context.Context, st *tasks.Store, want *rows) error {
	list, err := st.List(ctx, tasks.Query{Limit: 1000})
	if err != nil {
		return err
	}
	if len(list) != len(want.tasks) {
		return fmt.Errorf("a list of %d tasks, want %d", len(list), len(want.tasks))
	}
	for _, info := range list {
		t := want.tasks[info.ID]
		res, err := st.Result(ctx, info.ID)
		if err != nil {
			return err
		}
		if string(res.Status) != t.status || string(res.Raw) != t.result || res.Attempts != t.attempts || res.Error != t.error ||
			res.Advance != t.advance || res.Cancelled != t.cancelled {
			return fmt.Errorf("task %s: %+v, want %+v", info.ID, res, t)
		}
	}
	limits, err := st.Limits(ctx)
	if err == nil && !maps.Equal(limits, want.limits) {
		err = fmt.Errorf("limits %+v, want %+v", limits, want.limits)
	}
	return err
}

// workAround has Run hand out a task, if it is not paused: its handler gets the steps that are stored, and goes through the others.
func workAround(ctx context.Context, st *tasks.Store, want *rows) (err error) {
	if want.limits[tasks.Form].Paused {
		if c, err := st.Claim(ctx, time.Minute, tasks.Form); !errors.Is(err, tasks.ErrNoTask) {
			return fmt.Errorf("a claim of what is paused: %+v, %w", c, err)
		}
		return nil
	}
	claimable := false
	for _, t := range want.tasks {
		claimable = claimable || t.typ == string(tasks.Form) && t.status == string(tasks.Pending)
	}
	if !claimable {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	handled := false
	handler := func(ctx context.Context, t tasks.Info) (any, error) {
		cancel()
		handled = true
		for _, name := range []string{"ocr", "llm"} {
			ran := false
			got, e := tasks.Step(ctx, name, func(context.Context) (string, error) { ran = true; return followValue, nil })
			expect, stored := want.steps[stepKey{t.ID, name}]
			if !stored {
				expect = quoted(followValue)
			}
			if e != nil || ran == stored || quoted(got) != expect {
				err = errors.Join(err, e, fmt.Errorf("step %s of %s: %.60q, ran is %v, want %.60s", name, t.ID, got, ran, expect))
			}
		}
		return followValue, nil
	}
	if e := st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handler}, 1); e != nil {
		return e
	}
	if err == nil && !handled {
		err = errors.New("a task that is pending isn't handed out")
	}
	return err
}
