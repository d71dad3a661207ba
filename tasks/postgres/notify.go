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
	alarm     *time.Timer   // tells who waits for any task; guarded by mu
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

// tell tells those who wait for one of the tasks, or for any.
func (n *notifier) tell(ids []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting.Changed(ids)
}

// all tells everybody here.
func (n *notifier) all() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting.All()
}

// made tells of changes of this backend: those who wait here, and other processes.
func (n *notifier) made(ids []string) {
	if len(ids) == 0 {
		return
	}
	n.tell(ids)
	n.mu.Lock()
	n.out.add(ids)
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

// wakeAfter tells those who wait for any task after a time: a task becomes due then, or a lease ends. 0 is never.
func (n *notifier) wakeAfter(d time.Duration) {
	at := time.Now().Add(d)
	n.mu.Lock()
	defer n.mu.Unlock()
	if d == 0 || n.closed || !n.alarmAt.IsZero() && !at.Before(n.alarmAt) {
		return
	}
	n.alarmAt = at
	if n.alarm != nil {
		n.alarm.Stop()
	}
	n.alarm = time.AfterFunc(d, func() {
		n.mu.Lock()
		n.alarmAt = time.Time{}
		n.waiting.Tell("")
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
	n.tell(ids)
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

// ClaimPoll is how often a worker without a task looks for one: who waits for any task is told of all that a claim has to wait for.
func (b *backend) ClaimPoll() time.Duration { return claimPolls * b.notifier.poll }
