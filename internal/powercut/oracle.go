package powercut

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/internal/simdisk"
)

// oracle knows what a database may hold after a power cut.
// It follows the trace, like [Crash].
type oracle struct {
	h     *history
	trace []simdisk.Event
	syncs simdisk.SyncTimes
	k     int
	now   time.Duration
	// failed is set once a sync has failed: what commits at NORMAL were promised can't be kept then.
	failed   bool
	promises []promise // in force
	deepest  promise
	seen     map[uint64]finding // what images hold, by their hash
}

func newOracles(x *run) (all []*oracle) {
	for _, h := range x.hist {
		all = append(all, newOracle(h, x.trace))
	}
	return all
}

func newOracle(h *history, trace []simdisk.Event) *oracle {
	o := &oracle{h: h, trace: trace, syncs: simdisk.NewSyncTimes(trace)}
	slices.SortStableFunc(h.promises, func(a, b promise) int { return cmp.Compare(a.from, b.from) })
	o.deepest.txn = h.txns[-1]
	return o
}

// advance goes on to the state after the first k events. It returns an error if two promises contradict.
func (o *oracle) advance(k int) error {
	for ; o.k < k; o.k++ {
		o.failed = o.failed || o.trace[o.k].Err != nil
	}
	// The power may be cut just before the next event.
	if k < len(o.trace) {
		o.now = o.trace[k].Time
	} else if k > 0 {
		o.now = o.trace[k-1].Time
	}
	for n := len(o.promises); n < len(o.h.promises) && o.h.promises[n].from < k; n++ {
		p := o.h.promises[n]
		o.promises = append(o.promises, p)
		switch {
		case p.txn.isAfter(o.deepest.txn):
			o.deepest = p
		case !o.deepest.txn.isAfter(p.txn):
			return fmt.Errorf("I3: %s of %s, but so did %s for another that excludes it", p.why, p.txn, o.deepest.why)
		}
	}
	return nil
}

func (t *txn) String() string { return fmt.Sprintf("transaction %d (number %d)", t.id, t.depth) }

// check holds what a database holds against what it may hold.
func (o *oracle) check(f finding) error {
	for _, s := range o.h.unsafe {
		if s.from < o.k && o.k <= s.to {
			return nil
		}
	}
	if f.err != nil {
		return fmt.Errorf("I1: %w", f.err)
	}
	t := o.h.txns[f.txn]
	switch {
	case t == nil:
		return fmt.Errorf("I5: transaction %d never was", f.txn)
	case t.id > 0 && (t.committed < 0 || t.committed >= o.k):
		return fmt.Errorf("I5: %s wasn't committed", t)
	case t.digest != f.digest:
		return fmt.Errorf("I2: the rows aren't those after %s", t)
	case !o.h.mayBe(f.mode, t, o.k):
		return fmt.Errorf("I1: journal mode %s after %s, want %s", f.mode, t, t.mode)
	case !t.isAfter(o.deepest.txn):
		return fmt.Errorf("I3: the database ends with %s, but %s for %s", t, o.deepest.why, o.deepest.txn)
	}
	return o.checkWindow(t)
}

// checkWindow checks what is lost of the commits at NORMAL.
func (o *oracle) checkWindow(t *txn) error {
	if o.failed {
		return nil
	}
	var lost []*txn
	for _, u := range o.h.bounded {
		if u.acked < o.k && !t.isAfter(u) {
			lost = append(lost, u)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	longest := o.syncs.Longest(o.now)
	slices.SortFunc(lost, func(a, b *txn) int { return cmp.Compare(a.depth, b.depth) })
	var bytes [processes]int // each process counts its own
	for _, u := range lost {
		bound := u.maxDelay + longest
		if longest > u.maxDelay {
			bound = 2 * longest
		}
		if age := o.now - u.ackedAt; age > bound {
			return fmt.Errorf("I4: the database ends with %s, but the commit at NORMAL of %s returned %s before: allowed are %s (max_delay %s, sync %s)",
				t, u, age, bound, u.maxDelay, longest)
		}
		if bytes[u.process] += u.walBytes; bytes[u.process] > u.maxPending {
			return fmt.Errorf("I4: the database ends with %s, so up to %s %d bytes of WAL are lost: allowed are %d", t, u, bytes[u.process], u.maxPending)
		}
	}
	return nil
}
