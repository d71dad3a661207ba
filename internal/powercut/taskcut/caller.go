package taskcut

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// caller goes through its steps.
type caller struct {
	*process
	number int
	store  *tasks.Store
	own    []*ownTask // that nobody else changes
	db     *sql.DB    // of the application
	level  string     // of db
	// reports is how many it has made.
	reports int
}

// ownTask is a task as its caller knows it.
type ownTask struct {
	id     string
	status tasks.Status
	doc    bool   // it belongs to a document of the application
	note   string // of the last report, if it does
}

// turn waits for the caller's turn. Several may come back at once from a wait that a sync has ended:
// what they share they touch only after it.
func (k *caller) turn() { k.run.lock.Step(k.number) }

func (k *caller) work(steps []step) {
	for _, s := range steps {
		k.turn()
		k.step(s, rand.New(rand.NewPCG(s.seed, 2)))
	}
	k.turn()
	if k.db != nil {
		k.run.ok("close the application's connection", k.db.Close())
		k.turn()
	}
}

// call makes a call and takes note of it.
func (k *caller) call(c call, f func(*call) error, expected ...error) error {
	x := k.run
	c.begin, _ = x.disk.Len()
	if k.stock {
		c.durable = c.durable || !c.app // on another VFS than ours all of a store's commits are durable
		c.stock = true
	}
	x.mu.Lock()
	x.calls = append(x.calls, &c)
	x.mu.Unlock()
	c.acked = endless
	err := f(&c)
	c.failed = err != nil
	c.acked, c.ackedAt = x.disk.Len()
	k.turn()
	// Without the disk's number, which isn't that of the seed.
	text := strings.ReplaceAll(fmt.Sprint(err), x.disk.PathIn(k.process.number, dbName), dbName)
	x.disk.Mark(fmt.Sprintf("%s by %d, which returned at %d: %s", c.what, k.number, c.acked, text))
	x.ok(c.what, err, expected...)
	return err
}

// relaxed draws whether a call is relaxed.
func (k *caller) relaxed(r *rand.Rand) (opts []tasks.CallOption, durable bool) {
	if r.IntN(10) < k.run.w.relaxed {
		return []tasks.CallOption{tasks.Relaxed()}, false
	}
	return nil, true
}

// text returns a text that nothing else has, and no other caller.
func (k *caller) text(s step, r *rand.Rand) string {
	n := 1 + r.IntN(k.run.w.size)
	if r.IntN(3) > 0 {
		n = 1 + r.IntN(40)
	}
	name := fmt.Sprintf("名 %d.%d ", s.n, k.number)
	return name + strings.Repeat(fmt.Sprint(s.n, "/"), n/4)
}

var background = context.Background()

func (k *caller) step(s step, r *rand.Rand) {
	switch s.kind {
	case stepCreate:
		k.create(fmt.Sprintf("t-%d", s.n), tasks.Document, r)
	case stepOffer:
		k.create(fmt.Sprintf("f-%d", s.n), tasks.Form, r)
	case stepAdvance:
		k.advance(s, r)
	case stepMany:
		k.many(s, r)
	case stepWork:
		k.claim(s, r)
	case stepShared:
		k.shared(s, r)
	case stepDo, stepWarm, stepInvalidate:
		k.cache(s, r)
	case stepRun:
		k.handle(s, r)
	case stepReport:
		k.report(s, r)
	case stepLimits:
		k.limits(s, r)
	case stepRetryMany:
		k.retryMany(s, r)
	case stepCleanup:
		k.call(call{what: "cleanup", subject: "cleanup", durable: true, effect: oldTasksGone}, func(c *call) error {
			n, err := k.store.Cleanup(background, time.Hour)
			c.reads = n == 0 // others may have deleted them, and not durably yet
			return err
		})
	case stepTx:
		k.transaction(s, r)
	case stepCheckpoint:
		k.checkpoint([]string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[r.IntN(4)])
	case stepPassive:
		k.checkpoint("PASSIVE")
	case stepRest:
		time.Sleep(time.Duration(r.Int64N(int64(4 * k.run.w.syncTime))))
	case stepPause:
		time.Sleep(time.Duration(1+r.IntN(1500)) * time.Millisecond)
	}
}

func (k *caller) create(id string, typ tasks.Type, r *rand.Rand) {
	opts, durable := k.relaxed(r)
	if r.IntN(2) == 0 {
		// It is several statements then.
		opts = append(opts, tasks.Input(id), tasks.Owner("owner"), tasks.Priority(1), tasks.WithLabels(map[string]string{"k": id, "l": ""}))
	}
	err := k.call(call{what: "create " + id, subject: id, durable: durable, asks: asks(tasks.Pending), common: true, effect: hasStatus(id, tasks.Pending)},
		func(*call) error { return k.store.Create(background, id, typ, opts...) })
	if err == nil && typ == tasks.Document {
		k.own = append(k.own, &ownTask{id: id, status: tasks.Pending})
	}
}

// next draws what comes next for a task, as the transitions allow.
func next(status tasks.Status, r *rand.Rand) (op string, to tasks.Status) {
	switch n := r.IntN(10); {
	case n == 0:
		return "delete", ""
	case status == tasks.Pending && n < 6:
		return "update", tasks.Processing
	case status.Final() && status == tasks.Error && n < 8:
		return "retry", tasks.Pending
	case status == tasks.Completed:
		return "", ""
	case status == tasks.Error:
		return "delete", ""
	case n == 1:
		return "cancel", tasks.Error
	case n == 2:
		return "update", tasks.Error
	}
	return "update", tasks.Completed
}

// advance takes one of the caller's own tasks to its next status.
func (k *caller) advance(s step, r *rand.Rand) {
	if len(k.own) == 0 {
		k.create(fmt.Sprintf("t-%d", s.n), tasks.Document, r)
		return
	}
	i := r.IntN(len(k.own))
	t := k.own[i]
	op, to := next(t.status, r)
	if op == "" || t.doc {
		k.see(t)
		return
	}
	if k.change(t.id, op, to, s, r) != nil || op == "delete" {
		k.own = append(k.own[:i], k.own[i+1:]...)
		return
	}
	t.status = to
}

// see looks whether a task is as its caller knows it.
func (k *caller) see(t *ownTask) {
	info, err := k.store.Status(background, t.id)
	k.turn()
	if k.run.ok("status of "+t.id, err) && info.Status != t.status {
		k.run.violation("%s is %s, and Status says %s", t.id, t.status, info.Status)
	}
}

// change makes a change of a task. Others may change it too.
func (k *caller) change(id, op string, to tasks.Status, s step, r *rand.Rand, expected ...error) error {
	opts, durable := k.relaxed(r)
	c := call{what: op + " " + id, subject: id, durable: durable, common: true, undoes: op == "delete" || op == "retry"}
	switch op {
	case "delete":
		c.deletes = true
		c.effect = gone(id)
		return k.call(c, func(*call) error { return k.store.Delete(background, id, opts...) }, expected...)
	case "cancel":
		c.asks, c.effect = asks(tasks.Error), hasStatus(id, tasks.Error)
		return k.call(c, func(*call) error { return k.store.Cancel(background, id, opts...) }, expected...)
	case "retry":
		c.asks, c.effect = asks(tasks.Pending), hasStatus(id, tasks.Pending)
		return k.call(c, func(*call) error { return k.store.Retry(background, id, opts...) }, expected...)
	}
	c.what += " to " + string(to)
	c.asks, c.effect = asks(to), hasStatus(id, to)
	var result any
	if to == tasks.Completed {
		text := k.text(s, r)
		result, c.result, c.effect, c.common = text, quoted(text), hasResult(id, text), false
	}
	return k.call(c, func(*call) error { return k.store.Update(background, id, to, result, opts...) }, expected...)
}

// lost are the errors of a call that others were faster than.
var lost = []error{tasks.ErrNotFound, tasks.ErrExists, tasks.ErrTransition}

// shared changes a task that others change at the same time.
func (k *caller) shared(s step, r *rand.Rand) {
	id := fmt.Sprintf("s-%d", r.IntN(4))
	if r.IntN(3) == 0 {
		opts, durable := k.relaxed(r)
		k.call(call{what: "create " + id, subject: id, durable: durable, asks: asks(tasks.Pending), common: true, effect: hasStatus(id, tasks.Pending)},
			func(*call) error { return k.store.Create(background, id, tasks.FormFilling, opts...) }, lost...)
		return
	}
	status := []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed, tasks.Error}[r.IntN(4)]
	if op, to := next(status, r); op != "" {
		k.change(id, op, to, s, r, lost...)
	}
}

// many creates tasks, and completes them.
func (k *caller) many(s step, r *rand.Rand) {
	opts, durable := k.relaxed(r)
	n := 2 + r.IntN(6)
	var list []tasks.NewTask
	var done []tasks.NewStatus
	create := call{what: "create many", durable: durable, asks: asks(tasks.Pending)}
	complete := call{what: "complete many", durable: durable, asks: asks(tasks.Completed)}
	var created, completed []effect
	text := k.text(s, r)
	complete.result = quoted(text)
	for i := range n {
		id := fmt.Sprintf("m-%d-%d", s.n, i)
		create.ids = append(create.ids, id)
		list = append(list, tasks.NewTask{ID: id, Type: tasks.Document})
		done = append(done, tasks.NewStatus{ID: id, Status: tasks.Completed, Result: text})
		created, completed = append(created, hasStatus(id, tasks.Pending)), append(completed, hasResult(id, text))
	}
	complete.ids = create.ids
	create.effect, complete.effect = allOf(created), allOf(completed)
	if k.call(create, func(*call) error { return errors.Join(k.store.CreateMany(background, list, opts...)...) }) == nil {
		k.call(complete, func(*call) error { return errors.Join(k.store.UpdateMany(background, done, opts...)...) })
	}
}

// claim takes a task that is offered, and completes it, fails it, or forgets it.
func (k *caller) claim(s step, r *rand.Rand) {
	var c tasks.Claimed
	err := k.call(call{what: "claim", asks: asks(tasks.Pending, tasks.Processing, tasks.Error), types: []tasks.Type{tasks.Form}, claims: true}, func(n *call) (err error) {
		c, err = k.store.Claim(background, time.Second, tasks.Form)
		n.subject, n.effect = c.ID, hasLease(c.ID, c.Lease)
		return err
	}, tasks.ErrNoTask)
	if err != nil {
		return
	}
	switch r.IntN(8) {
	case 0:
		return
	case 1:
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond) // the lease may be over
		k.turn()
	case 2:
		k.call(call{what: "extend " + c.ID, subject: c.ID, common: true, effect: func(_, s *rows) bool { return s.tasks[c.ID].leaseUntil >= c.LeaseUntil.UnixMilli() }},
			func(*call) error { return k.store.Extend(background, &c, 2*time.Second) }, tasks.ErrLeaseLost)
	}
	opts, durable := k.relaxed(r)
	text := k.text(s, r)
	if r.IntN(3) == 0 {
		text = text[:min(len(text), 1000)]
		k.call(call{what: "fail " + c.ID, subject: c.ID, durable: durable, undoes: true, asks: asks(tasks.Pending, tasks.Error), effect: hasFailed(c.ID, text)},
			func(*call) error { return k.store.Fail(background, c, errors.New(text), opts...) }, tasks.ErrLeaseLost)
		return
	}
	k.call(call{what: "complete " + c.ID, subject: c.ID, durable: durable, asks: asks(tasks.Completed), result: quoted(text), effect: hasResult(c.ID, text)},
		func(*call) error { return k.store.Complete(background, c, text, opts...) }, tasks.ErrLeaseLost)
}
