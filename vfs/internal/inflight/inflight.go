// Package inflight decides how many syncs of one file run at a time, by what it sees.
//
// With one at a time, connections wait for the rest of the running sync and then for their own.
// With k, they fall into k groups: while the syncs of some run, the others make their commits.
// That pays where a sync takes long beside the time that connections need to commit again,
// and where the disk does several at once. Elsewhere it costs: more syncs for the same commits.
//
// So it is tried where the figures say that it should pay, for a few syncs,
// and kept only if more commits a second became durable.
//
// It does no I/O, starts no goroutine and reads no clock.
package inflight

import "time"

// Time is the time since any moment that the caller sticks to.
type Time = time.Duration

const (
	// minSync is how long a sync takes at least for another to be worth waking a goroutine for.
	minSync = 400 * time.Microsecond
	// worth is by which factor the figures, and then the trial, must say that commits become durable faster.
	worth, proven = 1.15, 1.1
	// An epoch is so many syncs, after those that it takes for the groups to form.
	epoch, forming = 24, 6
	// kept is for how many epochs the result of a trial holds, and mostPause after how many a trial is made again at the latest.
	kept, mostPause = 64, 256
	// spike is by which factor a sync may take longer than usual and be counted as it is: a disk that hangs once isn't a slow disk.
	spike = 4
)

// Planner is what is known of one file's syncs. The zero Planner does one at a time. It isn't safe for concurrent use.
type Planner struct {
	most int // syncs at a time

	expected int           // who may commit
	took     time.Duration // a sync takes, lately
	alone    time.Duration // the same, of those with none beside
	fill     time.Duration // a commit comes after the one before it, where many come

	// Since the last sync ended, so many commits are to come until fill is known anew.
	mark       Time
	size, left int

	k      int // syncs at a time, now; 0 is 1
	trial  bool
	syncs  int // of this epoch, less those that it takes to form
	began  Time
	counts int     // commits that became durable in it
	base   float64 // commits a second with one sync at a time
	holds  int     // epochs until the result of the trial is looked at again
	pause  int     // epochs until the next trial
	pauses int     // as many as that the last time
}

// New returns a planner of at most so many syncs at a time.
func New(most int) Planner { return Planner{most: most} }

// InFlight returns how many syncs may run at a time.
func (p *Planner) InFlight() int { return max(1, p.k) }

// Group returns for how many a sync is started. It is rounded down: of groups rounded up the last would never be complete.
func (p *Planner) Group() int { return max(1, p.expected/p.InFlight()) }

// Took returns how long a sync takes, lately.
func (p *Planner) Took() time.Duration { return p.took }

// Came is called when somebody begins to wait.
func (p *Planner) Came(now Time) {
	if p.left == 0 {
		return
	}
	if p.left--; p.left == 0 {
		p.fill = smooth(p.fill, (now-p.mark)/time.Duration(p.size))
	}
}

// Ended is called when a sync has ended that took so long: who was answered, who waits for the next one, and who for others that run.
func (p *Planner) Ended(took time.Duration, answered, waiting, covered int, now Time) {
	p.expected = answered + waiting + covered
	p.took = smooth(p.took, min(took, max(spike*p.took, time.Millisecond)))
	if p.InFlight() == 1 {
		p.alone = smooth(p.alone, min(took, max(spike*p.alone, time.Millisecond)))
	}
	p.size = answered / 2
	p.mark, p.left = now, p.size
	if p.most > 1 {
		p.measure(answered, now)
	}
}

// smooth returns the mean, of which the newest is an eighth.
func smooth(mean, newest time.Duration) time.Duration {
	if mean == 0 {
		return newest
	}
	return mean + (newest-mean)/8
}

// measure counts for the epoch, and ends it.
func (p *Planner) measure(answered int, now Time) {
	if p.syncs++; p.syncs <= forming {
		p.began, p.counts = now, 0
		return
	}
	p.counts += answered
	if p.syncs < forming+epoch {
		return
	}
	rate := float64(p.counts) / max(1e-9, (now-p.began).Seconds())
	before := p.InFlight()
	p.next(rate)
	if p.syncs = 0; p.InFlight() == before {
		// They are formed.
		p.syncs = forming
		p.began, p.counts = now, 0
	}
}

// next decides after an epoch.
func (p *Planner) next(rate float64) {
	best := p.best()
	switch {
	case p.InFlight() == 1 && best == 1: // nothing to try
	case p.InFlight() == 1 && p.pause > 0:
		p.pause--
	case p.InFlight() == 1:
		p.base, p.k, p.trial = rate, best, true
	case p.trial && rate >= proven*p.base:
		p.trial, p.holds, p.pauses = false, kept, 0
	case p.trial:
		p.k, p.trial = 1, false
		p.pauses = min(3*p.pauses+3, mostPause)
		p.pause = p.pauses
	case best == 1:
		p.k = 1
	default:
		if p.holds--; p.holds <= 0 {
			p.k, p.pause = 1, 0 // for an epoch, to compare with
		}
	}
}

// best returns how many syncs at a time the figures speak for.
//
// With k groups a connection commits again after a sync and the time in which its group fills,
// and no sooner than all others have committed.
func (p *Planner) best() int {
	t, fill := p.alone, time.Duration(p.expected)*p.fill
	if t < minSync || fill == 0 {
		return 1
	}
	best, gain := 1, worth
	for k := 2; k <= min(p.most, p.expected/2); k++ {
		g := float64(t+fill) / float64(max(fill, t+fill/time.Duration(k)))
		if best > 1 && g < gain*1.05 {
			break // not worth one more
		}
		if g >= gain {
			best, gain = k, g
		}
	}
	return best
}
