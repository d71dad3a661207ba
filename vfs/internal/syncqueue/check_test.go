package syncqueue

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

var files = [...]File{WAL, DB}

var errDisk = errors.New("disk failed")

// What a history can show to be wrong with the queue.
var (
	errLost     = errors.New("told durable, and a power cut would lose it")
	errAnswers  = errors.New("the wrong waiters were answered")
	errSchedule = errors.New("a sync was handed out at the wrong time, or not at all")
	errBarrier  = errors.New("a sync of the next generation ran before the last was closed")
	errFailure  = errors.New("a failure was forgotten")
	errState    = errors.New("the queue's figures are wrong")
)

// event is one step of a history. Events refer to "the latest write" and the like,
// so that a history stays one when some of its events are left out.
type event struct {
	op   op
	file File
	arg  uint8
}

type op uint8

const (
	opWrite   op = iota // arg%4+1 bytes
	opRequest           // arg: see request
	opNext
	opDone // the running one that arg picks
	opRestart
	opAdvance // by arg
	opAck
	opCancel // the waiter that arg picks
	opStart
	opSynced // with all bytes, or with half of the writes if arg is odd
	opDoneErr
	opFail
	opBeside // next, beside those that run
	opCondemn
	numOps
)

func (e event) String() string {
	names := [...]string{"write", "request", "next", "done", "restart", "advance", "ack", "cancel", "start", "synced", "doneErr", "fail", "beside", "condemn"}
	return fmt.Sprintf("{%s %v %d}", names[e.op], e.file, e.arg)
}

// The bits of a request's arg; two more of them pick the delay.
const (
	argUrgent = 1 << (2 + iota)
	argLimit
	argOlder  // for half of the writes only
	argNobody // without a waiter
)

var delays = [...]time.Duration{0, 3, 10, 25}

const (
	argNow   = 0
	argLater = 2
	limit    = 6 // of requests with argLimit
)

// checker applies events to a queue and to the model and notes where they differ.
type checker struct {
	q    *Queue[int]
	m    model
	ids  int
	errs []error
	// plain is set while the window is exact. It isn't where a generation is closed
	// after the next has begun, and after a sync without a job.
	plain bool
}

func newChecker(cfg Config) *checker {
	return &checker{q: New[int](cfg), m: model{minInterval: cfg.MinInterval}, plain: true}
}

// check returns how the queue breaks the rules in a history, at the end of which it is drained.
func check(cfg Config, history []event) error {
	c := newChecker(cfg)
	for i, e := range history {
		c.apply(e)
		if len(c.errs) > 0 {
			return fmt.Errorf("after %v: %w", history[:i+1], c.err())
		}
	}
	c.drain()
	if len(c.errs) > 0 {
		return fmt.Errorf("draining after %v: %w", history, c.err())
	}
	return nil
}

func (c *checker) err() error { return errors.Join(c.errs...) }

func (c *checker) fail(kind error, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...)))
}

// apply returns whether the event changed anything but the figures.
func (c *checker) apply(e event) (effect bool) {
	effect = true
	switch m, q := &c.m, c.q; e.op {
	case opWrite:
		m.write(e.file, int(e.arg%4)+1)
		q.Wrote(e.file, int(e.arg%4)+1)
	case opRequest:
		effect = c.request(e.file, e.arg)
	case opNext:
		effect = c.next(e.file, false)
	case opBeside:
		effect = c.next(e.file, true)
	case opDone, opDoneErr:
		var err error
		if e.op == opDoneErr {
			err = errDisk
		}
		running := m.files[e.file].running
		if effect = len(running) > 0; effect {
			no := running[int(e.arg)%len(running)].no
			c.plain = c.plain && len(running) == 1
			want := m.done(e.file, int(e.arg), err == nil)
			c.answers(want, q.Done(Job{File: e.file, No: no}, err, m.now))
		}
	case opRestart:
		want := m.restart()
		c.plain = c.plain && m.barrier == nil
		c.answers(want, q.Restart(m.now))
	case opAdvance:
		m.now += Time(e.arg)
	case opAck:
		m.acknowledged(m.written(WAL))
		q.Acknowledged(m.written(WAL), m.now)
	case opCancel:
		open := m.open()
		if effect = len(open) > 0; effect {
			id := open[int(e.arg)%len(open)].id
			m.cancel(id)
			q.Cancel(id)
		}
	case opStart:
		effect = c.start(e.file)
	case opSynced:
		// What a sync after a failure does to the figures isn't checked here.
		if effect = !m.failed; effect {
			seq := m.written(e.file)
			if e.arg%2 == 1 {
				seq = m.older(e.file)
			}
			c.plain = c.plain && e.file != WAL
			want := m.synced(e.file, seq)
			c.answers(want, q.Synced(e.file, seq, m.now))
		}
	case opFail:
		effect = !m.failed || len(m.open()) > 0
		want := m.fail()
		c.answers(want, q.Fail(errDisk))
	case opCondemn:
		if effect = len(m.files[e.file].running) > 0 && !m.files[e.file].failed; effect {
			m.failed, m.files[e.file].failed = true, true
			q.Condemn(e.file, errDisk)
		}
	}
	c.state()
	return effect
}

// older returns the end of a write in the middle.
func (m *model) older(file File) uint64 {
	if w := m.files[file].writes; len(w) > 1 {
		return w[len(w)/2-1].end
	}
	return m.written(file)
}

func (c *checker) request(file File, arg uint8) (effect bool) {
	m := &c.m
	r := &request{file: file, seq: m.written(file), urgent: arg&argUrgent != 0, deadline: m.now + delays[arg%4]}
	var most uint64
	if arg&argLimit != 0 {
		most = limit
	}
	if arg&argOlder != 0 {
		r.seq = m.older(file)
	}
	if arg&argNobody == 0 {
		c.ids++
		r.id = c.ids
	}
	answered, ok := m.request(r, most)
	gotAnswered, err := c.q.Request(Request[int]{
		Waiter: r.id, File: file, Seq: r.seq, Deadline: r.deadline, Limit: most, Urgent: r.urgent,
	}, m.now)
	switch {
	case gotAnswered && err == nil && r.seq > m.safeTo(file):
		c.fail(errLost, "the request for %v %d, of which %d are safe", file, r.seq, m.safeTo(file))
	case gotAnswered != answered:
		c.fail(errAnswers, "answered at once: %v, want %v", gotAnswered, answered)
	case answered && ok != (err == nil):
		c.fail(errFailure, "answer at once: %v, want success: %v", err, ok)
	}
	return !answered
}

func (c *checker) next(file File, beside bool) (effect bool) {
	group, due := c.m.next(file)
	want := len(group) > 0 && due <= c.m.now && (beside || len(c.m.files[file].running) == 0)
	next := c.q.Next
	if beside {
		next = c.q.NextBeside
	}
	job, ok := next(file, c.m.now)
	if ok != want {
		c.fail(errSchedule, "next %v at %d: %v, want %v (due %d)", file, c.m.now, ok, want, due)
	}
	switch {
	case want && ok:
		c.started(job, Job{File: file, Gen: group[0].gen}, group)
	case ok:
		// The disk does it even so.
		c.m.start(file, nil)
	}
	return want && ok
}

func (c *checker) start(file File) (effect bool) {
	m := &c.m
	if file == WAL && m.barrier != nil && !m.failed {
		// Rule 4 leaves it open what Start may do then.
		return false
	}
	group, _ := m.next(file)
	want := Job{File: file, Gen: m.gen}
	if len(group) > 0 {
		want.Gen = group[0].gen
	}
	job, err := c.q.Start(file, m.now)
	switch {
	case m.failed:
		if !errors.Is(err, errDisk) {
			c.fail(errFailure, "start after a failure: %v", err)
		}
		return false
	case len(m.files[file].running) > 0:
		if !errors.Is(err, ErrRunning) {
			c.fail(errSchedule, "start while a sync runs: %v", err)
		}
		return false
	case err != nil:
		c.fail(errSchedule, "start: %v", err)
		return false
	}
	c.started(job, want, group)
	return true
}

func (c *checker) started(job, want Job, group []*request) {
	m := &c.m
	want.Seq = m.written(want.File)
	want.Bytes = want.Seq - m.safeTo(want.File)
	want.No = m.files[want.File].started + 1
	if job != want {
		c.fail(errSchedule, "got %+v, want %+v", job, want)
	}
	if job.File == WAL && m.barrier != nil && job.Gen >= m.barrier.gen {
		c.fail(errBarrier, "%+v", job)
	}
	m.start(want.File, group)
}

// answers compares the answers of one event, after the model has done it.
func (c *checker) answers(want []*request, got []Answer[int]) {
	waiting := map[int]bool{}
	lax := false
	for _, r := range want {
		waiting[r.id] = true
	}
	for _, a := range got {
		i := slices.IndexFunc(c.m.requests, func(r *request) bool { return r.id == a.Waiter })
		if i < 0 || a.Waiter == 0 {
			c.fail(errAnswers, "waiter %d doesn't exist", a.Waiter)
			continue
		}
		r := c.m.requests[i]
		if lax && r.urgent {
			c.fail(errAnswers, "waiter %d is urgent and came after one that isn't", r.id)
		}
		lax = !r.urgent
		switch {
		case a.Err == nil && r.seq > c.m.safeTo(r.file):
			c.fail(errLost, "waiter %d for %v %d, of which %d are safe", r.id, r.file, r.seq, c.m.safeTo(r.file))
		case !waiting[a.Waiter]:
			c.fail(errAnswers, "waiter %d, with %v: too early, or once more", a.Waiter, a.Err)
		case a.Err == nil && c.m.failed:
			c.fail(errFailure, "waiter %d was answered with success", a.Waiter)
		case a.Err != nil && (!c.m.failed || !errors.Is(a.Err, errDisk)):
			c.fail(errAnswers, "waiter %d: %v", a.Waiter, a.Err)
		}
		delete(waiting, a.Waiter)
	}
	for id := range waiting {
		c.fail(errAnswers, "waiter %d wasn't answered", id)
	}
}
