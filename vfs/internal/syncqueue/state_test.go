package syncqueue

// state compares all that the queue says of itself.
func (c *checker) state() {
	m, q := &c.m, c.q
	if failed := q.Failed() != nil; failed != m.failed {
		c.fail(errFailure, "failed: %v, want %v", failed, m.failed)
	}
	for _, file := range files {
		c.fileState(file)
	}
	c.stall()
	if q.Generation() != m.gen {
		c.fail(errState, "generation %d, want %d", q.Generation(), m.gen)
	}
	if q.Counts() != m.counts {
		c.fail(errState, "counts %+v, want %+v", q.Counts(), m.counts)
	}
	if !c.plain {
		return
	}
	var first Time
	if len(m.commits) > 0 {
		first = m.commits[0].at
	}
	if n, at := q.Unsynced(); n != uint64(len(m.commits)) || n > 0 && at != first {
		c.fail(errState, "%d commits since %d, want %d since %d", n, at, len(m.commits), first)
	}
	if q.LongestWindow() != m.longest {
		c.fail(errState, "longest window %d, want %d", q.LongestWindow(), m.longest)
	}
}

func (c *checker) fileState(file File) {
	m, q := &c.m, c.q
	safe, written := m.safeTo(file), m.written(file)
	if d := q.Durable(file); d > safe {
		c.fail(errLost, "%v: durable %d, of which %d are safe", file, d, safe)
	} else if d < safe {
		c.fail(errState, "%v: durable %d, want %d", file, d, safe)
	}
	if q.Written(file) != written || q.Pending(file) != written-q.Durable(file) {
		c.fail(errState, "%v: written %d, pending %d, want %d", file, q.Written(file), q.Pending(file), written)
	}
	if running := len(m.files[file].running); q.Running(file) != running {
		c.fail(errState, "%v: running %d, want %d", file, q.Running(file), running)
	}

	group, due := m.next(file)
	if at, ok := q.DueBeside(file); ok != (len(group) > 0) || at != due {
		c.fail(errSchedule, "%v: due at %d, %v, want %d, %v", file, at, ok, due, len(group) > 0)
	}
	if at, ok := q.Due(file); ok != (len(group) > 0 && q.Running(file) == 0) || ok && at != due {
		c.fail(errSchedule, "%v: due with none running at %d, %v, want %d, %v", file, at, ok, due, len(group) > 0)
	}
	var waiters [2][]int // urgent or not
	for _, r := range group {
		if r.open && r.urgent {
			waiters[0] = append(waiters[0], r.id)
		} else if r.open {
			waiters[1] = append(waiters[1], r.id)
		}
	}
	want, n := append(waiters[0], waiters[1]...), 0
	for id := range q.Waiters(file) {
		if n >= len(want) || id != want[n] {
			c.fail(errState, "%v: waiter %d, want %v", file, id, want)
		}
		n++
	}
	if n < len(want) || n != q.Waiting(file) {
		c.fail(errState, "%v: %d waiters, want %v and %d", file, n, want, q.Waiting(file))
	}
	covered := 0
	for _, r := range m.requests {
		if r.open && r.file == file && r.joined != 0 {
			covered++
		}
	}
	if q.Covered(file) != covered {
		c.fail(errState, "%v: %d wait for what runs, want %d", file, q.Covered(file), covered)
	}
}

// stall checks that a commit waits where too much could be lost, and for no more than it wrote.
func (c *checker) stall() {
	const limit, grace = 5, 4
	m := &c.m
	seq, safe := m.written(WAL), m.safeTo(WAL)
	var want uint64
	if seq > limit {
		want = seq - limit
	}
	// The oldest request that no sync was started for, held back or not.
	if group := m.group(WAL); len(group) > 0 {
		last, latest := group[0].seq, group[0].deadline+grace
		for _, r := range group {
			last, latest = max(last, r.seq), min(latest, r.deadline+grace)
		}
		if len(m.files[WAL].running) > 0 {
			latest -= grace
		}
		if m.now > latest {
			want = max(want, last)
		}
	}
	if want <= safe {
		want = 0
	}
	if got := c.q.Stall(seq, limit, m.now, grace); got != want {
		c.fail(errState, "stall until %d, want %d", got, want)
	}
}

// drain does every sync that anybody waits for, after which nobody may wait.
func (c *checker) drain() {
	c.m.now += 1000
	for range 2 {
		for _, file := range files {
			for c.apply(event{op: opDone, file: file}) {
			}
			// One for each generation that waits.
			for c.apply(event{op: opNext, file: file}) {
				c.apply(event{op: opDone, file: file})
			}
		}
		// What the barrier holds back is free once the database file is durable.
		if c.apply(event{op: opStart, file: DB}) {
			c.apply(event{op: opDone, file: DB})
		}
	}
	if c.m.failed {
		c.apply(event{op: opFail})
	}
	for _, r := range c.m.open() {
		c.fail(errAnswers, "waiter %d was never answered", r.id)
	}
	for _, file := range files {
		if _, ok := c.q.Due(file); ok {
			c.fail(errSchedule, "%v: a sync waits after all were done", file)
		}
	}
}
