package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks/internal/waiters"
)

// An idle process has at most one query a second for the server: a look each time, and three for a claim, which looks at the connection
// first and sets how durable it is.
const (
	defaultPoll = 1500 * time.Millisecond
	// listenPolls is how much rarer it looks while it hears of changes.
	listenPolls = 4
	// claimPolls is how much rarer a worker without a task claims.
	claimPolls = 10
	// listenAgain is how long, in polls, it waits at most before it tries to listen again where it can't.
	listenAgain = 20
)

// notifier tells those who wait that a task may have changed.
type notifier struct {
	*backend
	poll     time.Duration
	after    func(time.Duration) <-chan time.Time
	noListen bool
	feed     changeLog
	looks    chan struct{} // asks for a look at the log
	sends    chan struct{} // there is something to send
	done     sync.WaitGroup

	mu        sync.Mutex
	waiting   waiters.Set   // guarded by mu
	running   bool          // the goroutines; guarded by mu
	listening bool          // guarded by mu
	closed    bool          // guarded by mu
	out       outbox        // guarded by mu
	careful   time.Time     // until when any change may let a task be claimed; guarded by mu
	alarm     *time.Timer   // tells who waits for a task to claim, or for any; guarded by mu
	held      time.Duration // until the next look for changes that are held back; 0 if none are; guarded by mu
	alarmAt   time.Time     // zero if it isn't set; guarded by mu
}

func (n *notifier) init(b *backend, poll time.Duration, noListen bool) {
	n.backend, n.poll, n.noListen = b, poll, noListen
	n.looks, n.sends = make(chan struct{}, 1), make(chan struct{}, 1)
}

// begin remembers where the log of changes ends, and starts to send: others want to know, whether anybody waits here or not.
func (n *notifier) begin(ctx context.Context) error {
	err := n.retry(ctx, func(ctx context.Context) error { return n.feed.begin(ctx, n.backend) })
	if err == nil {
		n.done.Add(1)
		go n.send()
	}
	return err
}

// Notify returns a channel that is closed once the task may have changed.
func (b *backend) Notify(id string) (changed <-chan struct{}, stop func()) {
	return b.notifier.wait(id)
}

// toClaim is what those wait for who want a task to claim. No id has such a character.
const toClaim = "\tclaim"

// NotifyClaim isn't told of all changes: where many processes wait, each that makes no task ready would cost each of them a claim in vain.
func (b *backend) NotifyClaim() (changed <-chan struct{}, stop func()) {
	return b.notifier.wait(toClaim)
}

// news is what a transaction has done, for those who wait.
type news struct {
	ids   []string      // tasks that may have changed
	ready bool          // a task may have become ready to be claimed
	lease time.Duration // a task was leased for so long; 0 is none. It may be to claim after that, if its worker dies
}

func (n *notifier) wait(id string) (changed <-chan struct{}, stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return waiters.Told()
	}
	if !n.running {
		n.running = true
		n.done.Add(1)
		go n.watch()
		if !n.noListen {
			n.done.Add(1)
			go n.listen()
		}
	}
	return n.waiting.Add(id, &n.mu)
}

// tell tells those who wait for one of the tasks, for any, or for one to claim.
func (n *notifier) tell(c news) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting.Changed(c.ids)
	if c.ready || time.Now().Before(n.careful) {
		n.waiting.Tell(toClaim)
	}
	if c.lease > 0 {
		n.wakeAt(time.Now().Add(c.lease + time.Millisecond))
	}
}

// mayWaitForAny is called before a claim that looks at limits or at suspect tasks: that any task ends may be what it waits for.
// It is so until claims have met no such thing for a while.
func (n *notifier) mayWaitForAny() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.careful = time.Now().Add(4 * claimPolls * n.poll)
}

// all tells everybody here.
func (n *notifier) all() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting.All()
}

// made tells of changes of this backend: those who wait here, and other processes.
func (n *notifier) made(c news) {
	if len(c.ids) == 0 {
		return
	}
	n.tell(c)
	n.mu.Lock()
	n.out.add(c)
	n.mu.Unlock()
	signal(n.sends)
}

// everybody tells everybody, in other processes too.
func (n *notifier) everybody() {
	n.all()
	n.mu.Lock()
	n.out.all = true
	n.mu.Unlock()
	signal(n.sends)
}

// wakeAfter tells those who wait for a task to claim, or for any, after a time: a task becomes due then, or a lease ends. 0 is never.
func (n *notifier) wakeAfter(d time.Duration) {
	if d == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wakeAt(time.Now().Add(d))
}

// wakeAt is called with the lock held.
func (n *notifier) wakeAt(at time.Time) {
	if n.closed || !n.alarmAt.IsZero() && !at.Before(n.alarmAt) {
		return
	}
	n.alarmAt = at
	if n.alarm != nil {
		n.alarm.Stop()
	}
	n.alarm = time.AfterFunc(time.Until(at), func() {
		n.mu.Lock()
		n.alarmAt = time.Time{}
		n.waiting.Tell(toClaim)
		n.waiting.Tell("") // see heldBack
		n.mu.Unlock()
	})
}

// look has the log of changes looked at, soon.
func (n *notifier) look() { signal(n.looks) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch looks at the log of changes now and then, while somebody waits.
func (n *notifier) watch() {
	defer n.done.Done()
	timer := n.after(n.poll)
	for failed := false; ; {
		asked := false
		select {
		case <-n.ctx.Done():
			return
		case <-n.looks:
			asked = true
		case <-timer:
		}
		n.mu.Lock()
		listening, waiting := n.listening, !n.waiting.Empty()
		n.mu.Unlock()
		if waiting || asked {
			err := n.lookAtLog()
			if err != nil && !failed {
				n.all() // they may get the error, once
			}
			failed = err != nil
		}
		wait := n.poll
		if listening {
			wait *= listenPolls
		}
		timer = n.after(wait)
	}
}

func (n *notifier) lookAtLog() error {
	ctx, cancel := context.WithTimeout(context.WithValue(n.ctx, unpinged{}, true), n.timeout)
	defer cancel()
	ids, all, err := n.feed.look(ctx, n.backend)
	if err != nil {
		return err
	}
	if all {
		n.all()
	}
	n.tell(news{ids: ids, ready: len(ids) > 0}) // the log doesn't say what has become of them
	return nil
}

// close tells everybody, also those who come later.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	if n.alarm != nil {
		n.alarm.Stop()
	}
	n.mu.Unlock()
	n.all()
}

// ClaimPoll is how often a worker without a task looks for one: it is told of all that a claim has to wait for.
func (b *backend) ClaimPoll() time.Duration { return claimPolls * b.notifier.poll }
