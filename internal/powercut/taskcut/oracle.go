package taskcut

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/internal/simdisk"
)

// live is what the database held after a commit, as a reader saw it while the workload ran.
type live struct {
	at int // events of the trace before it
	finding
}

// oracle knows what the database may hold after a power cut. It follows the trace.
type oracle struct {
	x     *run
	live  []live
	of    map[uint64][]int // numbers of live states, by their digest
	syncs simdisk.SyncTimes

	k        int
	now      time.Duration
	failed   bool // a sync has failed: what relaxed calls were promised can't be kept then
	durable  []*call
	relaxed  []*call
	deepest  *call // of the durable calls that have returned
	returned int   // how many those are
}

// maxDelay is the VFS's default.
const maxDelay = 50 * time.Millisecond

// newOracle reads all live states of a run and holds them against its calls.
func newOracle(x *run, control Control, only string) (*oracle, error) {
	o := &oracle{x: x, of: map[uint64][]int{}, syncs: simdisk.NewSyncTimes(x.trace)}
	if err := o.readLive(); err != nil {
		return nil, err
	}
	for _, c := range x.calls {
		if c.failed || c.effect == nil {
			continue
		}
		if err := o.require(c); err != nil {
			return nil, err
		}
		switch {
		case c.required == 0 || c.reads && !c.settles:
		case control != "" && !strings.HasPrefix(c.what, only):
		case c.durable:
			if control == Early {
				c.acked = o.live[c.required].at
			}
			o.durable = append(o.durable, c)
		case !c.stock: // which bounds nothing
			if control == Late {
				c.acked, c.ackedAt = o.live[c.required].at, c.ackedAt-time.Hour
			}
			o.relaxed = append(o.relaxed, c)
		}
	}
	slices.SortFunc(o.durable, func(a, b *call) int { return cmp.Compare(a.acked, b.acked) })
	return o, nil
}

// readLive finds the commits in the trace, and reads what the database held after each.
func (o *oracle) readLive() error {
	x := o.x
	crash := simdisk.NewCrash(x.image, x.cfg, x.trace)
	begun := 0
	add := func(at int) error {
		f := inspect(crash.Image(simdisk.All), x.cfg.ShmDir, true)
		if f.err != nil {
			return fmt.Errorf("after event %d, without a power cut: %w", at, f.err)
		}
		n := len(o.live)
		if n > 0 && o.live[n-1].digest == f.digest {
			return nil
		}
		for begun < len(x.calls) && x.calls[begun].begin <= at {
			begun++
		}
		err := x.checkRows(f.rows, x.calls[:begun])
		if err == nil && n > 0 {
			err = checkStep(o.live[n-1].rows, f.rows, x.calls[:begun], o.live[n-1].at)
		}
		if err != nil {
			return fmt.Errorf("after event %d, without a power cut: %w", at, err)
		}
		o.live = append(o.live, live{at, f})
		o.of[f.digest] = append(o.of[f.digest], n)
		return nil
	}
	if err := add(0); err != nil {
		return err
	}
	for _, k := range commits(x.image[dbName+"-wal"], x.trace) {
		crash.Advance(k)
		if err := add(k); err != nil {
			return err
		}
	}
	return nil
}

// commits returns the numbers of events after which a commit may have got whole in the WAL, which held something before.
//
// https://sqlite.org/fileformat2.html#walformat
func commits(before []byte, trace []simdisk.Event) (all []int) {
	const walHeader, frameHeader = 32, 24
	wal := slices.Clone(before)
	size := 0 // of a frame
	if len(wal) >= walHeader {
		size = frameHeader + int(binary.BigEndian.Uint32(wal[8:]))
	}
	for i := range trace {
		e := &trace[i]
		if e.Kind != simdisk.Write || e.Name != dbName+"-wal" {
			continue
		}
		from, to := int(e.Off), int(e.Off)+len(e.Data)
		wal = slices.Grow(wal, max(0, to-len(wal)))
		wal = wal[:max(len(wal), to)]
		copy(wal[from:], e.Data)
		if from == 0 && to >= walHeader {
			size = frameHeader + int(binary.BigEndian.Uint32(wal[8:]))
		}
		if size == 0 {
			continue
		}
		// A frame is a header, which says whether it is a commit's last, and a page.
		// Any part of it may be what completes it: where the WAL is written anew, the rest may be there already.
		for start := walHeader + max(from-walHeader, 0)/size*size; start < to && start+frameHeader <= len(wal); start += size {
			if binary.BigEndian.Uint32(wal[start+4:]) != 0 {
				all = append(all, i+1)
				break
			}
		}
	}
	return all
}

// liveAt returns the number of the live state after so many events.
func (o *oracle) liveAt(k int) int {
	n, found := slices.BinarySearchFunc(o.live, k, func(l live, k int) int { return cmp.Compare(l.at, k) })
	if !found {
		n--
	}
	return n
}

// require finds the first live state that has a call's effect. It returns an error if there must be one and isn't.
func (o *oracle) require(c *call) error {
	from, to := o.liveAt(c.begin), o.liveAt(c.acked)
	before := o.live[from].rows
	beside := c.beside(o.x.calls)
	if c.common && len(beside) > 0 {
		// The first change of the task since is this call's, or comes before it: but for one that undoes another.
		for n := from + 1; n <= to && !c.undoes && !slices.ContainsFunc(beside, func(d *call) bool { return d.undoes }); n++ {
			if o.live[n].rows.tasks[c.subject] != before.tasks[c.subject] {
				c.required = n
				break
			}
		}
	} else {
		for n := from; n <= to; n++ {
			if c.effect(before, o.live[n].rows) {
				c.required = n
				break
			}
		}
	}
	switch {
	case c.onlyAlone && len(beside) > 0:
		c.required = 0
	case c.required > 0 && c.stock && (c.required == from || len(beside) > 0):
		c.required = 0
	case c.required == 0 && len(beside) == 0 && !c.effect(before, before):
		return fmt.Errorf("I2: %s returned after event %d, and its effect wasn't there", c.what, c.acked)
	}
	return nil
}

// advance goes on to the state after the first k events.
func (o *oracle) advance(k int) {
	trace := o.x.trace
	for ; o.k < k; o.k++ {
		o.failed = o.failed || trace[o.k].Err != nil
	}
	// The power may be cut just before the next event.
	if k < len(trace) {
		o.now = trace[k].Time
	} else if k > 0 {
		o.now = trace[k-1].Time
	}
	for ; o.returned < len(o.durable) && o.durable[o.returned].acked <= k; o.returned++ {
		if c := o.durable[o.returned]; o.deepest == nil || c.required > o.deepest.required {
			o.deepest = c
		}
	}
}

// check holds what the database holds against what it may hold. It returns the number of the live state that it is.
func (o *oracle) check(f finding) (int, error) {
	if f.err != nil {
		return 0, fmt.Errorf("I1: %w", f.err)
	}
	n := -1
	for _, i := range o.of[f.digest] {
		if o.live[i].at <= o.k {
			n = i
		}
	}
	if n < 0 {
		return 0, fmt.Errorf("I3: the rows are those after no commit so far")
	}
	if c := o.deepest; c != nil && c.required > n {
		return n, fmt.Errorf("I2: %s had returned, and isn't there: the rows are those after commit %d, its own was %d of %d", c.what, n, c.required, o.liveAt(o.k))
	}
	return n, o.checkWindow(n)
}

// checkWindow checks what is lost of the relaxed calls.
func (o *oracle) checkWindow(n int) error {
	if o.failed {
		return nil
	}
	longest := o.syncs.Longest(o.now)
	bound := maxDelay + longest
	if longest > maxDelay {
		bound = 2 * longest
	}
	for _, c := range o.relaxed {
		if age := o.now - c.ackedAt; c.acked <= o.k && c.required > n && age > bound {
			return fmt.Errorf("I4: %s, relaxed, had returned %s before, and isn't there: allowed are %s", c.what, age, bound)
		}
	}
	return nil
}
