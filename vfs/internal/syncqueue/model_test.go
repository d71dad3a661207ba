package syncqueue

import (
	"slices"
	"time"
)

// model is what the queue has to agree with, written to be obvious rather than fast:
// it keeps every write, every request and every acknowledged commit.
type model struct {
	minInterval time.Duration
	now         Time
	files       [2]modelFile
	requests    []*request
	gen         uint64
	barrier     *closing
	failed      bool
	counts      Counts

	commits []commit
	longest time.Duration
}

type modelFile struct {
	writes  []write
	running []*modelSync
	started uint64
	failed  bool
	lastEnd Time
	synced  bool // lastEnd is set
}

// write is one write, and what became of it.
type write struct {
	end        uint64 // bytes of the file when it had returned
	durable    bool
	lost       bool // in a sync that failed: the kernel calls the page clean and never writes it
	superseded bool // of a closed generation: the bytes are in a durable database file
}

func (w write) safe() bool { return w.durable || w.superseded }

// modelSync is a running sync. It is responsible for the writes that came before it.
type modelSync struct {
	no     uint64
	covers int // this many of the file's writes
	seq    uint64
}

// closing is a generation that has ended and isn't closed:
// the first dbWrites writes of the database file must become durable,
// and then the first walWrites ones of the WAL needn't any more.
type closing struct {
	gen                 uint64 // the first generation that has to wait
	walWrites, dbWrites int
}

type request struct {
	id       int // 0 is nobody
	file     File
	seq      uint64
	gen      uint64
	urgent   bool
	due      Time
	deadline Time
	queued   bool   // no sync has been started for it
	joined   uint64 // number of the sync that answers it, or 0
	open     bool   // the waiter waits
}

// commit is one that the application was told of before it was durable.
type commit struct {
	seq uint64
	at  Time
}

func (m *model) written(file File) uint64 {
	if w := m.files[file].writes; len(w) > 0 {
		return w[len(w)-1].end
	}
	return 0
}

// safeTo returns how many of the file's bytes nobody can lose.
func (m *model) safeTo(file File) (seq uint64) {
	for _, w := range m.files[file].writes {
		if !w.safe() {
			break
		}
		seq = w.end
	}
	return seq
}

func (m *model) write(file File, n int) {
	f := &m.files[file]
	f.writes = append(f.writes, write{end: m.written(file) + uint64(n)})
}

// request returns whether it is answered at once, and with success.
func (m *model) request(r *request, limit uint64) (answered, ok bool) {
	f := &m.files[r.file]
	m.counts.Requests++
	m.requests = append(m.requests, r)
	switch {
	case m.failed:
		return true, false
	case r.seq <= m.safeTo(r.file):
		m.counts.Covered++
		return true, true
	case m.covering(r.file, r.seq) != 0:
		m.counts.Merged++
		r.joined = m.covering(r.file, r.seq)
	default:
		// Whether the last sync is old enough is asked for the first of those that merge.
		first := !slices.ContainsFunc(m.requests, func(o *request) bool {
			return o.queued && o.file == r.file && o.gen == m.gen
		})
		r.gen, r.queued, r.due = m.gen, true, r.deadline
		if !first {
			m.counts.Merged++
		}
		if first && len(f.running) == 0 && (!f.synced || m.now-f.lastEnd >= m.minInterval) {
			r.due = min(r.due, m.now)
		}
		if limit > 0 && m.written(r.file)-m.safeTo(r.file) >= limit {
			r.due = min(r.due, m.now)
		}
	}
	r.open = r.id != 0
	return false, false
}

// group returns the requests of the oldest generation that waits for the file, in order.
func (m *model) group(file File) (group []*request) {
	for _, r := range m.requests {
		if !r.queued || r.file != file {
			continue
		}
		if len(group) > 0 && r.gen < group[0].gen {
			group = nil
		}
		if len(group) == 0 || r.gen == group[0].gen {
			group = append(group, r)
		}
	}
	return group
}

// covering returns the first of the running syncs that makes so many bytes durable, or 0.
func (m *model) covering(file File, seq uint64) uint64 {
	for _, r := range m.files[file].running {
		if seq <= r.seq {
			return r.no
		}
	}
	return 0
}

// next returns the requests that the next sync of the file is for, and when it is due.
// Those of a later generation have to wait for it (rule 1), so their deadlines count too.
func (m *model) next(file File) (group []*request, due Time) {
	if m.failed {
		return nil, 0
	}
	group = m.group(file)
	if len(group) == 0 || file == WAL && m.barrier != nil && group[0].gen >= m.barrier.gen {
		return nil, 0
	}
	due = group[0].due
	for _, r := range m.requests {
		heldBack := file == WAL && m.barrier != nil && r.gen >= m.barrier.gen
		if r.queued && r.file == file && !heldBack {
			due = min(due, r.due)
		}
	}
	return group, due
}

func (m *model) start(file File, group []*request) {
	f := &m.files[file]
	f.started++
	f.running = append(f.running, &modelSync{no: f.started, covers: len(f.writes), seq: m.written(file)})
	for _, r := range group {
		r.queued, r.joined = false, f.started
	}
	m.counts.Syncs[file]++
}

// done ends a running sync, the one that n picks, and returns whom it answers.
// The kernel may have dropped what one is to write at any time until another that fails has ended.
func (m *model) done(file File, n int, ok bool) (answered []*request) {
	f := &m.files[file]
	if len(f.running) == 0 {
		return nil
	}
	i := n % len(f.running)
	ended := f.running[i]
	f.running = slices.Delete(f.running, i, i+1)
	f.lastEnd, f.synced = m.now, true
	for i := range f.writes[:ended.covers] {
		w := &f.writes[i]
		w.durable = w.durable || ok && !f.failed && !w.lost
		w.lost = !w.durable
	}
	if !ok {
		m.counts.Failures++
		f.failed = true
		return m.fail()
	}
	for _, r := range m.requests {
		// A later sync covers what an earlier one does, but nothing if another has failed.
		if r.file == file && r.joined != 0 && (r.joined == ended.no || r.joined < ended.no && !f.failed) {
			r.joined = 0
			if r.open {
				r.open = false
				answered = append(answered, r)
			}
		}
	}
	return append(answered, m.settle()...)
}

// synced makes durable what a sync covers that started when seq bytes were written.
func (m *model) synced(file File, seq uint64) []*request {
	for i := range m.files[file].writes {
		if w := &m.files[file].writes[i]; w.end <= seq && !w.lost {
			w.durable = true
		}
	}
	return m.settle()
}

// restart begins a generation. Two that end before either is closed are closed together.
func (m *model) restart() []*request {
	m.gen++
	if m.failed {
		return nil
	}
	c := &closing{gen: m.gen, walWrites: len(m.files[WAL].writes), dbWrites: len(m.files[DB].writes)}
	if m.barrier != nil {
		c.gen = m.barrier.gen
	}
	m.barrier = c
	return m.settle()
}

// fail answers everybody.
func (m *model) fail() (answered []*request) {
	m.failed = true
	for _, r := range m.requests {
		if r.open {
			answered = append(answered, r)
		}
		r.open, r.queued, r.joined = false, false, 0
	}
	return answered
}

// settle draws the conclusions once more writes are durable:
// it closes what can be closed and returns the requests that have nothing left to wait for.
func (m *model) settle() (answered []*request) {
	if b := m.barrier; b != nil && !slices.ContainsFunc(m.files[DB].writes[:b.dbWrites], func(w write) bool { return !w.safe() }) {
		for i := range m.files[WAL].writes[:b.walWrites] {
			m.files[WAL].writes[i].superseded = true
		}
		m.barrier = nil
	}
	for _, r := range m.requests {
		if r.open && r.joined == 0 && r.seq <= m.safeTo(r.file) {
			r.open = false
			answered = append(answered, r)
		}
	}
	for _, file := range files {
		// What has merged stays together until all of it is safe.
		for group := m.group(file); len(group) > 0; group = m.group(file) {
			if slices.ContainsFunc(group, func(r *request) bool { return r.seq > m.safeTo(file) }) {
				break
			}
			for _, r := range group {
				r.queued = false
			}
		}
	}
	m.commits = slices.DeleteFunc(m.commits, func(c commit) bool {
		safe := c.seq <= m.safeTo(WAL)
		if safe {
			m.longest = max(m.longest, m.now-c.at)
		}
		return safe
	})
	return answered
}

func (m *model) acknowledged(seq uint64) {
	if seq > m.safeTo(WAL) {
		m.commits = append(m.commits, commit{seq, m.now})
	}
}

func (m *model) cancel(id int) {
	for _, r := range m.requests {
		if r.id == id {
			r.open = false
		}
	}
}

// open returns the requests whose waiters wait.
func (m *model) open() (open []*request) {
	for _, r := range m.requests {
		if r.open {
			open = append(open, r)
		}
	}
	return open
}
