package ckptplan

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// world is a database around a planner: commits, held ones, the background, and a reader.
type world struct {
	p         Planner
	now       Time
	gen       uint64
	frames    int  // in the WAL
	done      int  // of them, those that were brought over
	held      int  // commits that wait
	running   Step // in the background
	began     int  // frames when that began
	reader    int  // the frame that a reader needs the database file to stay at, or -1
	stops     int
	goesOn    bool // stopped meanwhile: the step ends as aborted
	restarted bool // since the step began
}

const threshold = 4 // so the limit is 12, and twice that 24

// event is something that may happen, where it may.
type event struct {
	name string
	can  func(*world) bool
	do   func(*world) error
}

func (w *world) start() {
	if w.running == Nothing && w.p.Step() != Nothing {
		w.running, w.began, w.goesOn, w.restarted = w.p.Step(), w.frames, false, false
	}
}

func (w *world) letGo() {
	for ; w.held > 0; w.held-- {
		w.p.Released(false)
	}
}

func (w *world) commit(n int) error {
	if w.done == w.frames && w.done > 0 && w.reader < 0 {
		w.frames, w.done, w.restarted = 0, 0, true
		w.gen++
	}
	w.frames += n
	if w.frames < threshold {
		return nil
	}
	v := w.p.Filled(w.now, Commit{Frames: w.frames, Own: n, Threshold: threshold, PageSize: 4096, Generation: w.gen})
	w.start()
	switch v {
	case Hold:
		w.held++
	case Inline:
		if w.running == Nothing { // it has the lock
			w.backfill()
		}
	}
	return nil
}

func (w *world) backfill() {
	w.done = max(w.done, w.safe(w.frames))
}

func (w *world) safe(frame int) int {
	if w.reader >= 0 {
		return min(frame, w.reader)
	}
	return frame
}

func (w *world) ended(o Outcome) {
	step := w.running
	w.running = Nothing
	if w.p.Ended(w.now, step, o) {
		w.letGo()
	}
	w.start()
}

var events = []event{
	{"commit", func(w *world) bool { return w.held < 2 }, func(w *world) error { return w.commit(1) }},
	{"large", func(w *world) bool { return w.held < 2 }, func(w *world) error { return w.commit(threshold + 1) }},
	{"ended", func(w *world) bool { return w.running != Nothing }, func(w *world) error {
		if w.goesOn {
			w.ended(Outcome{Frames: -1, Aborted: true})
			return nil
		}
		if w.restarted {
			w.ended(Outcome{Frames: -1})
			return nil
		}
		w.done = max(w.done, w.safe(w.began))
		w.ended(Outcome{Frames: w.began, Left: max(0, w.began-w.done), Took: time.Millisecond})
		return nil
	}},
	{"failed", func(w *world) bool { return w.running != Nothing && !w.goesOn }, func(w *world) error {
		w.ended(Outcome{Frames: -1, Failed: true})
		return nil
	}},
	{"in-vain", func(w *world) bool { return w.held > 0 }, func(w *world) error {
		w.held--
		w.p.Released(true)
		return nil
	}},
	{"reader", func(w *world) bool { return true }, func(w *world) error {
		if w.reader >= 0 {
			w.reader = -1
		} else {
			w.reader = w.frames
		}
		return nil
	}},
	{"stop", func(w *world) bool { return w.stops < 2 }, func(w *world) error {
		w.stops++
		w.p.Stop()
		w.letGo()
		w.goesOn = w.running != Nothing
		if w.p.Step() != Nothing {
			return fmt.Errorf("something is to be done while it is kept away")
		}
		return nil
	}},
	{"resume", func(w *world) bool { return w.stops > 0 && w.running == Nothing }, func(w *world) error {
		w.stops--
		w.p.Resume()
		return nil
	}},
	{"away", func(w *world) bool { return true }, func(w *world) error {
		w.p.KeepAway(w.now + 100*time.Millisecond)
		return nil
	}},
	{"time", func(w *world) bool { return true }, func(w *world) error { w.now += time.Second; return nil }},
}

// check is what holds after every event.
func (w *world) check() error {
	if w.p.waiting != w.held {
		return fmt.Errorf("%d commits wait, and the planner counts %d", w.held, w.p.waiting)
	}
	if w.held > 0 && w.running == Nothing {
		return fmt.Errorf("commits wait for nothing")
	}
	if w.stops > 0 && w.held > 0 {
		return fmt.Errorf("commits wait while it is kept away")
	}
	if w.stops == 0 && w.running == Nothing && w.p.Step() != Nothing {
		return fmt.Errorf("there is something to be done, and nobody does it")
	}
	return nil
}

// TestHistories tries all histories of so many events.
func TestHistories(t *testing.T) {
	depth := 8
	if testing.Short() {
		depth = 6
	}
	seen := map[world]int{}
	var try func(w world, path []string, left int)
	try = func(w world, path []string, left int) {
		if left == 0 || seen[w] >= left {
			return
		}
		seen[w] = left
		for _, e := range events {
			next := w
			if !e.can(&next) {
				continue
			}
			trace := append(path[:len(path):len(path)], e.name)
			err := e.do(&next)
			if err == nil {
				err = next.check()
			}
			require.NoError(t, err, "%v", trace)
			try(next, trace, left-1)
		}
	}
	for _, frames := range []int{0, threshold - 1, 11, 23} {
		try(world{p: *New(), frames: frames, reader: -1}, nil, depth)
	}
	t.Log(len(seen), "states")
	require.Greater(t, len(seen), 1000)
}

// TestBounded: without readers, the WAL stays within twice its limit and what comes during a step,
// however the commits and the background take turns.
func TestBounded(t *testing.T) {
	for every := 1; every < 40; every++ { // commits for each step of the background
		w := world{p: *New(), reader: -1}
		most := 0
		for i := range 5000 {
			if w.held < 8 { // so many connections
				require.NoError(t, w.commit(1))
			}
			if i%every == 0 && w.running != Nothing {
				require.NoError(t, events[2].do(&w))
			}
			require.NoError(t, w.check())
			most = max(most, w.frames)
		}
		require.LessOrEqual(t, most, 2*12+2*every+8, "a step for every %d commits", every)
		require.Greater(t, w.gen, uint64(10))
	}
}

// TestLongReader: commits seldom wait for a reader that goes on, the more seldom the longer the WAL is.
func TestLongReader(t *testing.T) {
	w := world{p: *New(), reader: -1}
	for range 3 {
		require.NoError(t, w.commit(1))
	}
	w.reader = w.frames
	waited := 0
	for range 500 {
		require.NoError(t, w.commit(1))
		waited += w.held
		if w.running != Nothing {
			require.NoError(t, events[2].do(&w))
		}
	}
	require.LessOrEqual(t, waited, 3*8) // for a round and for a step at 24, 36, 54, 81, …, 412 frames
	require.Zero(t, w.gen)
	w.reader = -1
	for range 50 {
		require.NoError(t, w.commit(1))
		if w.running != Nothing {
			require.NoError(t, events[2].do(&w))
		}
	}
	require.NotZero(t, w.gen)
}

// TestLargeCommit: who has filled the WAL by itself waits, as it would for its own checkpoint.
func TestLargeCommit(t *testing.T) {
	w := world{p: *New(), reader: -1}
	require.NoError(t, w.commit(threshold+1))
	require.Equal(t, 1, w.held)
	for w.running != Nothing {
		require.NoError(t, events[2].do(&w))
	}
	require.Zero(t, w.held)
	require.Equal(t, w.frames, w.done)
}

// TestHangs: once a commit has waited in vain, none does until the step has ended.
func TestHangs(t *testing.T) {
	w := world{p: *New(), reader: -1}
	require.NoError(t, w.commit(threshold+1))
	w.held--
	w.p.Released(true)
	for range 100 {
		require.NoError(t, w.commit(threshold+1))
		require.Zero(t, w.held)
	}
	require.NoError(t, events[2].do(&w))
	require.NoError(t, w.commit(threshold+1))
	require.Equal(t, 1, w.held)
}

// TestPatience grows with the WAL, up to a bound.
func TestPatience(t *testing.T) {
	p := New()
	require.Equal(t, Patience, p.Patience())
	before := time.Duration(0)
	for frames := threshold; frames < 100_000; frames *= 2 {
		p.Filled(0, Commit{Frames: frames, Own: 1, Threshold: threshold, PageSize: 4096})
		require.GreaterOrEqual(t, p.Patience(), before)
		before = p.Patience()
	}
	require.Equal(t, MaxPatience, before)
}
