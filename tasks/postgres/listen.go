package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// sendPause is the time between two transactions that notify, so that what comes meanwhile shares the next.
	sendPause = 5 * time.Millisecond
	// maxPayload is how long a notification may be, in bytes.
	maxPayload = 7900
	// everybodyLine stands for all tasks, quietLine says that nothing has become ready to be claimed, and leaseLine for how many milliseconds
	// a task was leased. No id has such a character; who doesn't know a line takes it for one.
	everybodyLine = "\t"
	quietLine     = "\tquiet"
	leaseLine     = "\tlease "
	// probeTime is how long a notification may take that shows that they come at all.
	probeTime = 5 * time.Second
)

// outbox is what other processes are to be told.
type outbox struct {
	ids   map[string]bool
	all   bool
	ready bool          // a task may have become ready to be claimed
	lease time.Duration // the shortest that a task was leased for, or 0
}

// maxOut is how many tasks are named; for more, everybody is told to look.
const maxOut = 5000

func (o *outbox) add(c news) {
	if o.ids == nil {
		o.ids = map[string]bool{}
	}
	for _, id := range c.ids {
		o.ids[id] = true
	}
	o.ready = o.ready || c.ready
	if c.lease > 0 && (o.lease == 0 || c.lease < o.lease) {
		o.lease = c.lease
	}
	if len(o.ids) > maxOut {
		o.all, o.ids = true, nil
	}
}

// take returns the payloads: the name of the sender, what is to be said of all tasks, and the tasks, a line each.
func (o *outbox) take(from string) (payloads []string) {
	if !o.all && !o.ready {
		from += "\n" + quietLine
	}
	if o.lease > 0 {
		from += fmt.Sprint("\n", leaseLine, o.lease.Milliseconds())
	}
	lines := from
	if o.all {
		lines += "\n" + everybodyLine
		o.ids = nil
	}
	for id := range o.ids {
		if len(lines)+len(id) >= maxPayload {
			payloads = append(payloads, lines)
			lines = from
		}
		lines += "\n" + id
	}
	if lines != from {
		payloads = append(payloads, lines)
	}
	*o = outbox{}
	return payloads
}

// channel is what is listened to.
func (b *backend) channel() string {
	h := fnv.New64a()
	h.Write([]byte(b.schema))
	return fmt.Sprintf("tasks_%x", h.Sum64())
}

const notifyAll = "SELECT pg_notify($1, p) FROM unnest($2::text[]) p"

// send notifies other processes. It does so after the commit, in transactions that write nothing: a commit that notifies
// has all others that do wait for it, and for the disk. What a process has changed that dies in between, others find in the log.
func (n *notifier) send() {
	defer n.done.Done()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.sends:
		}
		n.mu.Lock()
		payloads := n.out.take(n.name())
		n.mu.Unlock()
		if len(payloads) > 0 {
			ctx, cancel := context.WithTimeout(n.ctx, n.timeout)
			_, err := n.pool.Exec(ctx, notifyAll, n.channel(), payloads)
			cancel()
			if err != nil && n.ctx.Err() == nil {
				n.log.Warn("tasks: notify", "error", err)
			}
			n.feed.trim(n.ctx, n.backend) // who changes tasks may never wait for one
		}
		select {
		case <-n.ctx.Done():
			return
		case <-time.After(sendPause):
		}
	}
}

// listen hears of changes by other processes, on a connection of its own, as long as the backend is open.
func (n *notifier) listen() {
	defer n.done.Done()
	var wait time.Duration
	for first := true; n.ctx.Err() == nil; first = false {
		err := n.hear(func() { wait = 0 })
		n.mu.Lock()
		listened := n.listening
		n.listening = false
		n.mu.Unlock()
		if n.ctx.Err() != nil {
			return
		}
		n.log.Warn("tasks: can't hear notifications, and look at the log of changes instead", "error", err, "every", n.poll)
		if first || listened {
			n.look() // what wasn't heard of
		}
		if errors.Is(err, errDeaf) {
			return
		}
		wait = min(max(2*wait, 10*time.Millisecond), listenAgain*n.poll)
		select {
		case <-n.after(wait):
		case <-n.ctx.Done():
		}
	}
}

// errDeaf is that notifications are taken, but don't come.
var errDeaf = errors.New("notifications don't come, as through a pooler in transaction mode")

func (n *notifier) hear(ready func()) error {
	conn, err := pgx.ConnectConfig(n.ctx, n.pool.Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(ctx)
	}()
	if _, err := conn.Exec(n.ctx, "LISTEN "+n.channel()); err != nil {
		return err
	}
	probe := "probe " + rand.Text()
	if _, err := n.pool.Exec(n.ctx, notifyAll, n.channel(), []string{probe}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(n.ctx, probeTime)
	defer cancel()
	for heard := false; ; {
		got, err := conn.WaitForNotification(ctx)
		if err != nil && ctx.Err() != nil && n.ctx.Err() == nil && !heard {
			return errDeaf
		}
		if err != nil {
			return err
		}
		if got.Payload == probe {
			heard = true
			ctx = n.ctx
			ready()
			n.mu.Lock()
			n.listening = true
			n.mu.Unlock()
			n.look() // what was changed before
			continue
		}
		n.heard(got.Payload)
	}
}

// heard tells those whom a notification concerns.
func (n *notifier) heard(payload string) {
	lines := strings.Split(payload, "\n")
	if lines[0] == n.name() || strings.HasPrefix(payload, "probe ") {
		return
	}
	c := news{ready: true}
	for _, line := range lines[1:] {
		if ms, ok := strings.CutPrefix(line, leaseLine); ok {
			if n, err := strconv.ParseInt(ms, 10, 32); err == nil {
				c.lease = time.Duration(n) * time.Millisecond
			}
			continue
		}
		switch line {
		case everybodyLine:
			n.all()
			return
		case quietLine:
			c.ready = false
		default:
			c.ids = append(c.ids, line)
		}
	}
	n.tell(c)
}
